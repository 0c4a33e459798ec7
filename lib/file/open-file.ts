/**
 * One open file, as its operations, its FileHandle and its engine share it: the port's number for it, who has the turn at the
 * file's own position, and what has to happen before the port may close it.
 *
 * It has only a weak reference to its FileHandle. So the garbage collector can collect a handle that the user forgot, and the
 * file is closed then.
 */
import process from 'node:process'
import { fileClosed, systemError } from '../checks/errors.js'
import type { Direct } from '../checks/options.js'
import { classOf, type HandleWish, type Priority } from '../control/wishes.js'
import type { OperatedFile, Slot } from '../operations/slot.js'
import type { Slots } from '../operations/slots.js'

let warned = false

const forgotten = new FinalizationRegistry<OpenFile>((file) => {
  if (!warned) {
    warned = true
    process.emitWarning(`Closing file descriptor ${file.fd} on garbage collection: close FileHandles explicitly`, {
      code: 'AURAIO_HANDLE_NOT_CLOSED',
    })
  }
  file.close().catch(() => undefined) // nobody is left to be told
})

function alignmentHint([memory, offset]: number[]): string {
  const needs =
    memory === undefined
      ? "buffer addresses, positions and lengths at multiples of the device's block size; 4096 always is one"
      : `buffer addresses at multiples of ${memory} and positions and lengths at multiples of ${offset}`
  return `direct I/O on this file needs ${needs}`
}

/** What an engine that closes needs of a handle. `FileHandle` is one. */
export interface Closable extends WeakKey {
  close(): Promise<void>
}

/** The operations that wait for the file's own position, in the order of their calls. */
class Line {
  #first: Slot | undefined
  #last: Slot | undefined

  push(slot: Slot): void {
    slot.next = undefined
    if (this.#last === undefined) this.#first = slot
    else this.#last.next = slot
    this.#last = slot
  }

  shift(): Slot | undefined {
    const slot = this.#first
    if (slot === undefined) return undefined
    this.#first = slot.next
    if (slot.next === undefined) this.#last = undefined
    slot.next = undefined
    return slot
  }
}

export class OpenFile implements OperatedFile {
  readonly slots: Slots
  readonly handle: number
  readonly direct: Direct
  /** Set if the kernel refuses transfers that are not aligned: the sentence that is added to the message of an `EINVAL`. */
  readonly alignmentHint: string | undefined
  /** -1 from the call of close on. */
  fd: number
  /** What the handle wishes for: the priority of its operations, and a guard for its device. */
  wish: HandleWish = { priority: 'normal', guardP99Ms: undefined }
  /** True if it is a duplicate of a descriptor that somebody else opened. */
  isAdopted = false
  /** Set from the call of close on. */
  closing: Promise<void> | undefined = undefined
  readonly #files: Set<OpenFile>
  #owner: WeakRef<Closable> | undefined
  #held = 0
  #closeSlot: Slot | undefined
  /** The operation that has the turn at the file's own position. */
  #turn: Slot | undefined
  readonly #line = new Line()
  #stream: boolean | undefined

  /** `files` is the engine's set of open files. This file is in it until it is closed. */
  constructor(slots: Slots, files: Set<OpenFile>, fd: number, handle: number, direct: Direct) {
    this.slots = slots
    this.#files = files
    this.fd = fd
    this.handle = handle
    this.direct = direct
    // asked for now, since the port no longer knows the handle once it is closed
    this.alignmentHint = direct === 'strict' ? alignmentHint(slots.port.directAlignment(handle)) : undefined
    files.add(this)
  }

  /** @throws EBADF, 'file closed', from the call of close on. The error names `syscall`. */
  assertOpen(syscall: string): void {
    if (this.closing !== undefined) throw fileClosed(syscall)
  }

  /** The number of the lane that governs the file's operations, if there is one. */
  get lane(): number | undefined {
    const lane = this.closing === undefined ? this.slots.port.laneOf(this.handle) : -1
    return lane < 0 ? undefined : lane
  }

  /** Sets what the file was opened with. */
  take({ priority, guardP99Ms }: HandleWish): this {
    this.setPriority(priority)
    if (guardP99Ms !== undefined) this.setGuard(guardP99Ms)
    return this
  }

  /** Holds for the operations that begin from now on and name no priority themselves. */
  setPriority(priority: Priority): void {
    this.#answered(this.slots.port.setPriority(this.handle, classOf(priority)), 'priority')
    this.wish = { ...this.wish, priority }
  }

  setGuard(guardP99Ms: number | undefined): void {
    this.#answered(this.slots.port.setGuard(this.handle, guardP99Ms ?? 0), 'guardP99Ms')
    this.wish = { ...this.wish, guardP99Ms }
  }

  /** @throws if the port answered with a negated errno */
  #answered(answer: number, what: string): void {
    if (answer < 0) throw systemError(answer, what)
  }

  /** From now on, the file is closed when `owner` is collected. */
  belongsTo(owner: Closable): void {
    this.#owner = new WeakRef(owner)
    forgotten.register(owner, this, this)
  }

  /** From now on, the file belongs to no handle. */
  disown(): void {
    forgotten.unregister(this)
    this.#owner = undefined
  }

  /** The handle, unless it has been collected. */
  ownerHandle(): Closable | undefined {
    return this.#owner?.deref()
  }

  /** Closes the handle if there still is one, so that it tells its listeners; else the file. */
  closeByOwner(): Promise<void> {
    return (this.#owner?.deref() ?? this).close()
  }

  /**
   * Resolves when the descriptor is closed. From the call on, no new operation is accepted. Operations that have begun finish
   * first. The port waits for those in flight. The others hold the file (see {@link hold}): operations that wait in line, loops
   * over a whole file, and writes, which may have to be continued.
   */
  close(): Promise<void> {
    if (this.closing !== undefined) return this.closing
    const { slot, closed } = this.slots.acquireClose(this)
    this.closing = closed
    this.fd = -1
    forgotten.unregister(this)
    if (this.#held === 0) this.slots.startClose(slot, this)
    else this.#closeSlot = slot
    return closed
  }

  /** Called once, when the port has closed the file. */
  closed(): void {
    this.#files.delete(this)
  }

  /** Puts the port's close off until {@link release}, because more operations will be submitted for the file. */
  hold(): void {
    this.#held++
  }

  release(): void {
    if (--this.#held > 0 || this.#closeSlot === undefined) return
    const slot = this.#closeSlot
    this.#closeSlot = undefined
    this.slots.startClose(slot, this)
  }

  /**
   * Each operation at the file's own position moves it, and io_uring may run two operations at once. So they go one after the
   * other. True if the slot may start now; false if it has been put in line.
   */
  takeTurn(slot: Slot): boolean {
    if (this.#turn === undefined) {
      this.#turn = slot
      return true
    }
    if (this.isStream()) return true
    this.hold()
    this.#line.push(slot)
    return false
  }

  /** Passes the turn on. Answers the slot that has it now and must be started. */
  endTurn(slot: Slot): Slot | undefined {
    if (this.#turn !== slot) return undefined
    this.#turn = this.#line.shift()
    return this.#turn
  }

  /** True for pipes, sockets and terminals. They have no position, and a read that waits for data must not hold up a write. */
  isStream(): boolean {
    this.#stream ??= !this.slots.port.seekable(this.handle)
    return this.#stream
  }
}
