/**
 * What a handle tells and changes of its file beside the bytes: metadata, durability, and how the loops that govern depth
 * treat it. `FileHandle` is made on top of it.
 */
import { EventEmitter } from 'node:events'
import type { BigIntStats, Stats } from 'node:fs'
import { validateGuard, validatePriority, type Priority } from '../control/wishes.js'
import { fileClosed, rejection } from '../checks/errors.js'
import type { OpenFile } from './open-file.js'
import { validateInteger, validateMode, validateObject, validateOwner, validateTime } from '../checks/options.js'
import { makeStats } from './stat.js'

let replace: (handle: FileAttributes, file: OpenFile) => void

/** For the handle itself, when another file takes the place of its own. */
export function replaceAttributes(handle: FileAttributes, file: OpenFile): void {
  replace(handle, file)
}

/** The half of a {@link FileHandle} that does not read or write. */
export class FileAttributes extends EventEmitter {
  #file: OpenFile

  static {
    replace = (handle, file) => {
      handle.#file = file
    }
  }

  /** @internal */
  constructor(file: OpenFile) {
    super()
    this.#file = file
  }

  /**
   * What the system knows of the file: an `fs.Stats`, or with `bigint` a `BigIntStats`.
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
    try {
      const file = this.#openFile('fstat')
      const { bigint } = options === undefined ? {} : (validateObject(options, 'options') as { bigint?: unknown })
      const fields = file.slots.stat(file, Boolean(bigint))
      return fields instanceof Promise ? fields.then(makeStats) : Promise.resolve(makeStats(fields))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Waits until everything written is on the device: data and metadata (fsync). It covers the writes that had completed
   * before the call, so await them first.
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
    try {
      const file = this.#openFile('fsync')
      return file.slots.sync(file, false)
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Like {@link sync}, but of the metadata only what is needed to read the data back (fdatasync).
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
    try {
      const file = this.#openFile('fdatasync')
      return file.slots.sync(file, true)
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Cuts the file to `length` bytes, or fills it up to that with zeros. A negative length is 0.
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
    try {
      const file = this.#openFile('ftruncate')
      return file.slots.truncate(file, Math.max(0, validateInteger(length, 'len')))
    } catch (error) {
      return rejection(error)
    }
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
    try {
      const file = this.#openFile('fchmod')
      return file.slots.chmod(file, validateMode(mode))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Sets the owner and the group; -1 leaves one as it is.
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
    try {
      const file = this.#openFile('fchown')
      return file.slots.chown(file, validateOwner(uid, 'uid'), validateOwner(gid, 'gid'))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Sets the times of the last access and change: seconds since 1970, or Dates.
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
    try {
      const file = this.#openFile('futimes')
      return file.slots.utimes(file, validateTime(atime, 'atime'), validateTime(mtime, 'mtime'))
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Which operations go first where some have to wait for the device: the class of this handle's operations, but of those
   * that name one themselves. Can be set while operations are in flight; it counts for those that begin from then on.
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
    this.#openFile('priority').setPriority(validatePriority(priority, 'priority'))
  }

  /**
   * The p99 of completion latency, in milliseconds, above which concurrency on the file's device is cut at once; undefined is
   * none beside the engine's. Of several for one device the strictest holds, for as long as its file is open.
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
    this.#openFile('guardP99Ms').setGuard(validateGuard(milliseconds, 'guardP99Ms'))
  }

  /**
   * The number of the lane that governs the file's operations, as in `engine.stats().lanes`; undefined for what is on no device
   * (a pipe, a terminal), on the backend `node`, and once the handle is closed.
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

  #openFile(syscall: string): OpenFile {
    const file = this.#file
    if (file.closing !== undefined) throw fileClosed(syscall)
    return file
  }
}
