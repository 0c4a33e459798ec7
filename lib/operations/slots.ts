/**
 * The slot table: every operation in flight has a slot, whose index travels through the port and comes back with the
 * completion. What the kernel can touch belongs to the slot, so a slot keeps the views of its operation, and their
 * ArrayBuffers, until that completion; a promise settles there and nowhere else.
 *
 * The path of one read is what this file is written for: it takes a pooled slot, makes one promise with the slot's own
 * executor, and calls the port once. Errors, short writes and queues at a file's own position are off that path.
 */
import process from 'node:process'
import { INHERITED, type HandleWish } from '../control/wishes.js'
import { detached, engineClosed, poolExhausted, systemError, tooManyOperations } from '../checks/errors.js'
import { directFlags, pathText, type Direct } from '../checks/options.js'
import { COMPLETION_STRIDE, SLOTS_MAX, STAT_FIELDS, type Dispatch, type Port, type StatFields } from './port.js'
import {
  IDLE,
  Slot,
  advance,
  beginAll,
  endAll,
  isIntact,
  isSlotIntact,
  rejectLater,
  unresolved,
  type OperatedFile,
} from './slot.js'
import { trackedOf, type Tracked } from '../memory/tracked.js'
import type { ReadResult, WriteResult } from './transfers.js'

type View = NodeJS.ArrayBufferView
type Views = readonly View[]

/** One operation, for {@link Slots.cancel}. Slots are used again; the serial number tells one use from the next. */
export interface Ticket {
  slot: Slot
  serial: number
}

/** Completions taken over at once. More are fetched in the same turn, so this bounds memory, not throughput. */
const COMPLETIONS_MAX = 1024

/**
 * Flushes in a row that may reap what completed inline, without a turn of the event loop between them. Reads from the
 * page cache complete in the flush that submits them, and their promises start the next reads before the tick ends: with
 * no bound, timers and sockets would wait for ever. The flush after these leaves its completions to the event loop.
 */
const INLINE_ROUNDS_MAX = 16

/** Below it (and above -1, in the lower half) a result is a size; no operating system has more errors than this. */
const ERRNO_MAX = 4095

const READ = 1
const WRITE = 2
const READV = 3
const WRITEV = 4
const SYNC = 5
const DATASYNC = 6
const TRUNCATE = 7
const CHMOD = 8
const CHOWN = 9
const UTIMES = 10
const STAT = 11
const STAT_BIGINT = 12
const CLOSE = 13
const OPEN = 14
const ACQUIRE = 15

/** The system call that Node names in an error, by kind. */
const SYSCALLS: readonly string[] =
  ' read write read write fsync fdatasync ftruncate fchmod fchown futime fstat fstat close open acquire'.split(' ')

/** Makes what an `open` resolves with. */
export type Opened = (fd: number, handle: number, direct: Direct, wish: HandleWish) => unknown

/** Is told that there are decisions of the loops to fetch, up to this number. */
export type Decided = (upTo: number) => void

export class Slots {
  readonly port: Port
  /** Taken from the port once: the binding makes them anew whenever they are asked for. */
  readonly #read: Port['read']
  readonly #write: Port['write']
  readonly #completions: Int32Array
  readonly #slots: Slot[] = []
  readonly #free: Slot[] = []
  readonly #opened: Opened
  readonly #decided: Decided
  #idleWaiters: (() => void)[] = []
  #flushScheduled = false
  #inlineRounds = 0
  #latest: Slot | undefined

  constructor(
    makePort: (dispatch: Dispatch, completions: Int32Array) => Port,
    opened: Opened,
    decided: Decided = () => undefined,
  ) {
    this.#opened = opened
    this.#decided = decided
    this.#completions = new Int32Array(COMPLETIONS_MAX * COMPLETION_STRIDE)
    this.port = makePort((count) => {
      this.#inlineRounds = 0
      this.#settle(count)
    }, this.#completions)
    this.#read = this.port.read.bind(this.port)
    this.#write = this.port.write.bind(this.port)
  }

  read(
    file: OperatedFile,
    view: View,
    memory: ArrayBufferLike,
    offset: number,
    length: number,
    position: number,
    priority: number,
  ): Promise<ReadResult<View>> {
    const tracked = trackedOf(memory)
    if (tracked !== undefined) tracked.begin()
    const slot = this.#acquire(READ, file, tracked)
    slot.view = view
    slot.memory = memory
    slot.byteLength = view.byteLength
    slot.offset = offset
    slot.length = length
    slot.position = position
    slot.priority = priority
    const promise = new Promise(slot.capture as (resolve: (value: ReadResult<View>) => void) => void)
    if (position !== -1 || file.takeTurn(slot)) this.#start(slot)
    return promise
  }

  write(
    file: OperatedFile,
    view: View,
    memory: ArrayBufferLike,
    offset: number,
    length: number,
    position: number,
    priority: number,
  ): Promise<WriteResult<View>> {
    const tracked = trackedOf(memory)
    if (tracked !== undefined) tracked.begin()
    const slot = this.#acquire(WRITE, file, tracked)
    slot.view = view
    slot.memory = memory
    slot.byteLength = view.byteLength
    slot.offset = offset
    slot.length = length
    slot.position = position
    slot.priority = priority
    slot.transferred = 0
    const promise = new Promise(slot.capture as (resolve: (value: WriteResult<View>) => void) => void)
    file.hold()
    if (position !== -1 || file.takeTurn(slot)) this.#start(slot)
    return promise
  }

  /** Resolves with the number of bytes. */
  readv(file: OperatedFile, buffers: Views, position: number, priority: number): Promise<number> {
    return this.#vectored(READV, file, buffers, position, priority)
  }

  /** Resolves with the number of bytes. */
  writev(file: OperatedFile, buffers: Views, position: number, priority: number): Promise<number> {
    return this.#vectored(WRITEV, file, buffers, position, priority)
  }

  sync(file: OperatedFile, dataOnly: boolean, priority: number = INHERITED): Promise<void> {
    return this.#plain(dataOnly ? DATASYNC : SYNC, file, (slot) => {
      slot.priority = priority
      return this.#submit(slot)
    })
  }

  truncate(file: OperatedFile, length: number): Promise<void> {
    return this.#plain(TRUNCATE, file, (slot) => this.port.truncate(slot.index, file.handle, length))
  }

  chmod(file: OperatedFile, mode: number): Promise<void> {
    return this.#plain(CHMOD, file, (slot) => this.port.chmod(slot.index, file.handle, mode))
  }

  chown(file: OperatedFile, uid: number, gid: number): Promise<void> {
    return this.#plain(CHOWN, file, (slot) => this.port.chown(slot.index, file.handle, uid, gid))
  }

  utimes(file: OperatedFile, accessed: number, modified: number): Promise<void> {
    return this.#plain(UTIMES, file, (slot) => this.port.utimes(slot.index, file.handle, accessed, modified))
  }

  /** The fields right away where that cannot block, else a promise of them. */
  stat(file: OperatedFile, bigint: boolean): StatFields | Promise<StatFields> {
    const fields = bigint ? new BigInt64Array(STAT_FIELDS) : new Float64Array(STAT_FIELDS)
    const answer = this.port.stat(file.handle, fields)
    if (answer === 0) return fields
    if (answer < 0) throw systemError(answer, 'fstat')
    const slot = this.#acquire(bigint ? STAT_BIGINT : STAT, file)
    const promise = new Promise(slot.capture as (resolve: (value: StatFields) => void) => void)
    this.#accepted(slot, this.port.statLater(slot.index, file.handle))
    return promise
  }

  /** A slot for the file's close; {@link startClose} submits it, when nothing more is to be submitted for the file. */
  acquireClose(file: OperatedFile): { slot: Slot; closed: Promise<void> } {
    const slot = this.#acquire(CLOSE, file)
    return { slot, closed: new Promise(slot.capture as (resolve: (value: void) => void) => void) }
  }

  startClose(slot: Slot, file: OperatedFile): void {
    this.#accepted(slot, this.port.close(slot.index, file.handle))
  }

  /** Resolves with what the constructor's `opened` makes of the descriptor. */
  open(path: string | Uint8Array, flags: number, mode: number, direct: Direct, wish: HandleWish): Promise<unknown> {
    const slot = this.#acquire(OPEN, undefined)
    slot.path = path
    slot.direct = direct
    slot.wish = wish
    const promise = new Promise(slot.capture)
    this.#accepted(slot, this.port.open(slot.index, path, directFlags(flags, direct), mode, direct === 'any'))
    return promise
  }

  /** Resolves with a Buffer over a block of the pool, when it is this acquisition's turn and there is one. */
  acquireBlock(bytes: number, alignment: number): Promise<Buffer<ArrayBuffer>> {
    const slot = this.#acquire(ACQUIRE, undefined)
    slot.length = bytes
    const promise = new Promise(slot.capture as (resolve: (value: Buffer<ArrayBuffer>) => void) => void)
    this.#accepted(slot, this.port.acquireLater(slot.index, bytes, alignment))
    return promise
  }

  /** Ends the acquisitions that wait: the engine closes. */
  cancelAcquisitions(): void {
    for (const slot of this.#slots) if (slot.kind === ACQUIRE) this.cancel({ slot, serial: slot.serial })
  }

  /** For the operation that was begun last: to be asked for in the same turn. */
  ticket(): Ticket {
    const slot = this.#latest!
    return { slot, serial: slot.serial }
  }

  /** Asks that an operation end early. It still completes. */
  cancel({ slot, serial }: Ticket): void {
    if (slot.serial !== serial || slot.kind === IDLE) return
    this.port.cancel(slot.index)
    this.#scheduleFlush()
  }

  /** Resolves when nothing is in flight, and whoever awaited what was has been told. */
  async idle(): Promise<void> {
    while (this.#free.length < this.#slots.length) await new Promise<void>((wake) => this.#idleWaiters.push(wake))
  }

  /** An operation without memory or position. */
  #plain(kind: number, file: OperatedFile, submit: (slot: Slot) => number): Promise<void> {
    const slot = this.#acquire(kind, file)
    const promise = new Promise(slot.capture as (resolve: (value: void) => void) => void)
    this.#accepted(slot, submit(slot))
    return promise
  }

  #vectored(kind: number, file: OperatedFile, buffers: Views, position: number, priority: number): Promise<number> {
    const memories = buffers.map((view) => view.buffer)
    const tracked = beginAll(memories)
    const slot = this.#acquire(kind, file)
    slot.vector = {
      views: buffers.slice(),
      memories,
      byteLengths: buffers.map((view) => view.byteLength),
      tracked,
    }
    slot.length = slot.vector.byteLengths.reduce((sum, bytes) => sum + bytes, 0)
    slot.position = position
    slot.priority = priority
    slot.transferred = 0
    if (kind === WRITEV) file.hold()
    const promise = new Promise(slot.capture as (resolve: (value: number) => void) => void)
    if (position !== -1 || file.takeTurn(slot)) this.#start(slot)
    return promise
  }

  #acquire(kind: number, file: OperatedFile | undefined, tracked?: Tracked): Slot {
    let slot = this.#free.pop()
    if (slot === undefined) {
      if (this.#slots.length === SLOTS_MAX) {
        if (tracked !== undefined) tracked.end()
        throw tooManyOperations(SLOTS_MAX)
      }
      slot = new Slot(this.#slots.length)
      this.#slots.push(slot)
    }
    slot.kind = kind
    slot.file = file
    slot.tracked = tracked
    this.#latest = slot
    return slot
  }

  #release(slot: Slot): void {
    slot.kind = IDLE
    slot.serial++
    slot.resolve = unresolved
    slot.file = undefined
    slot.view = undefined
    slot.memory = undefined
    if (slot.tracked !== undefined) slot.tracked.end()
    if (slot.vector !== undefined) endAll(slot.vector.tracked)
    slot.vector = undefined
    this.#free.push(slot)
    if (this.#free.length === this.#slots.length && this.#idleWaiters.length > 0) {
      const waiters = this.#idleWaiters
      this.#idleWaiters = []
      for (const wake of waiters) setImmediate(wake) // behind the promises that settle now
    }
  }

  /** Submits a transfer; where it is refused, settles it. */
  #start(slot: Slot): void {
    this.#accepted(slot, this.#submit(slot))
  }

  #accepted(slot: Slot, answer: number): void {
    if (answer === 0) this.#scheduleFlush()
    else this.#complete(slot, answer, -1)
  }

  #scheduleFlush(): void {
    if (this.#flushScheduled) return
    this.#flushScheduled = true
    process.nextTick(this.#flush)
  }

  #submit(slot: Slot): number {
    if (slot.priority < 0) return this.#hand(slot) // the handle's class, which the port knows
    let answer = -1
    this.port.nextPriority(slot.priority)
    try {
      answer = this.#hand(slot)
    } finally {
      if (answer !== 0) this.port.nextPriority(INHERITED) // the next is another one
    }
    return answer
  }

  #hand(slot: Slot): number {
    const handle = slot.file!.handle
    switch (slot.kind) {
      case READ:
        return slot.length === slot.byteLength
          ? this.#read(slot.index, handle, slot.view!, slot.position)
          : this.#read(slot.index, handle, slot.view!, slot.offset, slot.length, slot.position)
      case WRITE:
        return this.#write(slot.index, handle, slot.view!, slot.offset, slot.length, slot.position)
      case READV:
        return this.port.readv(slot.index, handle, slot.vector!.views, slot.position)
      case WRITEV:
        return this.port.writev(slot.index, handle, slot.vector!.views, slot.position)
      default:
        return this.port.sync(slot.index, handle, slot.kind === DATASYNC)
    }
  }

  readonly #flush = (): void => {
    this.#flushScheduled = false
    const reap = this.#inlineRounds < INLINE_ROUNDS_MAX
    this.#inlineRounds++
    let count = this.port.flush(reap)
    this.#settle(count)
    while (count === COMPLETIONS_MAX) {
      count = this.port.flush(reap)
      this.#settle(count)
    }
  }

  #settle(count: number): void {
    const completions = this.#completions
    for (let at = 0, end = count * COMPLETION_STRIDE; at < end; at += COMPLETION_STRIDE) {
      const index = completions[at]!
      if (index < 0) {
        this.#decided(completions[at + 2]! * 2 ** 32 + (completions[at + 1]! >>> 0))
        continue
      }
      const slot = this.#slots[index]
      if (slot === undefined || slot.kind === IDLE) continue // not ours: nothing to settle
      try {
        this.#complete(slot, completions[at + 1]!, completions[at + 2]!)
      } catch (error) {
        queueMicrotask(() => {
          throw error // an uncaught exception, as it would be in a callback; the other completions are not lost
        })
      }
    }
  }

  #complete(slot: Slot, low: number, high: number): void {
    if (slot.kind === READ && high === 0 && low >= 0) {
      const view = slot.view!
      if (!isIntact(view, slot.byteLength)) return this.#fail(slot, detached)
      const resolve = slot.resolve
      if (slot.position === -1) this.#endTurn(slot)
      this.#release(slot)
      resolve({ bytesRead: low, buffer: view })
      return
    }
    if (slot.kind === OPEN) return this.#completeOpen(slot, low, high)
    if (slot.kind === ACQUIRE) return this.#completeAcquire(slot, low)
    const failed = high < 0 || (high === 0 && low < 0 && low >= -ERRNO_MAX)
    if (slot.kind <= WRITEV) return this.#completeTransfer(slot, failed ? low : high * 2 ** 32 + (low >>> 0))
    if (failed) this.#fail(slot, this.#errorOf(slot, low))
    else this.#succeed(slot, this.#resultOf(slot))
  }

  /** The slow half of reads and writes: vectors, errors, short writes, sizes past 2 GiB. */
  #completeTransfer(slot: Slot, result: number): void {
    if (!isSlotIntact(slot)) return this.#fail(slot, detached)
    const isWrite = slot.kind === WRITE || slot.kind === WRITEV
    if (isWrite && result > 0 && result < slot.length) {
      advance(slot, result)
      const answer = this.#submit(slot) // the rest; libuv does the same before Node hears of it
      if (answer === 0) return this.#accepted(slot, answer)
      result = 0
    }
    if (result < 0 && slot.transferred === 0) return this.#fail(slot, this.#errorOf(slot, result))
    const bytes = slot.transferred + Math.max(result, 0)
    const view = slot.view!
    if (slot.kind === READ) this.#succeed(slot, { bytesRead: bytes, buffer: view })
    else if (slot.kind === WRITE) this.#succeed(slot, { bytesWritten: bytes, buffer: view })
    else this.#succeed(slot, bytes)
  }

  #completeOpen(slot: Slot, low: number, high: number): void {
    if (low < 0) this.#fail(slot, this.#errorOf(slot, low))
    else this.#succeed(slot, this.#opened(low, high, slot.direct, slot.wish!))
  }

  #completeAcquire(slot: Slot, low: number): void {
    const block = low === 0 ? this.port.takeBlock(slot.index) : low
    if (typeof block !== 'number') return this.#succeed(slot, Buffer.from(block, 0, block.byteLength))
    const { length } = slot
    this.#fail(slot, () => (block === ECANCELED ? engineClosed() : poolExhausted(length)))
  }

  /** What an operation without a size resolves with. */
  #resultOf(slot: Slot): StatFields | undefined {
    if (slot.kind !== STAT && slot.kind !== STAT_BIGINT) return undefined
    const fields = slot.kind === STAT ? new Float64Array(STAT_FIELDS) : new BigInt64Array(STAT_FIELDS)
    this.port.takeStat(slot.index, fields)
    return fields
  }

  #succeed(slot: Slot, value: unknown): void {
    const resolve = slot.resolve
    this.#finish(slot)
    resolve(value)
  }

  #fail(slot: Slot, makeError: () => Error): void {
    const resolve = slot.resolve
    this.#finish(slot)
    rejectLater(resolve, makeError)
  }

  #errorOf(slot: Slot, errno: number): () => Error {
    const syscall = SYSCALLS[slot.kind]!
    const path = slot.kind === OPEN ? pathText(slot.path) : undefined
    const hint = slot.kind <= WRITEV && errno === EINVAL ? slot.file!.alignmentHint : undefined
    return () => systemError(errno, syscall, path, hint)
  }

  #finish(slot: Slot): void {
    const kind = slot.kind
    const file = slot.file
    if (kind <= WRITEV && slot.position === -1) this.#endTurn(slot)
    if (kind === OPEN) {
      slot.path = ''
      slot.wish = undefined
    }
    this.#release(slot)
    if (kind === WRITE || kind === WRITEV) file!.release()
    if (kind === CLOSE) file!.closed()
  }

  /** Starts the next in line for the file's own position. */
  #endTurn(slot: Slot): void {
    const file = slot.file!
    let next = file.endTurn(slot)
    while (next !== undefined) {
      const started = next
      const answer = this.#submit(started)
      file.release() // what waits in line holds the file open
      if (answer === 0) return this.#accepted(started, answer)
      next = file.endTurn(started)
      this.#complete(started, answer, -1)
    }
  }
}

const EINVAL = -22
const ECANCELED = -125
