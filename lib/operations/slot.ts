/**
 * One operation in flight: what the kernel can touch for it, and what its promise needs. A slot is used again for the next
 * operation. lib/operations/slots.ts has the table of them.
 */
import type { Direct } from '../checks/options.js'
import { INHERITED, type HandleWish } from '../control/wishes.js'
import { trackedOf, type Tracked } from '../memory/tracked.js'
import type { Path } from './port.js'

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

/** The kind of a slot that is not in use. The kinds of operations are in lib/operations/table.ts. */
export const IDLE = 0

/** An argument of an operation: a path, a number or a choice. */
export type Argument = Path | number | boolean

/** The arguments of a slot without any. */
export const NONE: readonly Argument[] = []

export type Resolve = (value: unknown) => void

export const unresolved: Resolve = () => undefined

/**
 * Rejects a slot's promise with an error that is made two microtasks later, inside a promise that the slot's promise follows
 * by then. V8 knows at that time who awaits the slot's promise, and puts the callers into the error's stack. An operation that
 * succeeds pays nothing for it.
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

/** Which bytes a transfer moves. */
export class Span {
  /** The length of the view when the operation began. */
  byteLength = 0
  /** Where in the view the transfer begins. */
  offset = 0
  /** How many bytes are still to be moved. */
  length = 0
  /** Where in the file; -1 is the file's own position. */
  position = 0
  /** What a write has moved before it came up short and was continued; 0 in any other operation. */
  transferred = 0
}

/** One operation in flight. */
export class Slot {
  readonly index: number
  /** The executor of this slot's promises. It is made once, so that an operation makes no closure. */
  readonly capture: (resolve: Resolve) => void
  readonly span: Span = new Span()
  kind: number = IDLE
  /** Tells one use of the slot from the next. */
  serial = 0
  resolve: Resolve = unresolved
  file: OperatedFile | undefined = undefined
  /** The view that the kernel works on, and its ArrayBuffer. The slot keeps both reachable. */
  view: NodeJS.ArrayBufferView | undefined = undefined
  memory: ArrayBufferLike | undefined = undefined
  /** Told when the operation has ended: the memory's lease, or its registration. */
  tracked: Tracked | undefined = undefined
  /** The number of the priority that the operation names, or `INHERITED` for that of its handle. */
  priority: number = INHERITED
  vector: Vector | undefined = undefined
  /** The arguments of an operation that is neither a transfer nor a close. Its error names the paths among them. */
  args: readonly Argument[] = NONE
  opening: Opening | undefined = undefined
  /** The next in line for the file's own position. */
  next: Slot | undefined = undefined

  constructor(index: number) {
    this.index = index
    this.capture = (resolve) => {
      this.resolve = resolve
    }
  }
}

/** Makes the value that an `open` resolves with. */
export type Opened = (fd: number, handle: number, direct: Direct, wish: HandleWish) => unknown

/** How a file is to be opened, and what its handle wishes for. */
export interface Opening {
  direct: Direct
  wish: HandleWish
  opened: Opened
  /** The port's number for the file, once it is open. */
  handle: number
}

/** The views of a readv or writev. The list is a copy, which nobody changes while the kernel uses it. */
export interface Vector {
  views: NodeJS.ArrayBufferView[]
  memories: ArrayBufferLike[]
  byteLengths: number[]
  tracked: Tracked[]
}

/** Tells everything that tracks one of the memories that an operation begins. If one of them refuses, none is left told. */
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

/**
 * False if a view of `byteLength` bytes has lost its memory since the operation began. No view of a resizable ArrayBuffer gets
 * here, and a SharedArrayBuffer can only grow. So all of the memory is there, or its ArrayBuffer was detached and has no byte.
 * It is the ArrayBuffer that is asked, since Node 20 answers `byteLength` of an ArrayBuffer faster than that of a view.
 */
export function isIntact(memory: ArrayBufferLike, byteLength: number): boolean {
  return memory.byteLength >= byteLength
}

export function isSlotIntact({ vector, memory, span }: Slot): boolean {
  if (vector === undefined) return isIntact(memory!, span.byteLength)
  return vector.memories.every((one, at) => isIntact(one, vector.byteLengths[at]!))
}

/** Moves the beginning of a transfer past its first `bytes`, which a short write has written. */
export function advance({ span, vector }: Slot, bytes: number): void {
  span.transferred += bytes
  span.length -= bytes
  if (span.position !== -1) span.position += bytes
  if (vector === undefined) {
    span.offset += bytes
    return
  }
  let skip = bytes
  let first = 0
  while (skip >= vector.byteLengths[first]!) skip -= vector.byteLengths[first++]!
  const views = vector.views.slice(first)
  const { buffer, byteOffset, byteLength } = views[0]!
  views[0] = new Uint8Array(buffer, byteOffset + skip, byteLength - skip)
  vector.views = views
  vector.memories = vector.memories.slice(first)
  vector.byteLengths = views.map((view) => view.byteLength)
}
