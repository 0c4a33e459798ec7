/**
 * One open file, as its operations, its FileHandle and its engine share it: the port's handle, who has the turn at the
 * file's own position, and what has to happen before the port may close it. It knows nothing of the FileHandle but a weak
 * reference, so that a handle which the user forgot can be collected, and then closes its descriptor.
 */
import process from 'node:process'
import { classOf, type HandleWish, type Priority } from '../control/wishes.js'
import { fileClosed, systemError } from '../checks/errors.js'
import type { Direct } from '../checks/options.js'
import type { Slot } from '../operations/slot.js'
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

/** What the engine does to a handle whose engine is closed. */
export interface Closable extends WeakKey {
  close(): Promise<void>
}

export class OpenFile {
  readonly slots: Slots
  readonly handle: number
  readonly direct: Direct
  /** What a message adds to an `EINVAL` of a file whose transfers the kernel refuses when they are not aligned. */
  readonly alignmentHint: string | undefined
  /** -1 from the call of close on. */
  fd: number
  /** What its operations and its device are asked for on its behalf. */
  wish: HandleWish = { priority: 'normal', guardP99Ms: undefined }
  /** Made of a descriptor that somebody else had opened. */
  isAdopted = false
  /** Set from the call of close on. */
  closing: Promise<void> | undefined = undefined
  readonly #files: Set<OpenFile>
  #owner: WeakRef<Closable> | undefined
  #held = 0
  #closeSlot: Slot | undefined
  /** The operation at the file's own position, and those in line behind it. */
  #turn: Slot | undefined
  #firstWaiting: Slot | undefined
  #lastWaiting: Slot | undefined
  #stream: boolean | undefined

  /** `files` is the engine's set of open files; this one is in it until it is closed. */
  constructor(slots: Slots, files: Set<OpenFile>, fd: number, handle: number, direct: Direct) {
    this.slots = slots
    this.#files = files
    this.fd = fd
    this.handle = handle
    this.direct = direct
    // asked now: once the handle is closed, nobody could tell
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

  /** What it is opened with. */
  take({ priority, guardP99Ms }: HandleWish): this {
    this.setPriority(priority)
    if (guardP99Ms !== undefined) this.setGuard(guardP99Ms)
    return this
  }

  /** Of the operations that begin from now on, but those that name a class themselves. */
  setPriority(priority: Priority): void {
    this.#answered(this.slots.port.setPriority(this.handle, classOf(priority)), 'priority')
    this.wish = { ...this.wish, priority }
  }

  setGuard(guardP99Ms: number | undefined): void {
    this.#answered(this.slots.port.setGuard(this.handle, guardP99Ms ?? 0), 'guardP99Ms')
    this.wish = { ...this.wish, guardP99Ms }
  }

  #answered(answer: number, what: string): void {
    if (answer < 0) throw systemError(answer, what)
  }

  /** From here on, the file is closed when `owner` is collected. */
  belongsTo(owner: Closable): void {
    this.#owner = new WeakRef(owner)
    forgotten.register(owner, this, this)
  }

  /** It is no handle's any more. */
  disown(): void {
    forgotten.unregister(this)
    this.#owner = undefined
  }

  /** The handle, as long as somebody has it. */
  ownerHandle(): Closable | undefined {
    return this.#owner?.deref()
  }

  /** Through the owner, if there still is one, so that it tells its listeners. */
  closeByOwner(): Promise<void> {
    return (this.#owner?.deref() ?? this).close()
  }

  /**
   * Resolves when the descriptor is closed. From the call on, nothing new is accepted; what has begun is finished first:
   * what is in flight by the port, the rest (queues, loops over a whole file, the tail of a short write) by `#held`.
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

  /** Called once, when the port has closed. */
  closed(): void {
    this.#files.delete(this)
  }

  /** Puts the port's close off until {@link release}: more will be submitted. */
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
   * The file's own position moves with each operation, and io_uring runs two at once; so they go one after the other.
   * True if the slot may start now, else it is in line.
   */
  takeTurn(slot: Slot): boolean {
    if (this.#turn === undefined) {
      this.#turn = slot
      return true
    }
    if (this.isStream()) return true
    this.hold()
    slot.next = undefined
    if (this.#lastWaiting === undefined) this.#firstWaiting = slot
    else this.#lastWaiting.next = slot
    this.#lastWaiting = slot
    return false
  }

  /** Passes the turn on; answers who has it now and is to be started. */
  endTurn(slot: Slot): Slot | undefined {
    if (this.#turn !== slot) return undefined
    const next = this.#firstWaiting
    this.#turn = next
    if (next === undefined) return undefined
    this.#firstWaiting = next.next
    if (next.next === undefined) this.#lastWaiting = undefined
    next.next = undefined
    return next
  }

  /** Pipes, sockets and terminals have no position: there, a read that waits for data must not keep a write waiting. */
  isStream(): boolean {
    this.#stream ??= !this.slots.port.seekable(this.handle)
    return this.#stream
  }
}
