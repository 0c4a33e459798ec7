/**
 * What one engine has registered of the user's own: buffers, and descriptors that somebody else opened.
 *
 * Everything is checked before anything is registered, so that a list with a mistake in it changes nothing.
 */
import { fstatSync } from 'node:fs'
import type { HandleWish } from './control.js'
import {
  adoptUnsupported,
  fileClosed,
  invalidArgType,
  invalidArgValue,
  notRegistrable,
  outOfRange,
  systemError,
  tooManyBuffers,
} from './errors.js'
import { FileHandle, makeFileHandle, openFileOf, replaceFile } from './file-handle.js'
import { OpenFile } from './open-file.js'
import { validateDirect, validateInteger, viewLength, viewMemory } from './options.js'
import { LentMemory } from './pool.js'
import type { Slots } from './slots.js'
import { guardBuffer, track, trackedOf, untrack, type Tracked } from './tracked.js'

/** The kernel's limits: of one buffer, and of the number of them. */
const BUFFER_BYTES_MAX = 2 ** 30
const BUFFERS_MAX = 16384

const EFAULT = -14
const EINVAL = -22
const ENOSPC = -28
const ENOSYS = -38

/** Views, as Node calls them in messages. */
const VIEWS = 'an ArrayBufferView[]'

/** A registered part of an ArrayBuffer. */
interface Part {
  memory: ArrayBuffer
  from: number
  to: number
  /** The port's number for it. */
  id: number
  isLeaving: boolean
}

/** An ArrayBuffer of which parts are registered, with whatever engine: it counts the operations on all of it. */
class RegisteredMemory implements Tracked {
  /** By where they begin and end. */
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

export class RegisteredBuffers {
  readonly #slots: Slots
  readonly #parts = new Set<Part>()

  constructor(slots: Slots) {
    this.#slots = slots
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

  /** The engine is closed, and with it the port, which has unregistered everything. */
  clear(): void {
    for (const part of this.#parts) this.#forget(part)
  }

  #registerAll(parts: Part[], views: NodeJS.ArrayBufferView[]): void {
    const { port } = this.#slots
    for (const [at, part] of parts.entries()) {
      part.id = port.registerMemory(views[at]!)
      if (part.id >= 0) continue
      for (const before of parts.slice(0, at)) port.unregisterMemory(before.id)
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
    this.#slots.port.unregisterMemory(part.id)
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

function validateList(value: unknown, name: string, expected: string): unknown[] {
  if (!Array.isArray(value)) throw invalidArgType(name, expected, value)
  return value as unknown[]
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

/** With each other, or with what is registered already, with this engine or another. */
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

/** Descriptors of others, as handles of this engine. */
export class RegisteredFiles {
  readonly #slots: Slots
  readonly #files: Set<OpenFile>
  readonly #wish: () => HandleWish

  /** `files` is the engine's set of open files; `wish` is what a file is asked for that nobody asked anything for. */
  constructor(slots: Slots, files: Set<OpenFile>, wish: () => HandleWish) {
    this.#slots = slots
    this.#files = files
    this.#wish = wish
  }

  register(files: unknown): FileHandle[] {
    const expected = 'an array of numbers and FileHandles'
    const sources = validateList(files, 'files', expected).map((file) => this.#sourceOf(file, 'files'))
    const adopted: OpenFile[] = []
    try {
      const handles = sources.map((source) => {
        if (source instanceof OpenFile) return source.ownerHandle() as FileHandle
        const file = this.#adopt(source, this.#wish())
        adopted.push(file)
        return makeFileHandle(file)
      })
      for (const handle of handles) this.#slots.port.registerFile(openFileOf(handle).handle)
      return handles
    } catch (error) {
      for (const file of adopted) file.close().catch(ignore)
      throw error
    }
  }

  update(handle: unknown, file: unknown): void {
    const before = this.#own(handle, 'handle')
    const source = this.#sourceOf(file, 'file')
    const after = this.#adopt(source instanceof OpenFile ? source.fd : source, before.wish)
    after.isAdopted = before.isAdopted
    this.#slots.port.registerFile(after.handle)
    replaceFile(handle as FileHandle, after)
    before.close().catch(ignore)
  }

  async unregister(handles: unknown): Promise<void> {
    const files =
      handles === undefined
        ? [...this.#files].filter((file) => file.closing === undefined)
        : validateList(handles, 'handles', 'a FileHandle[]').map((handle) => this.#own(handle, 'handles'))
    await Promise.all(files.filter((file) => file.isAdopted).map((file) => file.closeByOwner()))
  }

  /** A descriptor of another's, or an open file of this engine. */
  #sourceOf(file: unknown, name: string): number | OpenFile {
    if (file instanceof FileHandle) return this.#own(file, name)
    if (typeof file !== 'number') throw invalidArgType(name, 'of type number or an instance of FileHandle', file)
    const fd = validateInteger(file, name, 0, 2 ** 31 - 1)
    for (const own of this.#files) if (own.fd === fd && own.ownerHandle() !== undefined) return own
    // Before any is duplicated: a duplicate takes the lowest free number, which may be that of a later one that is closed.
    fstatSync(fd)
    return fd
  }

  #own(handle: unknown, name: string): OpenFile {
    if (!(handle instanceof FileHandle)) throw invalidArgType(name, 'an instance of FileHandle', handle)
    const file = openFileOf(handle)
    if (file.slots !== this.#slots) throw invalidArgValue(name, handle, 'must be of this engine')
    if (file.closing !== undefined) throw fileClosed('registerFiles')
    return file
  }

  #adopt(fd: number, wish: HandleWish): OpenFile {
    const answer = this.#slots.port.adopt(fd)
    if (typeof answer === 'number') {
      throw answer === ENOSYS ? adoptUnsupported(this.#slots.port.backend) : systemError(answer, 'fcntl')
    }
    // whoever opened it with O_DIRECT need not care for alignment here
    const direct = validateDirect(undefined, answer.flags) === false ? false : 'any'
    const file = new OpenFile(this.#slots, this.#files, answer.fd, answer.handle, direct)
    file.isAdopted = true
    return file.take(wish)
  }
}

function ignore(): void {
  // nobody is left to be told
}
