/**
 * Where leases come from. Free lists make an acquire, and a release, a few loads and stores.
 *
 * The process has one pool, in the binding. Each environment (the main thread, a Worker) keeps some of the blocks that the
 * pool has lent it: here, in one list for each size class. It asks the pool only when a list is empty. An acquire from a list
 * makes one new object, the lease. The block's Buffer, the note on its ArrayBuffer and its entry in the registry of leaks are
 * made once and used again.
 */
import type { Buffer } from 'node:buffer'
import type { BlockSource } from './blocks.js'
import { aborted, poolExhausted } from '../checks/errors.js'
import { makeLease, type Lease } from './lease.js'
import { FreeList, LentMemory, checkPoison, poison } from './lent.js'
import type { PoolStats } from '../metrics/stats.js'

/** Classes are powers of two from 4 KiB to 1 MiB. */
const CLASS_BITS_MIN = 12
const CLASSES = 9
const CLASS_BYTES_MAX: number = 2 ** (CLASS_BITS_MIN + CLASSES - 1)

/** A free list holds blocks of this many bytes together, but it always may hold the minimum number of blocks. */
const LIST_BYTES_MAX = 2 ** 20
const LIST_BLOCKS_MIN = 8

/** How many blocks larger than the largest class are kept. */
const LARGE_BLOCKS_MAX = 4

/** The largest lease: the kernel registers no larger piece of memory. */
export const LEASE_BYTES_MAX: number = 2 ** 30

export const ALIGNMENT_MIN = 4096
export const ALIGNMENT_MAX: number = 2 ** 21

const ENOMEM = 12

/** What a wait for memory needs of the operations in flight. `Slots` has it. */
export interface BlockRequests<Ticket> {
  /** Resolves with a block of the pool when it is this request's turn. */
  acquireBlock(bytes: number, alignment: number): Promise<Buffer<ArrayBuffer>>
  /** Stands for the request that was made last, for {@link cancel}. */
  ticket(): Ticket
  cancel(ticket: Ticket): void
}

/** An acquisition that waits for memory. */
interface Waiter {
  bytes: number
  alignment: number
  take(memory: LentMemory): void
}

/** The leases of one environment, from one source of blocks. */
export class LeasePool {
  readonly #source: BlockSource
  readonly #waiting: Int32Array
  readonly #classes: FreeList[] = []
  readonly #large = new FreeList(0, LARGE_BLOCKS_MAX)
  readonly #waiters: Waiter[] = []

  constructor(source: BlockSource) {
    this.#source = source
    this.#waiting = source.waiting
    for (let at = 0; at < CLASSES; at++) {
      const bytes = 2 ** (CLASS_BITS_MIN + at)
      this.#classes.push(new FreeList(bytes, Math.max(LIST_BLOCKS_MIN, LIST_BYTES_MAX / bytes)))
    }
  }

  get source(): BlockSource {
    return this.#source
  }

  /** `size` and `alignment` have been checked. */
  acquire(size: number, alignment: number): Lease {
    const bytes = alignment > size ? alignment : size
    if (bytes > CLASS_BYTES_MAX) return makeLease(this.#acquireLarge(size, alignment), size)
    const list = this.#classes[32 - CLASS_BITS_MIN - Math.clz32((bytes - 1) | (ALIGNMENT_MIN - 1))]!
    const memory = list.first
    if (memory === undefined) return makeLease(this.#lend(list, list.bytes, list.bytes), size)
    list.first = memory.next
    list.count--
    list.hits++
    memory.next = undefined
    memory.isLent = true
    checkPoison(memory)
    return makeLease(memory, size)
  }

  /** Like {@link acquire}, but waits if there is no memory. Those who wait are served in the order of their calls. */
  acquireLater<T>(
    slots: BlockRequests<T>,
    size: number,
    alignment: number,
    signal: AbortSignal | undefined,
  ): Promise<Lease> {
    if (signal?.aborted === true) throw aborted(signal)
    if (this.#waiters.length === 0 && this.#waiting[0] === 0) {
      try {
        return Promise.resolve(this.acquire(size, alignment))
      } catch (error) {
        if ((error as { code?: string }).code !== 'ERR_AURAIO_POOL_EXHAUSTED') throw error
      }
    }
    return this.#wait(slots, size, alignment, signal)
  }

  /** Takes a free block: for an acquisition that waits, for its free list, or for the pool. */
  keep(memory: LentMemory): void {
    poison(memory)
    if (this.#waiters.length > 0 && this.#serve(memory)) return
    if (this.#waiting[0] !== 0) {
      this.#giveBack(memory)
      this.flush()
      return
    }
    const { list } = memory
    if (list.count >= list.limit || memory.whole.length === 0) this.#giveBack(memory)
    else list.push(memory)
  }

  /** Gives all free blocks back to the pool. True if the pool has got at least one of them already. */
  flush(): boolean {
    let went = false
    for (const list of [...this.#classes, this.#large]) {
      for (let memory = list.first; memory !== undefined; memory = list.first) {
        list.first = memory.next
        list.count--
        went = this.#giveBack(memory) || went
      }
    }
    return went
  }

  /** The pool's numbers. Blocks that are free here count as cached, and acquires that found one here as hits. */
  stats(): PoolStats {
    const stats = this.#source.stats()
    let free = this.#large.totalBytes()
    let hits = this.#large.hits
    for (const list of this.#classes) {
      free += list.totalBytes()
      hits += list.hits
    }
    stats.bytesInUse = Math.max(0, stats.bytesInUse - free)
    stats.bytesCachedThreads += free
    stats.hitsThread += hits
    return stats
  }

  #acquireLarge(size: number, alignment: number): LentMemory {
    const memory = this.#large.take(size, alignment)
    if (memory === undefined) return this.#lend(this.#large, size, Math.max(alignment, ALIGNMENT_MIN))
    this.#large.hits++
    memory.isLent = true
    checkPoison(memory)
    return memory
  }

  #lend(list: FreeList, bytes: number, alignment: number): LentMemory {
    let whole = this.#source.lend(bytes, alignment)
    if (whole === -ENOMEM && this.flush()) whole = this.#source.lend(bytes, alignment)
    if (typeof whole === 'number') throw poolExhausted(bytes)
    return new LentMemory(this, list, whole, alignment)
  }

  #giveBack(memory: LentMemory): boolean {
    memory.next = undefined
    memory.forget()
    return this.#source.takeBack(memory.whole.buffer)
  }

  #listOf(bytes: number): FreeList {
    return this.#classes.find((list) => list.bytes === bytes) ?? this.#large
  }

  /**
   * Waits in the pool's line, behind the acquisitions of other threads, and at the same time for a block that is released in
   * this environment. Whichever comes first ends the wait.
   */
  async #wait<T>(
    slots: BlockRequests<T>,
    size: number,
    alignment: number,
    signal: AbortSignal | undefined,
  ): Promise<Lease> {
    const wanted = Math.max(size, alignment, ALIGNMENT_MIN)
    const isLarge = wanted > CLASS_BYTES_MAX
    const bytes = isLarge ? size : 2 ** (32 - Math.clz32(wanted - 1))
    const waiter: Waiter = { bytes, alignment: isLarge ? alignment : bytes, take: () => undefined }
    const lent = slots.acquireBlock(bytes, Math.max(waiter.alignment, ALIGNMENT_MIN))
    const ticket = slots.ticket()
    return new Promise<Lease>((resolve, reject) => {
      const leave = (): boolean => {
        const at = this.#waiters.indexOf(waiter)
        if (at < 0) return false
        this.#waiters.splice(at, 1)
        signal?.removeEventListener('abort', abort)
        return true
      }
      const abort = (): void => {
        leave()
        slots.cancel(ticket)
        reject(aborted(signal!))
      }
      waiter.take = (memory) => {
        leave()
        slots.cancel(ticket)
        resolve(makeLease(memory, size))
      }
      this.#waiters.push(waiter)
      signal?.addEventListener('abort', abort, { once: true })
      lent.then(
        (block) => {
          const memory = new LentMemory(this, this.#listOf(block.length), block, waiter.alignment)
          if (leave()) return resolve(makeLease(memory, size))
          memory.isLent = false // too late: another block was found meanwhile, or the signal fired
          this.keep(memory)
        },
        (error: unknown) => {
          if (leave()) reject(error)
        },
      )
    })
  }

  /** Hands a free block to the first acquisition in line that can use it. False if there is none. */
  #serve(memory: LentMemory): boolean {
    const { whole, alignment } = memory
    const waiter = this.#waiters.find((one) => one.bytes <= whole.length && one.alignment <= alignment)
    if (waiter === undefined || whole.length === 0) return false
    memory.isLent = true
    memory.releasedBy = undefined
    waiter.take(memory)
    return true
  }
}
