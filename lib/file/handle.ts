/**
 * The class `FileHandle`: Node's methods, over an engine. The transfers check their arguments here, in Node's order, and hand
 * numbers and a view to the slot table. The other methods are in the files beside this one, as functions that take an OpenFile.
 */
import type { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { BigIntStats, Stats } from 'node:fs'
import { INHERITED, validateClass, type Priority, type PriorityOption } from '../control/wishes.js'
import { invalidArgType, invalidArgValue, rejection } from '../checks/errors.js'
import * as attributes from './attributes.js'
import { copyRange, type CopyRangeOptions, type CopyRangeResult } from './copy-range.js'
import { freshLength, readFresh, zeroedBuffer } from './fresh.js'
import type { OpenFile } from './open-file.js'
import {
  encoded,
  lengthOutOfRange,
  notWritable,
  offsetOutOfRange,
  readPosition,
  validateBoolean,
  validateFileOptions,
  validateInteger,
  validateObject,
  validateView,
  validateViews,
  viewLength,
  viewMemory,
  writePosition,
  type Position,
} from '../checks/options.js'
import type {
  ReadOptions,
  ReadResult,
  ReadvResult,
  WriteOptions,
  WriteResult,
  WritevResult,
} from '../operations/transfers.js'
import { readWholeFile, validateFileData, writeWholeFile } from './whole-file.js'
import type { FileData, ReadFileOptions, WriteFileOptions } from './whole-file.js'

/** The length of the buffer that `read()` makes if it gets neither a buffer nor a length. */
const DEFAULT_READ_BYTES = 16384

type Views = readonly NodeJS.ArrayBufferView[]

let construct: (file: OpenFile) => FileHandle
let fileOf: (handle: FileHandle) => OpenFile
let isHandle: (value: unknown) => boolean
let replace: (handle: FileHandle, file: OpenFile) => void

/** The engine makes handles by this function, since the constructor is private. */
export function makeFileHandle(file: OpenFile): FileHandle {
  return construct(file)
}

export function openFileOf(handle: FileHandle): OpenFile {
  return fileOf(handle)
}

/** From now on the handle's operations go to another file. The caller closes the file that the handle had before. */
export function replaceFile(handle: FileHandle, file: OpenFile): void {
  replace(handle, file)
}

/**
 * An open file. Made by `open` and `engine.open`.
 *
 * Operations at a given position run in parallel. Operations at the file's own position run one after the other, in the order of
 * the calls. All other operations have no order. If order matters, await one operation before you start the next.
 *
 * A buffer belongs to the operation until the promise settles. Do not transfer its memory before that: the promise would reject with
 * `ERR_AURAIO_DETACHED`.
 *
 * @example
 * ```js
 * import { open } from 'auraio'
 *
 * const file = await open('data.bin', 'r')
 * try {
 *   const { bytesRead, buffer } = await file.read(Buffer.alloc(4096), 0, 4096, 8192)
 *   console.log(bytesRead, buffer.length)
 * } finally {
 *   await file.close()
 * }
 * ```
 */
export class FileHandle extends EventEmitter {
  #file: OpenFile

  static {
    construct = (file) => new FileHandle(file)
    fileOf = (handle) => handle.#file
    isHandle = (value) => typeof value === 'object' && value !== null && #file in value
    replace = (handle, file) => {
      handle.#file.disown()
      handle.#file = file
      file.belongsTo(handle)
    }
  }

  private constructor(file: OpenFile) {
    super()
    this.#file = file
    file.belongsTo(this)
  }

  /**
   * The number of the descriptor; -1 once `close` has been called.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin')
   * console.log(file.fd > 2)
   * await file.close()
   * console.log(file.fd === -1)
   * ```
   */
  get fd(): number {
    return this.#file.fd
  }

  /**
   * Reads into a buffer of the caller, or into a new one. With `{ length }` and no buffer, at most that many bytes are read, and the
   * new buffer has exactly those that came. (Node takes no length above 16384 there.) With neither, the new buffer has 16384
   * bytes. On a handle opened with `direct`, a new buffer is aligned as direct I/O needs it.
   *
   * `length` 0 reads nothing and resolves at once. A result shorter than `length` is not an error. 0 bytes means the end of the file.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin')
   * const buffer = Buffer.alloc(100)
   * await file.read(buffer, 0, 100, 4096) // 100 bytes from position 4096
   * await file.read(buffer, { length: 10 }) // 10 bytes from the file's own position
   * const { bytesRead } = await file.read() // up to 16384 bytes, in a new buffer
   * const { buffer: end } = await file.read({ length: 1000, position: 99_500 }) // a new buffer of what came: 500 bytes
   * console.log(bytesRead, end.length)
   * await file.close()
   * ```
   */
  read<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: Position,
  ): Promise<ReadResult<T>>
  read<T extends NodeJS.ArrayBufferView>(buffer: T, options?: ReadOptions | null): Promise<ReadResult<T>>
  read<T extends NodeJS.ArrayBufferView = Buffer<ArrayBuffer>>(
    options?: (ReadOptions & { buffer?: T | undefined }) | null,
  ): Promise<ReadResult<T>>
  read(
    bufferOrOptions?: unknown,
    offsetOrOptions?: unknown,
    length?: unknown,
    position?: unknown,
  ): Promise<ReadResult<NodeJS.ArrayBufferView>> {
    try {
      const file = this.#file
      file.assertOpen('read')
      let buffer = bufferOrOptions
      let offset = offsetOrOptions
      let priority: unknown
      if (!ArrayBuffer.isView(buffer)) {
        const options = optionsOf(buffer)
        const bytes = freshLength(options)
        if (bytes !== undefined) {
          const from = readPosition(options.position, bytes)
          return readFresh(file, bytes, from, validateClass(options.priority))
        }
        buffer = options.buffer === undefined ? zeroedBuffer(file, DEFAULT_READ_BYTES) : validateView(options.buffer)
        ;({ offset, length, position, priority } = options)
      } else if (typeof offset === 'object' && offset !== null) {
        ;({ offset, length, position, priority } = offset as ReadOptions)
      }
      const urgency = priority === undefined ? INHERITED : validateClass(priority)
      const view = buffer as NodeJS.ArrayBufferView
      const byteLength = viewLength(view)
      const start = offset === undefined || offset === null ? 0 : validateInteger(offset, 'offset', 0)
      const size = length === undefined || length === null ? byteLength - start : validateInteger(length, 'length')
      if (size === 0) return Promise.resolve({ bytesRead: 0, buffer: view })
      if (byteLength === 0) throw invalidArgValue('buffer', view, 'is empty and cannot be written')
      if (size < 0 || size > byteLength - start) throw lengthOutOfRange(size, byteLength - start)
      return file.slots.read(
        file,
        view,
        viewMemory(view),
        byteLength,
        start,
        size,
        readPosition(position, size),
        urgency,
      )
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Writes a buffer, a part of a buffer, or a string.
   *
   * As in Node, a write that comes up short is continued. So `bytesWritten` is less than asked for only if the rest failed; the next
   * write then rejects with the reason.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w+')
   * await file.write(Buffer.from('hello world'), 0, 5, 0) // 5 bytes at position 0
   * await file.write(Buffer.from('!'), { position: 5 })
   * const { bytesWritten } = await file.write('grüße', 6, 'latin1') // a string: position, encoding
   * console.log(bytesWritten)
   * await file.close()
   * ```
   */
  write<T extends NodeJS.ArrayBufferView>(
    buffer: T,
    offset?: number | null,
    length?: number | null,
    position?: Position,
  ): Promise<WriteResult<T>>
  write<T extends NodeJS.ArrayBufferView>(buffer: T, options?: WriteOptions | null): Promise<WriteResult<T>>
  write(
    text: string,
    position?: Position,
    encoding?: BufferEncoding | null,
    options?: PriorityOption,
  ): Promise<WriteResult<string>>
  write(
    buffer: unknown,
    offsetOrOptions?: unknown,
    length?: unknown,
    position?: unknown,
  ): Promise<WriteResult<NodeJS.ArrayBufferView> | WriteResult<string>> {
    try {
      const file = this.#file
      file.assertOpen('write')
      if (!ArrayBuffer.isView(buffer)) {
        if (typeof buffer !== 'string') throw notWritable('buffer', buffer)
        const bytes = encoded(buffer, length)
        return writeString(file, buffer, bytes, writePosition(offsetOrOptions), classIn(position))
      }
      let offset = offsetOrOptions
      let priority: unknown
      if (typeof offset === 'object' && offset !== null)
        ({ offset, length, position, priority } = offset as WriteOptions)
      const urgency = priority === undefined ? INHERITED : validateClass(priority)
      const view = buffer as NodeJS.ArrayBufferView
      const byteLength = viewLength(view)
      if (byteLength === 0) return Promise.resolve({ bytesWritten: 0, buffer: view })
      const start = offset === undefined || offset === null ? 0 : validateInteger(offset, 'offset', 0)
      if (start > byteLength) throw offsetOutOfRange(start, byteLength)
      const size = length === undefined || length === null ? byteLength - start : validateInteger(length, 'length')
      if (size < 0 || size > byteLength - start) throw lengthOutOfRange(size, byteLength - start)
      const target = writePosition(position)
      if (size === 0) return Promise.resolve({ bytesWritten: 0, buffer: view })
      return file.slots.write(file, view, viewMemory(view), byteLength, start, size, target, urgency)
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Fills one buffer after another. If there are no buffers, or all are empty, 0 bytes are read. There may be more than IOV_MAX
   * buffers.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin')
   * const { bytesRead, buffers } = await file.readv([Buffer.alloc(16), Buffer.alloc(512)], 0)
   * console.log(bytesRead, buffers.length)
   * await file.close()
   * ```
   */
  readv<T extends Views>(buffers: T, position?: Position, options?: PriorityOption): Promise<ReadvResult<T>> {
    try {
      const file = this.#file
      file.assertOpen('readv')
      const size = totalLength(validateViews(buffers))
      const from = readPosition(position, size)
      const urgency = classIn(options)
      if (size === 0) return Promise.resolve({ bytesRead: 0, buffers })
      return file.slots.readv(file, buffers, from, urgency).then((bytesRead) => ({ bytesRead, buffers }))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Writes one buffer after another. If there are no buffers, or all are empty, 0 bytes are written. There may be more than IOV_MAX
   * buffers.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('log.txt', 'a')
   * const { bytesWritten } = await file.writev([Buffer.from('one\n'), Buffer.from('two\n')])
   * console.log(bytesWritten)
   * await file.close()
   * ```
   */
  writev<T extends Views>(buffers: T, position?: Position, options?: PriorityOption): Promise<WritevResult<T>> {
    try {
      const file = this.#file
      file.assertOpen('writev')
      const size = totalLength(validateViews(buffers))
      const to = writePosition(position)
      const urgency = classIn(options)
      if (size === 0) return Promise.resolve({ bytesWritten: 0, buffers })
      return file.slots.writev(file, buffers, to, urgency).then((bytesWritten) => ({ bytesWritten, buffers }))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Reads from the file's own position to the end. Resolves with a string if there is an encoding, else with a Buffer.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('hello.txt')
   * console.log(await file.readFile('utf8'))
   * await file.close()
   * ```
   */
  readFile<T extends NodeJS.ArrayBufferView>(
    options: ReadFileOptions & { encoding?: null | undefined; buffer: T | ((size: number) => T) },
  ): Promise<Buffer<T['buffer']>>
  readFile(options?: (ReadFileOptions & { encoding?: null | undefined }) | null): Promise<Buffer<ArrayBuffer>>
  readFile(options: (ReadFileOptions & { encoding: BufferEncoding }) | BufferEncoding): Promise<string>
  readFile(options: ReadFileOptions | BufferEncoding | null): Promise<string | Buffer<ArrayBuffer>>
  async readFile(options?: ReadFileOptions | BufferEncoding | null): Promise<string | Buffer> {
    const file = this.#file
    file.assertOpen('readFile')
    return await readWholeFile(file, validateFileOptions(options) as ReadFileOptions)
  }

  /**
   * Writes all of the data at the file's own position. It does not cut the file to the new length; to get that, open the file with
   * `'w'`.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.writeFile('hello\n')
   * await file.writeFile(['some ', 'pieces'], { flush: true })
   * await file.close()
   * ```
   */
  async writeFile(data: FileData, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    const file = this.#file
    file.assertOpen('writeFile')
    const { flush = false, ...rest } = validateFileOptions(options)
    const flushed = { ...rest, flush: validateBoolean(flush, 'options.flush') } as WriteFileOptions
    await writeWholeFile(file, validateFileData(data), flushed)
  }

  /**
   * The same as {@link writeFile}, as in Node. It appends if the file was opened with `'a'`.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const log = await open('log.txt', 'a')
   * await log.appendFile('one more line\n')
   * await log.close()
   * ```
   */
  async appendFile(data: FileData, options?: WriteFileOptions | BufferEncoding | null): Promise<void> {
    await this.writeFile(data, options)
  }

  /**
   * Copies bytes of this file to another open file of the same engine, or to another place in this file. On most file systems no byte
   * goes through the program's memory, and some only share the blocks. Neither file's own position is used or moved. The close of
   * either handle waits for the copy.
   *
   * `bytesCopied` is less than `length` if this file ends before, or if the rest failed; the next copy then rejects with the reason.
   * Both have to be regular files. It rejects with `EXDEV` if they are on different file systems and the kernel does not copy between
   * them (then read and write the bytes; the backend `node` does that itself), with `EBADF` if the target was opened to append, and
   * with `EINVAL` if two ranges of one file overlap.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const source = await open('data.bin')
   * const target = await open('copy.bin', 'w+')
   * await source.copyRange(target) // all of it
   * const { bytesCopied } = await source.copyRange(target, { start: 4096, length: 100, position: 0 })
   * console.log(bytesCopied)
   * await source.close()
   * await target.close()
   * ```
   */
  async copyRange(target: FileHandle, options?: CopyRangeOptions): Promise<CopyRangeResult> {
    const source = this.#file
    source.assertOpen('copy_file_range')
    if (!isHandle(target)) throw invalidArgType('target', 'an instance of FileHandle', target)
    const file = target.#file
    if (file.slots !== source.slots) throw invalidArgValue('target', target, 'must be of this engine')
    file.assertOpen('copy_file_range')
    return await copyRange(source, file, options)
  }

  /**
   * What the system knows of the file. Resolves with an `fs.Stats`, or with `bigint` with a `BigIntStats`.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin')
   * const { size } = await file.stat()
   * const { mtimeNs } = await file.stat({ bigint: true })
   * console.log(size, typeof mtimeNs)
   * await file.close()
   * ```
   */
  stat(options?: { bigint?: false | undefined }): Promise<Stats>
  stat(options: { bigint: true }): Promise<BigIntStats>
  stat(options?: { bigint?: boolean | undefined }): Promise<Stats | BigIntStats>
  stat(options?: { bigint?: boolean | undefined }): Promise<Stats | BigIntStats> {
    return attributes.stat(this.#file, options)
  }

  /**
   * Waits until the data and the metadata of the file are on the device (fsync). It covers only writes that completed before the
   * call, so await them first.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.write('kept')
   * await file.sync()
   * await file.close()
   * ```
   */
  sync(): Promise<void> {
    return attributes.sync(this.#file)
  }

  /**
   * Like {@link sync}, but of the metadata it covers only what is needed to read the data back (fdatasync).
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.write('kept')
   * await file.datasync()
   * await file.close()
   * ```
   */
  datasync(): Promise<void> {
    return attributes.datasync(this.#file)
  }

  /**
   * Cuts the file to `length` bytes, or fills it up to that length with zeros. A negative length is taken for 0.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.write('0123456789')
   * await file.truncate(4)
   * console.log((await file.stat()).size)
   * await file.close()
   * ```
   */
  truncate(length: number = 0): Promise<void> {
    return attributes.truncate(this.#file, length)
  }

  /**
   * Sets the permissions.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.chmod(0o600)
   * await file.close()
   * ```
   */
  chmod(mode: number | string): Promise<void> {
    return attributes.chmod(this.#file, mode)
  }

  /**
   * Sets the owner and the group. -1 leaves the owner, or the group, as it is.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.chown(-1, -1)
   * await file.close()
   * ```
   */
  chown(uid: number, gid: number): Promise<void> {
    return attributes.chown(this.#file, uid, gid)
  }

  /**
   * Sets the times of the last access and of the last change, as seconds since 1970 or as Dates.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * await file.utimes(new Date(), 1_000_000_000.5)
   * await file.close()
   * ```
   */
  utimes(atime: string | number | Date, mtime: string | number | Date): Promise<void> {
    return attributes.utimes(this.#file, atime, mtime)
  }

  /**
   * Which operations go first when some have to wait for the device. It holds for this handle's operations, unless an operation names
   * a priority itself. It can be set while operations are in flight, and holds for those that begin afterwards.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin', 'r', { priority: 'low' })
   * console.log(file.priority) // low
   * file.priority = 'high'
   * await file.read(Buffer.alloc(4096), { position: 0, priority: 'normal' })
   * await file.close()
   * ```
   */
  get priority(): Priority {
    return this.#file.wish.priority
  }

  set priority(priority: Priority) {
    attributes.setPriority(this.#file, priority)
  }

  /**
   * The p99 of completion latency, in milliseconds, above which concurrency on the file's device is cut at once. undefined means no
   * guard but the engine's. If several files or engines set one for a device, the smallest holds. It holds for as long as the file
   * is open.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin', 'r', { guardP99Ms: 2 })
   * file.guardP99Ms = 5
   * file.guardP99Ms = undefined
   * await file.close()
   * ```
   */
  get guardP99Ms(): number | undefined {
    return this.#file.wish.guardP99Ms
  }

  set guardP99Ms(milliseconds: number | undefined) {
    attributes.setGuard(this.#file, milliseconds)
  }

  /**
   * The number of the file's lane: the `id` of one of `engine.stats().lanes`. It is undefined for a file that is on no device (a pipe, a
   * terminal), on the backend `node`, and once the handle is closed.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('data.bin')
   * const lane = Engine.default.stats().lanes.find(({ id }) => id === file.lane)
   * console.log(lane?.device, lane?.inFlightLimit)
   * await file.close()
   * ```
   */
  get lane(): number | undefined {
    return this.#file.lane
  }

  /**
   * Closes the file, after the operations that have begun by then. From the call on, every other method rejects with EBADF, 'file
   * closed'. A second call resolves together with the first.
   *
   * @example
   * ```js
   * import { open } from 'auraio'
   *
   * const file = await open('data.bin')
   * file.on('close', () => console.log('closed'))
   * await file.close()
   * await file.close() // nothing more happens
   * ```
   */
  close(): Promise<void> {
    const file = this.#file
    if (file.closing !== undefined) return file.closing.catch(ignore)
    const closed = file.close()
    this.emit('close')
    return closed
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }
}

/** The options, if they stand in the place of the buffer. An ArrayBuffer is refused here; Node takes it for empty options. */
function optionsOf(value: unknown): ReadOptions & { buffer?: unknown } {
  if (value === undefined || value === null) return {}
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) validateView(value)
  return validateObject(value, 'options')
}

/** The number of the priority in the options that stand after all other arguments. */
function classIn(options: unknown): number {
  return options === undefined
    ? INHERITED
    : validateClass((validateObject(options, 'options') as PriorityOption).priority)
}

function writeString(
  file: OpenFile,
  text: string,
  bytes: Buffer,
  position: number,
  priority: number,
): Promise<WriteResult<string>> {
  if (bytes.length === 0) return Promise.resolve({ bytesWritten: 0, buffer: text })
  return file.slots
    .write(file, bytes, bytes.buffer, bytes.length, 0, bytes.length, position, priority)
    .then(({ bytesWritten }) => ({ bytesWritten, buffer: text }))
}

function totalLength(views: Views): number {
  let total = 0
  for (const view of views) total += view.byteLength
  return total
}

function ignore(): void {
  // the caller of the first close has been told
}
