/**
 * The slots of one engine. Every operation in flight has a slot, whose index goes to the port with the operation and comes back
 * with the completion. What the kernel can touch belongs to the slot: it keeps the views of its operation, and their
 * ArrayBuffers, until that completion. The promise of an operation settles at the completion, and nowhere else.
 *
 * The code is written for the path of one read: it takes a slot that is free, makes one promise with the slot's own executor, and
 * calls the port once. Errors, short writes and the lines at a file's own position are not on that path.
 */
import type { Buffer } from 'node:buffer'
import process from 'node:process'
import { detached, systemError, tooManyOperations } from '../checks/errors.js'
import { directFlags, type Direct } from '../checks/options.js'
import { INHERITED, type HandleWish } from '../control/wishes.js'
import { trackedOf, type Tracked } from '../memory/tracked.js'
import {
  COMPLETION_STRIDE,
  SLOTS_MAX,
  type Arguments,
  type Dispatch,
  type Performed,
  type Port,
  type StatFields,
} from './port.js'
import {
  IDLE,
  NONE,
  Slot,
  advance,
  beginAll,
  endAll,
  isIntact,
  isSlotIntact,
  rejectLater,
  unresolved,
  type Opened,
  type OperatedFile,
} from './slot.js'
import {
  READ,
  READV,
  ROWS,
  TABLE,
  WRITE,
  WRITEV,
  isTransfer,
  statFields,
  systemFailure,
  type Answers,
  type Transfer,
} from './table.js'
import type { ReadResult, WriteResult } from './transfers.js'

type View = NodeJS.ArrayBufferView
type Views = readonly View[]

const OPEN = TABLE.open.kind
const CLOSE = TABLE.close.kind
const ACQUIRE = TABLE.acquire.kind

/** Stands for one operation, for {@link Slots.cancel}. The serial number tells it from others that used the same slot. */
export interface Ticket {
  slot: Slot
  serial: number
}

/** How many completions one call of the port can hand over. More are fetched in the same turn, so this only bounds memory. */
const COMPLETIONS_MAX = 1024

/**
 * How many flushes in a row may settle what completed inside the flush itself, without a turn of the event loop between them.
 * Reads from the page cache complete inside the flush, and their promises start the next reads before the tick ends. Without a
 * limit, timers and sockets would wait for ever. The flush after these leaves its completions to the event loop.
 */
const INLINE_ROUNDS_MAX = 16

/** The largest number of an error. If `high` is 0 and `low` is below the negative of this, the result is a size past 2 GiB. */
const ERRNO_MAX = 4095

/** Called when there are decisions of the control loops to fetch, up to this number. */
export type Decided = (upTo: number) => void

export class Slots {
  readonly port: Port
  /** Taken from the port once, since the binding makes a new function each time one of them is asked for. */
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

  /**
   * `memory` and `byteLength` are the view's. The caller has asked the view for them already; to ask again would make each read
   * slower.
   */
  read(
    file: OperatedFile,
    view: View,
    memory: ArrayBufferLike,
    byteLength: number,
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
    slot.priority = priority
    const { span } = slot
    span.byteLength = byteLength
    span.offset = offset
    span.length = length
    span.position = position
    const promise = new Promise(slot.capture as (resolve: (value: ReadResult<View>) => void) => void)
    if (position !== -1 || file.takeTurn(slot)) this.#start(slot)
    return promise
  }

  /** As {@link read}. */
  write(
    file: OperatedFile,
    view: View,
    memory: ArrayBufferLike,
    byteLength: number,
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
    slot.priority = priority
    const { span } = slot
    span.byteLength = byteLength
    span.offset = offset
    span.length = length
    span.position = position
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

  /** Any operation that has no method of its own here. It works on the open files that are among its arguments: none, one or two. */
  perform<K extends Performed>(kind: K, args: Arguments[K], priority: number = INHERITED): Promise<Answers[K]> {
    const slot = this.#acquire(TABLE[kind].kind, undefined)
    slot.args = args
    slot.priority = priority
    const promise = new Promise(slot.capture as (resolve: (value: Answers[K]) => void) => void)
    const submit = (): number => this.port.perform(kind, slot.index, ...args)
    this.#accepted(slot, priority < 0 ? submit() : this.#withPriority(priority, submit))
    return promise
  }

  /** The numbers of a stat: at once if that cannot block, else a promise of them. */
  stat(file: OperatedFile, bigint: boolean): StatFields | Promise<StatFields> {
    const fields = statFields(bigint)
    const answer = this.port.stat(file.handle, fields)
    if (answer === 0) return fields
    if (answer < 0) throw systemError(answer, 'fstat')
    return this.perform('statFile', [file.handle, bigint])
  }

  /** A slot for the file's close. {@link startClose} submits it, once nothing more will be submitted for the file. */
  acquireClose(file: OperatedFile): { slot: Slot; closed: Promise<void> } {
    const slot = this.#acquire(CLOSE, file)
    return { slot, closed: new Promise(slot.capture as (resolve: (value: void) => void) => void) }
  }

  startClose(slot: Slot, file: OperatedFile): void {
    this.#accepted(slot, this.port.close(slot.index, file.handle))
  }

  /** Resolves with what the constructor's `opened` makes of the open file. */
  open(path: string | Uint8Array, flags: number, mode: number, direct: Direct, wish: HandleWish): Promise<unknown> {
    const slot = this.#acquire(OPEN, undefined)
    slot.args = [path]
    slot.opening = { direct, wish, opened: this.#opened, handle: -1 }
    const promise = new Promise(slot.capture)
    this.#accepted(slot, this.port.open(slot.index, path, directFlags(flags, direct), mode, direct === 'any'))
    return promise
  }

  /** Resolves with a Buffer over a block of the pool, when it is the turn of this acquisition and a block is free. */
  acquireBlock(bytes: number, alignment: number): Promise<Buffer<ArrayBuffer>> {
    const slot = this.#acquire(ACQUIRE, undefined)
    slot.span.length = bytes
    const promise = new Promise(slot.capture as (resolve: (value: Buffer<ArrayBuffer>) => void) => void)
    this.#accepted(slot, this.port.acquireLater(slot.index, bytes, alignment))
    return promise
  }

  /** Ends the acquisitions that wait, because the engine closes. */
  cancelAcquisitions(): void {
    for (const slot of this.#slots) if (slot.kind === ACQUIRE) this.cancel({ slot, serial: slot.serial })
  }

  /** Stands for the operation that was begun last. To be asked for right after the call that began it. */
  ticket(): Ticket {
    const slot = this.#latest!
    return { slot, serial: slot.serial }
  }

  /** Asks the port to end an operation early. The operation still completes, and its promise settles then. */
  cancel({ slot, serial }: Ticket): void {
    if (slot.serial !== serial || slot.kind === IDLE) return
    this.port.cancel(slot.index)
    this.#scheduleFlush()
  }

  /** Resolves when nothing is in flight and the promises of all operations have been seen by those who awaited them. */
  async idle(): Promise<void> {
    while (this.#free.length < this.#slots.length) await new Promise<void>((wake) => this.#idleWaiters.push(wake))
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
    slot.span.length = slot.vector.byteLengths.reduce((sum, bytes) => sum + bytes, 0)
    slot.span.position = position
    slot.priority = priority
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
      for (const wake of waiters) setImmediate(wake) // after the promises that settle in this turn
    }
  }

  /** Submits a transfer. If the port refuses it, its promise settles with the error. */
  #start(slot: Slot): void {
    this.#accepted(slot, this.#submit(slot))
  }

  /** To be called with the port's answer to each operation: 0, or the negated errno of a refusal. */
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
    if (slot.priority < 0) return this.#hand(slot)
    return this.#withPriority(slot.priority, () => this.#hand(slot))
  }

  /** Calls the port for one operation with a priority of its own. */
  #withPriority(priority: number, submit: () => number): number {
    let answer = -1
    this.port.nextPriority(priority)
    try {
      answer = submit()
    } finally {
      // The port keeps the priority for the next operation it accepts. It accepted none, so the priority is taken back.
      if (answer !== 0) this.port.nextPriority(INHERITED)
    }
    return answer
  }

  #hand({ index, kind, file, view, vector, span }: Slot): number {
    const { handle } = file!
    switch (kind as Transfer) {
      case READ:
        return span.length === span.byteLength
          ? this.#read(index, handle, view!, span.position)
          : this.#read(index, handle, view!, span.offset, span.length, span.position)
      case WRITE:
        return this.#write(index, handle, view!, span.offset, span.length, span.position)
      case READV:
        return this.port.readv(index, handle, vector!.views, span.position)
      case WRITEV:
        return this.port.writev(index, handle, vector!.views, span.position)
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
      if (!isIntact(slot.memory!, slot.span.byteLength)) return this.#fail(slot, detached)
      const view = slot.view!
      const resolve = slot.resolve
      if (slot.span.position === -1) this.#endTurn(slot)
      this.#release(slot)
      resolve({ bytesRead: low, buffer: view })
      return
    }
    const failed = high < 0 || (high === 0 && low < 0 && low >= -ERRNO_MAX)
    if (isTransfer(slot.kind)) return this.#completeTransfer(slot, failed ? low : high * 2 ** 32 + (low >>> 0))
    const { opening } = slot
    // an open has its handle in `high`, which may have any value
    if (opening === undefined ? failed : low < 0) return this.#fail(slot, this.#errorOf(slot, low))
    if (opening !== undefined) opening.handle = high
    this.#answer(slot, low)
  }

  /** Completes the transfers that are not on the fast path: vectors, writes, errors, sizes past 2 GiB. */
  #completeTransfer(slot: Slot, result: number): void {
    if (!isSlotIntact(slot)) return this.#fail(slot, detached)
    const isWrite = slot.kind === WRITE || slot.kind === WRITEV
    if (isWrite && result > 0 && result < slot.span.length) {
      advance(slot, result)
      const answer = this.#submit(slot) // the rest of the write; libuv does the same before Node hears of it
      if (answer === 0) return this.#accepted(slot, answer)
      result = 0
    }
    if (result < 0 && slot.span.transferred === 0) return this.#fail(slot, this.#errorOf(slot, result))
    this.#answer(slot, slot.span.transferred + Math.max(result, 0))
  }

  /** Resolves the promise with what the table makes of the result, or rejects it with what the table throws. */
  #answer(slot: Slot, result: number): void {
    let value: unknown
    try {
      value = ROWS[slot.kind]!.answer(result, slot, this.port)
    } catch (error) {
      return this.#fail(slot, () => error as Error)
    }
    const { resolve } = slot
    this.#finish(slot)
    resolve(value)
  }

  #fail(slot: Slot, makeError: () => Error): void {
    const resolve = slot.resolve
    this.#finish(slot)
    rejectLater(resolve, makeError)
  }

  /** What is needed for the error is taken from the slot now: when the error is made, another operation may have the slot. */
  #errorOf(slot: Slot, errno: number): () => Error {
    const { syscall, failure } = ROWS[slot.kind]!
    return failure === undefined ? systemFailure(errno, slot, syscall) : failure(errno, slot)
  }

  /** Frees the slot, and does what the end of its operation entails for the file. */
  #finish(slot: Slot): void {
    const { kind, file } = slot
    if (isTransfer(kind) && slot.span.position === -1) this.#endTurn(slot)
    slot.args = NONE
    slot.opening = undefined
    this.#release(slot)
    if (kind === WRITE || kind === WRITEV) {
      slot.span.transferred = 0 // only a write that is being continued has another number, whatever the next operation is
      file!.release()
    }
    if (kind === CLOSE) file!.closed()
  }

  /** Starts the next in line for the file's own position. */
  #endTurn(slot: Slot): void {
    const file = slot.file!
    let next = file.endTurn(slot)
    while (next !== undefined) {
      const started = next
      const answer = this.#submit(started)
      file.release() // it held the file open while it waited in line
      if (answer === 0) return this.#accepted(started, answer)
      next = file.endTurn(started)
      this.#complete(started, answer, -1)
    }
  }
}
