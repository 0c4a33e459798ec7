/**
 * A lease: memory of the pool, lent until it is released. Each is a small object of its own, so that one that was released
 * leads nowhere, whoever has the memory by then; what lies beneath (lib/memory/lent.ts) is used again.
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
 * It is the holder's from then until `release()`, or the end of the scope with `using`. What is in it at first is
 * undefined. Its ArrayBuffer cannot be transferred.
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
   * The memory: a Buffer of exactly the size that was asked for.
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
   * The size that was asked for, in bytes; also after the release.
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
   * Gives the memory back. What is in flight on it is finished first: only then does anybody else get it.
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

  /** Releases, unless that has been done: for `using`. */
  [Symbol.dispose](): void {
    const memory = this.#memory
    if (memory === undefined) return
    this.#memory = undefined
    memory.release()
  }
}
