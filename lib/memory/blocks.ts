/**
 * Where the memory of leases comes from. The binding lends blocks of the process's pool as ArrayBuffers. If it cannot, the memory
 * is a part of an ordinary ArrayBuffer. Such memory has no ceiling and is not registered with the kernel. Without the binding it
 * is not aligned either, since only the binding can tell an address.
 */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import { markAsUntransferable } from 'node:worker_threads'
import { POOL } from '../metrics/schema.js'
import type { PoolStats } from '../metrics/stats.js'

/** The functions of the binding that have to do with memory. crates/auraio-node/src/lend.rs documents them. */
export interface NativeMemory {
  lendBlock(bytes: number, alignment: number): ArrayBuffer | number
  takeBackBlock(memory: ArrayBuffer, transfer: unknown): boolean
  waitingAcquisitions(): ArrayBuffer | number
  addressOf(view: ArrayBufferView): number
  poolStats(): PoolStats
  setPoolBytesMax(bytes: number): void
}

/** Tests set it, to get leases as in a runtime that forbids ArrayBuffers over memory that is not its own (Electron). */
const VARIABLE = 'AURAIO_TEST_NO_EXTERNAL_BUFFERS'

export class BlockSource {
  readonly #native: NativeMemory | undefined
  readonly #transfer: unknown = (ArrayBuffer.prototype as { transfer?: unknown }).transfer
  #lends: boolean
  /**
   * Its first number is how many acquisitions wait for memory in the whole process. Other threads change it at any time, so it is
   * only a hint.
   */
  readonly waiting: Int32Array

  constructor(native: NativeMemory | undefined) {
    this.#native = native
    this.#lends = native !== undefined && process.env[VARIABLE] !== '1'
    const waiting = this.#lends ? native!.waitingAcquisitions() : 0
    this.waiting = typeof waiting === 'number' ? new Int32Array(1) : new Int32Array(waiting)
  }

  /** A Buffer over a whole block of at least this many bytes, or a negated errno. */
  lend(bytes: number, alignment: number): Buffer<ArrayBuffer> | number {
    if (this.#lends) {
      const block = this.#native!.lendBlock(bytes, alignment)
      if (typeof block !== 'number') return Buffer.from(block, 0, block.byteLength)
      if (block !== 0) return block
      this.#lends = false
    }
    const part = this.carve(bytes, alignment)
    markAsUntransferable(part.buffer) // a block of the pool needs no mark: the runtime does not transfer external memory
    return part
  }

  /** A part of an ordinary ArrayBuffer, zeroed. */
  carve(bytes: number, alignment: number): Buffer<ArrayBuffer> {
    if (this.#native === undefined) return Buffer.from(new ArrayBuffer(bytes), 0, bytes)
    const memory = new ArrayBuffer(bytes + alignment)
    const past = this.#native.addressOf(new Uint8Array(memory)) % alignment
    return Buffer.from(memory, past === 0 ? 0 : alignment - past, bytes)
  }

  /** Detaches a block and gives it back to the pool. If this fails (false), the block goes back when it is collected. */
  takeBack(memory: ArrayBuffer): boolean {
    return this.#lends && this.#native!.takeBackBlock(memory, this.#transfer)
  }

  setBytesMax(bytes: number): void {
    this.#native?.setPoolBytesMax(bytes)
  }

  stats(): PoolStats {
    if (this.#native !== undefined) return this.#native.poolStats()
    return Object.fromEntries(Object.keys(POOL).map((name) => [name, 0])) as PoolStats
  }
}
