/**
 * The buffers that a user has registered with one engine.
 *
 * All of a list is checked before anything is registered, so that a list with a mistake in it changes nothing.
 */
import {
  invalidArgType,
  invalidArgValue,
  notRegistrable,
  outOfRange,
  systemError,
  tooManyBuffers,
} from '../checks/errors.js'
import { validateList, viewLength, viewMemory } from '../checks/options.js'
import { LentMemory } from './lent.js'
import { guardBuffer, track, trackedOf, untrack, type Tracked } from './tracked.js'

/** The kernel's limits: the size of one buffer, and the number of buffers. */
const BUFFER_BYTES_MAX = 2 ** 30
const BUFFERS_MAX = 16384

const EFAULT = -14
const EINVAL = -22
const ENOSPC = -28

/** What Node's messages call a list of views. */
const VIEWS = 'an ArrayBufferView[]'

/** A registered part of an ArrayBuffer. */
interface Part {
  memory: ArrayBuffer
  from: number
  to: number
  /** The registrar's number for the part. */
  id: number
  isLeaving: boolean
}

/** An ArrayBuffer of which parts are registered, with one engine or with several. It counts the operations on all of it. */
class RegisteredMemory implements Tracked {
  /** The key names the beginning and the end of the part. */
  readonly parts = new Map<string, Part>()
  #inFlight = 0
  #waiting: (() => void)[] = []

  begin(): void {
    this.#inFlight++
  }

  end(): void {
    if (--this.#inFlight > 0 || this.#waiting.length === 0) return
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }

  async idle(): Promise<void> {
    while (this.#inFlight > 0) await new Promise<void>((wake) => this.#waiting.push(wake))
  }
}

/** What registers memory with the kernel. The port has it. */
export interface Registrar {
  /** A number that is not negative, for {@link unregisterMemory}; or a negated errno. */
  registerMemory(view: ArrayBufferView): number
  unregisterMemory(id: number): void
}

export class RegisteredBuffers {
  readonly #registrar: Registrar
  readonly #parts = new Set<Part>()

  constructor(registrar: Registrar) {
    this.#registrar = registrar
  }

  register(views: unknown): void {
    const parts = validateParts(views)
    if (this.#parts.size + parts.length > BUFFERS_MAX) throw tooManyBuffers(BUFFERS_MAX)
    refuseOverlaps(parts)
    this.#registerAll(parts, views as NodeJS.ArrayBufferView[])
    for (const part of parts) {
      noteOf(part.memory).parts.set(keyOf(part.from, part.to), part)
      this.#parts.add(part)
    }
    for (const memory of new Set(parts.map((part) => part.memory))) guardBuffer(memory)
  }

  async unregister(views: unknown): Promise<void> {
    const parts = views === undefined ? [...this.#parts].filter((part) => !part.isLeaving) : this.#find(views)
    for (const part of parts) part.isLeaving = true
    await Promise.all(parts.map((part) => this.#leave(part)))
  }

  /** To be called once the port is shut down, which unregisters all memory. */
  clear(): void {
    for (const part of this.#parts) this.#forget(part)
  }

  #registerAll(parts: Part[], views: NodeJS.ArrayBufferView[]): void {
    for (const [at, part] of parts.entries()) {
      part.id = this.#registrar.registerMemory(views[at]!)
      if (part.id >= 0) continue
      for (const before of parts.slice(0, at)) this.#registrar.unregisterMemory(before.id)
      throw this.#refusal(part.id, views[at]!)
    }
  }

  #refusal(errno: number, view: NodeJS.ArrayBufferView): Error {
    if (errno === ENOSPC) return tooManyBuffers(BUFFERS_MAX)
    if (errno === EFAULT) return notRegistrable()
    if (errno === EINVAL) return invalidArgValue('views', view, 'must not have memory that is registered already')
    return systemError(errno, 'io_uring_register')
  }

  #find(views: unknown): Part[] {
    const found = new Set<Part>()
    for (const view of validateList(views, 'views', VIEWS)) {
      if (!ArrayBuffer.isView(view)) throw invalidArgType('views', VIEWS, views)
      const { buffer, byteOffset, byteLength } = view as NodeJS.ArrayBufferView
      const note = trackedOf(buffer)
      const key = keyOf(byteOffset, byteOffset + byteLength)
      const part = note instanceof RegisteredMemory ? note.parts.get(key) : undefined
      if (part === undefined || part.isLeaving || !this.#parts.has(part)) {
        throw invalidArgValue('views', view, 'must be registered with this engine')
      }
      found.add(part)
    }
    return [...found]
  }

  async #leave(part: Part): Promise<void> {
    const note = trackedOf(part.memory)
    if (note instanceof RegisteredMemory) await note.idle()
    if (!this.#parts.has(part)) return // the engine was closed meanwhile
    this.#registrar.unregisterMemory(part.id)
    this.#forget(part)
  }

  #forget(part: Part): void {
    this.#parts.delete(part)
    const { parts } = noteOf(part.memory)
    parts.delete(keyOf(part.from, part.to))
    if (parts.size === 0) untrack(part.memory)
  }
}

function keyOf(from: number, to: number): string {
  return `${from}:${to}`
}

function noteOf(memory: ArrayBuffer): RegisteredMemory {
  const known = trackedOf(memory)
  if (known instanceof RegisteredMemory) return known
  const note = new RegisteredMemory()
  track(memory, note)
  return note
}

function validateParts(views: unknown): Part[] {
  return validateList(views, 'views', VIEWS).map((view, at) => {
    if (!ArrayBuffer.isView(view)) throw invalidArgType('views', VIEWS, views)
    return partOf(view as NodeJS.ArrayBufferView, at)
  })
}

function partOf(view: NodeJS.ArrayBufferView, at: number): Part {
  const length = viewLength(view)
  const memory = viewMemory(view)
  if (!(memory instanceof ArrayBuffer) && Object.prototype.toString.call(memory) !== '[object ArrayBuffer]') {
    throw invalidArgValue('views', view, 'must not be views of a SharedArrayBuffer')
  }
  if (length === 0 || length > BUFFER_BYTES_MAX) {
    throw outOfRange(`views[${at}].byteLength`, `>= 1 && <= ${BUFFER_BYTES_MAX}`, length)
  }
  if (trackedOf(memory) instanceof LentMemory) {
    throw invalidArgValue('views', view, 'must not be memory of a lease, which is registered by itself')
  }
  if (!Object.isExtensible(memory)) throw invalidArgValue('views', view, 'must not be views of a frozen ArrayBuffer')
  const { byteOffset } = view
  return { memory: memory as ArrayBuffer, from: byteOffset, to: byteOffset + length, id: -1, isLeaving: false }
}

/** Refuses parts that overlap each other, or a part that is registered already, with this engine or another. */
function refuseOverlaps(parts: Part[]): void {
  const byMemory = new Map<ArrayBuffer, Part[]>()
  for (const part of parts) {
    const list = byMemory.get(part.memory)
    if (list === undefined) byMemory.set(part.memory, [part])
    else list.push(part)
  }
  for (const [memory, fresh] of byMemory) {
    const known = trackedOf(memory)
    const all = known instanceof RegisteredMemory ? [...known.parts.values(), ...fresh] : fresh
    all.sort((one, other) => one.from - other.from)
    for (let at = 1; at < all.length; at++) {
      const part = all[at]!
      if (part.from >= all[at - 1]!.to) continue
      const view = new Uint8Array(memory, part.from, part.to - part.from)
      throw invalidArgValue('views', view, 'must not overlap each other, nor what is registered already')
    }
  }
}
