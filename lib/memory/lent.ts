/**
 * The memory beneath a lease: one block that this environment was lent, and the list that holds the blocks that are free.
 * In debug mode, memory that is free is filled with a pattern, and looked through when it is lent again.
 */
import { Buffer } from 'node:buffer'
import process from 'node:process'
import { leaseReleased } from '../checks/errors.js'
import { guardBlock, track, type Tracked } from './tracked.js'

/** The byte that released memory is filled with in debug mode. */
const POISON = 0xdb

/** Holds for the whole environment, since leases belong to no engine. The first engine that asks for it sets it. */
let isDebugging = false
let isLeakReported = false

/** Warns of memory that was collected while it was lent. The pool unregisters the memory that it lets go of itself. */
const leaks = new FinalizationRegistry<number>((bytes) => {
  if (isLeakReported) return
  isLeakReported = true
  process.emitWarning(
    `A lease of ${bytes} bytes was garbage collected before it was released: release leases, or use 'using'`,
    { code: 'AURAIO_LEASE_LEAKED' },
  )
})

/** Turns debug mode on, for good. */
export function startDebugging(): void {
  isDebugging = true
}

/** Who takes a block when nobody uses it any more. */
export interface Keeper {
  keep(memory: LentMemory): void
}

/** The memory beneath a lease: one block, for as long as this environment has it. */
export class LentMemory implements Tracked {
  readonly #keeper: Keeper
  readonly whole: Buffer<ArrayBuffer>
  readonly alignment: number
  /** The list that keeps it when it is free. */
  readonly list: FreeList
  isLent = true
  inFlight = 0
  /** The next block in that list. */
  next: LentMemory | undefined = undefined
  /** The first bytes of `whole`, as many as the last lease asked for. */
  #part: Buffer<ArrayBuffer>
  /** In debug mode: the stack of the release, while the memory is free and filled with the pattern. */
  releasedBy: string | undefined = undefined

  constructor(keeper: Keeper, list: FreeList, whole: Buffer<ArrayBuffer>, alignment: number) {
    this.#keeper = keeper
    this.list = list
    this.whole = whole
    this.alignment = alignment
    this.#part = whole
    guardBlock(whole.buffer)
    track(whole.buffer, this)
    leaks.register(this, whole.length, this)
  }

  /** A Buffer over the first `size` bytes. */
  sized(size: number): Buffer<ArrayBuffer> {
    if (this.#part.length !== size) this.#part = this.whole.subarray(0, size)
    return this.#part
  }

  /** The lease ends. The pool gets the block now, or when the last operation on it ends. */
  release(): void {
    this.isLent = false
    if (isDebugging) this.releasedBy = stackOfCaller()
    if (this.inFlight === 0) this.#keeper.keep(this)
  }

  /** An operation on the memory begins. */
  begin(): void {
    if (!this.isLent) throw leaseReleased()
    this.inFlight++
  }

  /** An operation on the memory has ended. */
  end(): void {
    if (--this.inFlight === 0 && !this.isLent) this.#keeper.keep(this)
  }

  /** The pool gives the block back for good, so no warning is due when it is collected. */
  forget(): void {
    leaks.unregister(this)
  }
}

/** Free memory of one size class. The block that came last goes first, since it is the one still in the CPU's cache. */
export class FreeList {
  /** The size of the blocks; 0 in the list of blocks of any size. */
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

  /** Takes out the first block that is large enough and aligned well enough. */
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

/** In debug mode, when a block comes home: fills it with the pattern. */
export function poison(memory: LentMemory): void {
  if (isDebugging && memory.releasedBy !== undefined) memory.whole.fill(POISON)
}

/** In debug mode, when a block is lent again: warns if somebody wrote to it while it was free. */
export function checkPoison(memory: LentMemory): void {
  if (!isDebugging) return
  const { releasedBy, whole } = memory
  memory.releasedBy = undefined
  if (releasedBy === undefined || whole.equals(Buffer.alloc(whole.length, POISON))) return
  process.emitWarning('The memory of a lease was written to after the lease was released', {
    code: 'AURAIO_USE_AFTER_RELEASE',
    detail: `It was released here:\n${releasedBy}`,
  })
}

/** The stack of the caller of `Lease.release`: the lines of this function, of LentMemory and of Lease are left out. */
function stackOfCaller(): string {
  return (new Error().stack ?? '').split('\n').slice(4).join('\n')
}
