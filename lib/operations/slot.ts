/**
 * One operation in flight: what the kernel can touch for it, and what its promise needs. Slots are pooled and used again;
 * lib/operations/slots.ts has the table of them.
 */
import { INHERITED, type HandleWish } from '../control/wishes.js'
import type { Direct } from '../checks/options.js'
import { trackedOf, type Tracked } from '../memory/tracked.js'

/** What an operation needs of the file that it works on. `OpenFile` in lib/file/open-file.ts is the only one. */
export interface OperatedFile {
  /** The port's number for the file. */
  readonly handle: number
  /** Added to the message of an `EINVAL`; undefined where transfers need no alignment. */
  readonly alignmentHint: string | undefined
  /** Puts the close of the file off until {@link release}. */
  hold(): void
  release(): void
  /** True if the slot may start at the file's own position now; false if it has been put in line. */
  takeTurn(slot: Slot): boolean
  /** Passes the turn at the file's own position on. Answers the slot that has it now and must be started. */
  endTurn(slot: Slot): Slot | undefined
  /** The port has closed the file. */
  closed(): void
}

/** The kind of a slot that is in no use; the others are in lib/operations/slots.ts. */
export const IDLE = 0

export type Resolve = (value: unknown) => void

export const unresolved: Resolve = () => undefined

/**
 * Rejects a slot's promise with an error that is made two microtasks from now, in a promise that the slot's promise follows
 * by then: there V8 can see who awaits, and puts the callers into the stack. An operation that succeeds pays nothing for it.
 */
export function rejectLater(resolve: Resolve, makeError: () => Error): void {
  let begin: Resolve = unresolved
  const gate = new Promise((open) => {
    begin = open
  })
  resolve(
    gate.then(() => {
      throw makeError()
    }),
  )
  begin(undefined)
}

/** One operation in flight; used again for the next. */
export class Slot {
  readonly index: number
  /** The executor of this slot's promises: made once, so that an operation makes no closure. */
  readonly capture: (resolve: Resolve) => void
  kind: number = IDLE
  serial = 0
  resolve: Resolve = unresolved
  file: OperatedFile | undefined = undefined
  /** The view, and the memory behind it, that the kernel works on. */
  view: NodeJS.ArrayBufferView | undefined = undefined
  memory: ArrayBufferLike | undefined = undefined
  /** Who is told when the operation has ended: the memory's lease, or its registration. */
  tracked: Tracked | undefined = undefined
  byteLength = 0
  offset = 0
  length = 0
  position = 0
  /** The class that the operation names, or that of its handle. */
  priority: number = INHERITED
  /** What a write has transferred before it came up short. */
  transferred = 0
  vector: Vector | undefined = undefined
  /** For an open: its path, how the file is to be opened, and what its handle asks for. */
  path: string | Uint8Array = ''
  direct: Direct = false
  wish: HandleWish | undefined = undefined
  /** The next in line for the file's own position. */
  next: Slot | undefined = undefined

  constructor(index: number) {
    this.index = index
    this.capture = (resolve) => {
      this.resolve = resolve
    }
  }
}

/** The views of a readv or writev: a copy of the caller's array, which nobody changes while the kernel uses it. */
export interface Vector {
  views: NodeJS.ArrayBufferView[]
  memories: ArrayBufferLike[]
  byteLengths: number[]
  tracked: Tracked[]
}

/** Tells each of those that the memories belong to; all or none. */
export function beginAll(memories: ArrayBufferLike[]): Tracked[] {
  const begun: Tracked[] = []
  try {
    for (const memory of memories) {
      const tracked = trackedOf(memory)
      if (tracked === undefined) continue
      tracked.begin()
      begun.push(tracked)
    }
  } catch (error) {
    endAll(begun)
    throw error
  }
  return begun
}

export function endAll(begun: Tracked[]): void {
  for (const tracked of begun) tracked.end()
}

/** False if the view has lost memory since the operation began. Growing is harmless. */
export function isIntact(view: NodeJS.ArrayBufferView, byteLength: number): boolean {
  try {
    return view.byteLength >= byteLength // throws for a detached DataView
  } catch {
    return false
  }
}

export function isSlotIntact(slot: Slot): boolean {
  const { vector } = slot
  if (vector === undefined) return isIntact(slot.view!, slot.byteLength)
  return vector.views.every((view, at) => isIntact(view, vector.byteLengths[at]!))
}

/** Past the first `bytes` of a write that came up short. */
export function advance(slot: Slot, bytes: number): void {
  slot.transferred += bytes
  slot.length -= bytes
  if (slot.position !== -1) slot.position += bytes
  if (slot.vector === undefined) {
    slot.offset += bytes
    return
  }
  const { vector } = slot
  let skip = bytes
  let first = 0
  while (skip >= vector.byteLengths[first]!) skip -= vector.byteLengths[first++]!
  const views = vector.views.slice(first)
  const { buffer, byteOffset, byteLength } = views[0]!
  views[0] = new Uint8Array(buffer, byteOffset + skip, byteLength - skip)
  vector.views = views
  vector.byteLengths = views.map((view) => view.byteLength)
}
