/**
 * Descriptors that somebody else opened, as files of one engine.
 *
 * All of a list is checked before anything is registered, so that a list with a mistake in it changes nothing.
 */
import { fstatSync } from 'node:fs'
import { adoptUnsupported, invalidArgType, invalidArgValue, systemError } from '../checks/errors.js'
import { validateDirect, validateInteger, validateList } from '../checks/options.js'
import type { HandleWish } from '../control/wishes.js'
import type { Slots } from '../operations/slots.js'
import { FileHandle, makeFileHandle, openFileOf, replaceFile } from './handle.js'
import { OpenFile } from './open-file.js'

const ENOSYS = -38

export class RegisteredFiles {
  readonly #slots: Slots
  readonly #files: Set<OpenFile>
  readonly #wish: () => HandleWish

  /** `files` is the engine's set of open files; `wish` gives what the engine wishes for a file without wishes of its own. */
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

  /** The open file of this engine that is meant, or else the number of a descriptor that somebody else opened. */
  #sourceOf(file: unknown, name: string): number | OpenFile {
    if (file instanceof FileHandle) return this.#own(file, name)
    if (typeof file !== 'number') throw invalidArgType(name, 'of type number or an instance of FileHandle', file)
    const fd = validateInteger(file, name, 0, 2 ** 31 - 1)
    for (const own of this.#files) if (own.fd === fd && own.ownerHandle() !== undefined) return own
    // All numbers are looked at before the first is duplicated: a duplicate takes the lowest free number, and that may be
    // the number of a closed descriptor that stands later in the list.
    fstatSync(fd)
    return fd
  }

  #own(handle: unknown, name: string): OpenFile {
    if (!(handle instanceof FileHandle)) throw invalidArgType(name, 'an instance of FileHandle', handle)
    const file = openFileOf(handle)
    if (file.slots !== this.#slots) throw invalidArgValue(name, handle, 'must be of this engine')
    file.assertOpen('registerFiles')
    return file
  }

  #adopt(fd: number, wish: HandleWish): OpenFile {
    const answer = this.#slots.port.adopt(fd)
    if (typeof answer === 'number') {
      throw answer === ENOSYS ? adoptUnsupported(this.#slots.port.backend) : systemError(answer, 'fcntl')
    }
    // opened by somebody else with O_DIRECT: here its transfers may have any alignment
    const direct = validateDirect(undefined, answer.flags) === false ? false : 'any'
    const file = new OpenFile(this.#slots, this.#files, answer.fd, answer.handle, direct)
    file.isAdopted = true
    return file.take(wish)
  }
}

function ignore(): void {
  // nobody is left to be told
}
