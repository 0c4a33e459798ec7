/**
 * Leases: the memory beneath them, and the free lists that make an acquire and a release a few loads and stores.
 *
 * The process has one pool, in the binding. Each environment (the main thread, a Worker) keeps a little of what it was lent
 * here, by size class, and asks the pool only when a list is empty. Nothing on that path makes garbage but the lease itself:
 * the memory's Buffer, its note on the ArrayBuffer and its place in the registry of leaks are made once and used again.
 */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import type { BlockSource } from './blocks.js'
import { aborted, leaseReleased, poolExhausted } from './errors.js'
import { makeLease, type Lease } from './lease.js'
import type { Slots } from './slots.js'
import type { PoolStats } from './stats.js'
import { guardBlock, track, type Tracked } from './tracked.js'

/** Classes are powers of two from 4 KiB to 1 MiB. */
const CLASS_BITS_MIN = 12
const CLASSES = 9
const CLASS_BYTES_MAX: number = 2 ** (CLASS_BITS_MIN + CLASSES - 1)

/** What a free list may hold: so many bytes, but at least and at most so many blocks. */
const LIST_BYTES_MAX = 2 ** 20
const LIST_BLOCKS_MIN = 8

/** Larger blocks that are kept, of whatever size. */
const LARGE_BLOCKS_MAX = 4

/** The largest lease; the kernel registers no more in one piece. */
export const LEASE_BYTES_MAX: number = 2 ** 30

export const ALIGNMENT_MIN = 4096
export const ALIGNMENT_MAX: number = 2 ** 21

/** What released memory is filled with in debug mode. */
const POISON = 0xdb

/** Set by the first engine that asks for it, for the environment: leases are not an engine's. */
let isDebugging = false
let isLeakReported = false

/** Memory that was collected while it was lent: nobody released it. What the pool itself lets go is taken off before. */
const leaks = new FinalizationRegistry<number>((bytes) => {
  if (isLeakReported) return
  isLeakReported = true
  process.emitWarning(
    `A lease of ${bytes} bytes was garbage collected before it was released: release leases, or use 'using'`,
    { code: 'AURAIO_LEASE_LEAKED' },
  )
})

export function startDebugging(): void {
  isDebugging = true
}

/** The memory beneath a lease: one block, for as long as this environment has it. */
export class LentMemory implements Tracked {
  readonly pool: LeasePool
  readonly whole: Buffer<ArrayBuffer>
  readonly alignment: number
  /** Where it is kept when it is free. */
  readonly list: FreeList
  isLent = true
  inFlight = 0
  /** The next in its list. */
  next: LentMemory | undefined = undefined
  /** The first bytes of `whole`, as the last lease wanted them. */
  #part: Buffer<ArrayBuffer>
  /** In debug mode: where it was released, while it is free and poisoned. */
  releasedBy: string | undefined = undefined

  constructor(pool: LeasePool, list: FreeList, whole: Buffer<ArrayBuffer>, alignment: number) {
    this.pool = pool
    this.list = list
    this.whole = whole
    this.alignment = alignment
    this.#part = whole
    guardBlock(whole.buffer)
    track(whole.buffer, this)
    leaks.register(this, whole.length, this)
  }

  sized(size: number): Buffer<ArrayBuffer> {
    if (this.#part.length !== size) this.#part = this.whole.subarray(0, size)
    return this.#part
  }

  release(): void {
    this.isLent = false
    if (isDebugging) this.releasedBy = stackOfCaller()
    if (this.inFlight === 0) this.pool.keep(this)
  }

  /** An operation begins. */
  begin(): void {
    if (!this.isLent) throw leaseReleased()
    this.inFlight++
  }

  end(): void {
    if (--this.inFlight === 0 && !this.isLent) this.pool.keep(this)
  }

  /** The pool lets go of it for good. */
  forget(): void {
    leaks.unregister(this)
  }
}

/** Free memory of one size class; the last that came is the first that goes, as it is warm. */
export class FreeList {
  /** 0 where sizes differ. */
  readonly bytes: number
  readonly limit: number
  first: LentMemory | undefined = undefined
  count = 0
  hits = 0

  constructor(bytes: number, limit: number) {
    this.bytes = bytes
    this.limit = limit
  }

  push(memory: LentMemory): void {
    memory.next = this.first
    this.first = memory
    this.count++
  }

  /** The first that will do. */
  take(bytes: number, alignment: number): LentMemory | undefined {
    let before: LentMemory | undefined
    for (let memory = this.first; memory !== undefined; before = memory, memory = memory.next) {
      if (memory.whole.length < bytes || memory.alignment < alignment) continue
      if (before === undefined) this.first = memory.next
      else before.next = memory.next
      memory.next = undefined
      this.count--
      return memory
    }
    return undefined
  }

  totalBytes(): number {
    let total = 0
    for (let memory = this.first; memory !== undefined; memory = memory.next) total += memory.whole.length
    return total
  }
}

/** An acquisition that waits for its turn. */
interface Waiter {
  bytes: number
  alignment: number
  take(memory: LentMemory): void
}

/** Leases of one environment, from one source. */
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
    if (isDebugging) checkPoison(memory)
    return makeLease(memory, size)
  }

  /** As {@link acquire}, but where there is no memory it waits, in the order of the calls. */
  acquireLater(slots: Slots, size: number, alignment: number, signal: AbortSignal | undefined): Promise<Lease> {
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

  /** Free memory comes home: to whoever waits for it, into its list, or back to the pool. */
  keep(memory: LentMemory): void {
    if (isDebugging && memory.releasedBy !== undefined) memory.whole.fill(POISON)
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

  /** Gives back what is free here; answers whether any of it went at once. */
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

  /** The pool's numbers; what is free here counts as cached, and what was found here as a hit. */
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
    if (isDebugging) checkPoison(memory)
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

  /** Waits in the pool's line, behind the other threads' acquisitions, and for what comes free here meanwhile. */
  async #wait(slots: Slots, size: number, alignment: number, signal: AbortSignal | undefined): Promise<Lease> {
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
          memory.isLent = false // it came too late: another had been found, or the signal fired
          this.keep(memory)
        },
        (error: unknown) => {
          if (leave()) reject(error)
        },
      )
    })
  }

  /** Hands memory that came free to the first that can use it. */
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

const ENOMEM = 12

/** Somebody may have written to memory that was free. */
function checkPoison(memory: LentMemory): void {
  const { releasedBy, whole } = memory
  memory.releasedBy = undefined
  if (releasedBy === undefined || whole.equals(Buffer.alloc(whole.length, POISON))) return
  process.emitWarning('The memory of a lease was written to after the lease was released', {
    code: 'AURAIO_USE_AFTER_RELEASE',
    detail: `It was released here:\n${releasedBy}`,
  })
}

/** Who called `release` of the lease: without this function, LentMemory's and Lease's. */
function stackOfCaller(): string {
  return (new Error().stack ?? '').split('\n').slice(4).join('\n')
}
