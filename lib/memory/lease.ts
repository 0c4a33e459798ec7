/**
 * A lease: memory of the pool, lent until it is released. Each lease is a new, small object. Once it is released it leads to no
 * memory, even when the memory has been lent to somebody else. The memory beneath it (lib/memory/lent.ts) is used again.
 */
import type { Buffer } from 'node:buffer'
import { leaseReleased } from '../checks/errors.js'
import type { LentMemory } from './lent.js'

let construct: (memory: LentMemory, size: number) => Lease

/** How the pool makes leases: the constructor is not public. */
export function makeLease(memory: LentMemory, size: number): Lease {
  return construct(memory, size)
}

/**
 * Memory that is aligned and, where the kernel takes it, registered. Made by `engine.acquire` and `engine.acquireAsync`.
 *
 * The memory is the caller's until `release()`, or until the end of the scope with `using`. Its contents are undefined at first.
 * Its ArrayBuffer cannot be transferred.
 *
 * @example
 * ```js
 * import { Engine, open } from 'auraio'
 *
 * const file = await open('data.bin')
 * const block = Engine.default.acquire(4096)
 * try {
 *   const { bytesRead } = await file.read(block.buffer, 0, 4096, 8192)
 *   console.log(block.buffer.readUInt32LE(0), bytesRead)
 * } finally {
 *   block.release()
 * }
 * await file.close()
 * ```
 */
export class Lease {
  #memory: LentMemory | undefined
  readonly #size: number

  static {
    construct = (memory, size) => new Lease(memory, size)
  }

  private constructor(memory: LentMemory, size: number) {
    this.#memory = memory
    this.#size = size
  }

  /**
   * The memory, as a Buffer of exactly the size that was asked for.
   *
   * @throws ERR_AURAIO_RELEASED after the release.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const block = Engine.default.acquire(100)
   * console.log(block.buffer.length === 100)
   * block.release()
   * ```
   */
  get buffer(): Buffer<ArrayBuffer> {
    const memory = this.#memory
    if (memory === undefined) throw leaseReleased()
    return memory.sized(this.#size)
  }

  /**
   * The size that was asked for, in bytes. It can be read after the release too.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const block = Engine.default.acquire(100)
   * console.log(block.size === 100)
   * block.release()
   * ```
   */
  get size(): number {
    return this.#size
  }

  /**
   * Gives the memory back. Nobody else gets it before the operations on it have finished.
   *
   * @throws ERR_AURAIO_RELEASED the second time.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const block = Engine.default.acquire(4096)
   * block.buffer.fill(0)
   * block.release()
   * ```
   */
  release(): void {
    const memory = this.#memory
    if (memory === undefined) throw leaseReleased()
    this.#memory = undefined
    memory.release()
  }

  /** Releases the lease, unless it has been released: for `using`. */
  [Symbol.dispose](): void {
    const memory = this.#memory
    if (memory === undefined) return
    this.#memory = undefined
    memory.release()
  }
}
