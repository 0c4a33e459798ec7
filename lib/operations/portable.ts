/**
 * The port for where no native binary can be loaded: over `node:fs`, and so over libuv's four threads. It is here so that
 * programs behave the same everywhere, and not for speed. It cannot do the following:
 *
 * - cancel an operation, or end a read of an empty pipe when its handle is closed;
 * - control how many operations a device is given: it accepts wishes, and they change nothing;
 * - keep operations off the threads that DNS and crypto use too;
 * - know addresses: a direct file that is to take any alignment is opened without O_DIRECT.
 */
import { Buffer } from 'node:buffer'
import fs from 'node:fs'
import {
  COMPLETION_STRIDE,
  type Arguments,
  type Dispatch,
  type Handle,
  type Part,
  type Path,
  type Performed,
  type Port,
  type PortOptions,
  type PortStats,
  type StatFields,
} from './port.js'
import { copyByReading, type CopiedFile } from './portable-copy.js'
import { TRANSFER_MAX } from '../checks/options.js'

/** Longer vectors are read in parts, since libuv reads only this many views of them (IOV_MAX on Linux). */
const VECTOR_MAX = 1024

const O_DIRECT = (fs.constants as { O_DIRECT?: number }).O_DIRECT ?? 0 // Linux only

const { O_APPEND } = fs.constants

const EBADF = -9
const EIO = -5
const ENOSYS = -38
const NS_PER_S = 1_000_000_000n

/** An open file. */
interface Entry extends CopiedFile {
  /** How many of its operations libuv has now. */
  inFlight: number
  closeSlot: number
}

type Failure = NodeJS.ErrnoException | null

/** To be called when an operation has ended. `result` is a stat, or a number of bytes. */
type Done = (error: Failure, result?: fs.BigIntStats | number) => void

/** Begins an operation on these open files. Answers 0, or the negated errno of a refusal. */
type Begin = <H extends Handle[]>(
  handles: [...H],
  run: (entries: { [I in keyof H]: Entry }, done: Done) => void,
) => number

/** How `node:fs` is called for each operation. */
const CALLS: { readonly [K in Performed]: (begin: Begin, ...args: Arguments[K]) => number } = {
  sync: (begin, file) => begin([file], ([{ fd }], done) => fs.fsync(fd, done)),
  syncData: (begin, file) => begin([file], ([{ fd }], done) => fs.fdatasync(fd, done)),
  statFile: (begin, file) => begin([file], ([{ fd }], done) => fs.fstat(fd, { bigint: true }, done)),
  statPath: (begin, path, _, follow) =>
    begin([], (_none, done) => (follow ? fs.stat : fs.lstat)(name(path), { bigint: true }, done)),
  truncate: (begin, file, length) => begin([file], ([{ fd }], done) => fs.ftruncate(fd, length, done)),
  rename: (begin, from, to) => begin([], (_, done) => fs.rename(name(from), name(to), done)),
  removeFile: (begin, path) => begin([], (_, done) => fs.unlink(name(path), done)),
  removeDir: (begin, path) => begin([], (_, done) => fs.rmdir(name(path), done)),
  createDir: (begin, path, mode) => begin([], (_, done) => fs.mkdir(name(path), { mode }, (error) => done(error))),
  hardLink: (begin, from, to) => begin([], (_, done) => fs.link(name(from), name(to), done)),
  symlink: (begin, text, path) => begin([], (_, done) => fs.symlink(name(text), name(path), done)),
  setMode: (begin, file, mode) => begin([file], ([{ fd }], done) => fs.fchmod(fd, mode, done)),
  setOwner: (begin, file, uid, gid) => begin([file], ([{ fd }], done) => fs.fchown(fd, uid, gid, done)),
  setTimes: (begin, file, accessed, modified) =>
    begin([file], ([{ fd }], done) => fs.futimes(fd, time(accessed), time(modified), done)),
  copyFileRange: (begin, source, start, target, position, length) =>
    begin([source, target], ([from, to], done) => copyByReading(from, start, to, position, length, done)),
}

export class PortablePort implements Port {
  readonly backend: string = 'node'
  readonly backendReason: string
  readonly #dispatch: Dispatch
  readonly #completions: Int32Array
  readonly #entries = new Map<number, Entry>()
  readonly #stats = new Map<number, fs.BigIntStats>()
  #lastHandle = 0
  #submitted = 0
  #completed = 0
  #isShutDown = false

  constructor(_options: PortOptions, dispatch: Dispatch, completions: Int32Array, reason: string = 'asked for') {
    this.#dispatch = dispatch
    this.#completions = completions
    this.backendReason = reason
  }

  read(slot: number, handle: number, view: NodeJS.ArrayBufferView, ...part: Part): number {
    const [offset, length, position] = part.length === 1 ? [0, view.byteLength, part[0]] : part
    return this.#begin(handle, (entry) => {
      const size = Math.min(length, TRANSFER_MAX)
      const done = (error: Failure, bytes: number): void => this.#end(entry, slot, error, bytes)
      fs.read(entry.fd, view, offset, size, here(position), (error, bytes) => {
        if (isNotSeekable(error, position)) fs.read(entry.fd, view, offset, size, null, done)
        else done(error, bytes)
      })
    })
  }

  write(slot: number, handle: number, view: NodeJS.ArrayBufferView, ...part: Part): number {
    const [offset, length, position] = part.length === 1 ? [0, view.byteLength, part[0]] : part
    return this.#begin(handle, (entry) => {
      const size = Math.min(length, TRANSFER_MAX)
      const done = (error: Failure, bytes: number): void => this.#end(entry, slot, error, bytes)
      fs.write(entry.fd, view, offset, size, here(position), (error, bytes) => {
        if (isNotSeekable(error, position)) fs.write(entry.fd, view, offset, size, null, done)
        else done(error, bytes)
      })
    })
  }

  readv(slot: number, handle: number, views: NodeJS.ArrayBufferView[], position: number): number {
    return this.#begin(handle, (entry) => this.#readParts(entry, slot, views, 0, position, 0))
  }

  writev(slot: number, handle: number, views: NodeJS.ArrayBufferView[], position: number): number {
    return this.#begin(handle, (entry) => {
      const done = (error: Failure, bytes: number | undefined): void => this.#end(entry, slot, error, bytes)
      fs.writev(entry.fd, views, here(position), (error, bytes) => {
        if (isNotSeekable(error, position)) fs.writev(entry.fd, views, null, done)
        else done(error, bytes)
      })
    })
  }

  perform<K extends Performed>(kind: K, slot: number, ...args: Arguments[K]): number {
    return CALLS[kind]((handles, run) => this.#beginOn(handles, slot, run), ...args)
  }

  close(slot: number, handle: number): number {
    const entry = this.#entries.get(handle)
    if (entry === undefined) return EBADF
    this.#entries.delete(handle)
    this.#submitted++
    entry.closeSlot = slot
    if (entry.inFlight === 0) this.#closeNow(entry)
    return 0
  }

  open(slot: number, path: Path, allFlags: number, mode: number, bounce: boolean): number {
    if (this.#isShutDown) return EBADF
    this.#submitted++
    const flags = bounce ? allFlags & ~O_DIRECT : allFlags
    fs.open(name(path), flags, mode, (error, fd) => {
      if (error !== null) return this.#complete(slot, errnoOf(error), -1)
      const handle = ++this.#lastHandle
      this.#entries.set(handle, { fd, appends: (flags & O_APPEND) !== 0, inFlight: 0, closeSlot: -1 })
      this.#complete(slot, fd, handle)
    })
    return 0
  }

  stat(handle: number, out: StatFields): number {
    const entry = this.#entries.get(handle)
    if (entry === undefined) return EBADF
    try {
      fill(out, fs.fstatSync(entry.fd, { bigint: true }))
    } catch (error) {
      return errnoOf(error as NodeJS.ErrnoException)
    }
    return 0
  }

  seekable(handle: number): boolean {
    const entry = this.#entries.get(handle)
    if (entry === undefined) return true
    const stats = fs.fstatSync(entry.fd)
    return stats.isFile() || stats.isBlockDevice() || stats.isDirectory()
  }

  directAlignment(): number[] {
    return []
  }

  takeStat(slot: number, out: StatFields): void {
    const stats = this.#stats.get(slot)
    this.#stats.delete(slot)
    if (stats !== undefined) fill(out, stats)
  }

  /** Never called: without the binding, memory is the runtime's own, and there is no ceiling to wait at. */
  acquireLater(): number {
    return ENOSYS
  }

  takeBlock(): number {
    return ENOSYS
  }

  /** Registers nothing: the kernel is not reached from here. */
  registerMemory(): number {
    return 0
  }

  unregisterMemory(): void {
    // nothing was registered
  }

  registerFile(): void {
    // there is no table of files
  }

  /** Refuses: node:fs cannot duplicate a descriptor, and without a duplicate the number may become another file's. */
  adopt(): number {
    return ENOSYS
  }

  nextPriority(): void {
    // libuv's queue has no priorities
  }

  setPriority(handle: number): number {
    return this.#entries.has(handle) ? 0 : EBADF
  }

  setGuard(handle: number): number {
    return this.#entries.has(handle) ? 0 : EBADF
  }

  /** There is no control loop. */
  setWish(): number {
    return 0
  }

  laneOf(): number {
    return -1
  }

  lanes(): [] {
    return []
  }

  histogram(): null {
    return null
  }

  decisionsSoFar(): number {
    return 0
  }

  decisions(): [] {
    return []
  }

  cancel(): void {
    // libuv can cancel only what no thread has begun, and node:fs does not offer even that
  }

  /** There is nothing to hand over: each operation goes to libuv at once, and its completion comes by the dispatcher. */
  flush(): number {
    return 0
  }

  stats(): PortStats {
    const inFlight = this.#submitted - this.#completed
    const counts = {
      submitted: this.#submitted,
      completed: this.#completed,
      enters: 0,
      bounced: 0,
      fixedBuffers: 0,
      fixedFiles: 0,
      inFlight,
      queued: 0,
    }
    return { rings: [{ cpu: -1, numaNode: -1, ...counts }] }
  }

  shutdown(): void {
    this.#isShutDown = true
    for (const { fd } of this.#entries.values()) fs.closeSync(fd)
    this.#entries.clear()
  }

  #begin(handle: number, run: (entry: Entry) => void): number {
    const entry = this.#entries.get(handle)
    if (entry === undefined) return EBADF
    run(entry)
    entry.inFlight++
    this.#submitted++
    return 0
  }

  /** Begins an operation on any number of open files. A file that the operation names twice counts twice. */
  #beginOn<H extends Handle[]>(
    handles: [...H],
    slot: number,
    run: (entries: { [I in keyof H]: Entry }, done: Done) => void,
  ): number {
    if (this.#isShutDown) return EBADF
    const found = handles.map((handle) => this.#entries.get(handle))
    if (found.includes(undefined)) return EBADF
    const entries = found as { [I in keyof H]: Entry } & Entry[]
    run(entries, (error, result) => {
      if (error === null && typeof result === 'object') this.#stats.set(slot, result)
      this.#endAll(entries, slot, error, typeof result === 'number' ? result : 0)
    })
    for (const entry of entries) entry.inFlight++
    this.#submitted++
    return 0
  }

  #end(entry: Entry, slot: number, error: Failure, result: number | undefined): void {
    this.#endAll([entry], slot, error, result)
  }

  #endAll(entries: readonly Entry[], slot: number, error: Failure, result: number | undefined): void {
    for (const entry of entries) entry.inFlight--
    // Found out before the completion. A close that is called from inside the completion sees nothing in flight, and closes
    // at once; it must not be closed here again.
    const closing = new Set(entries.filter(({ inFlight, closeSlot }) => inFlight === 0 && closeSlot !== -1))
    if (error === null) this.#complete(slot, result ?? 0, Math.floor((result ?? 0) / 2 ** 32))
    else this.#complete(slot, errnoOf(error), -1)
    for (const entry of closing) this.#closeNow(entry)
  }

  #closeNow(entry: Entry): void {
    const { fd, closeSlot } = entry
    fs.close(fd, (error) => {
      if (error) this.#complete(closeSlot, errnoOf(error), -1)
      else this.#complete(closeSlot, 0, 0)
    })
  }

  #complete(slot: number, low: number, high: number): void {
    this.#completed++
    this.#completions[0] = slot
    this.#completions[1] = low
    this.#completions[COMPLETION_STRIDE - 1] = high
    this.#dispatch(1)
  }

  /** Reads `views` from the index `first` on, part by part, for as long as each part is filled. */
  #readParts(
    entry: Entry,
    slot: number,
    views: NodeJS.ArrayBufferView[],
    first: number,
    position: number,
    before: number,
  ): void {
    const part = views.slice(first, first + VECTOR_MAX)
    const full = part.reduce((sum, view) => sum + view.byteLength, 0)
    const done = (error: Failure, bytes: number): void => {
      if (error !== null) return this.#end(entry, slot, before > 0 ? null : error, before)
      const next = first + VECTOR_MAX
      if (bytes < full || next >= views.length) return this.#end(entry, slot, null, before + bytes)
      this.#readParts(entry, slot, views, next, position === -1 ? -1 : position + bytes, before + bytes)
    }
    fs.readv(entry.fd, part, here(position), (error, bytes) => {
      if (isNotSeekable(error, position)) fs.readv(entry.fd, part, null, done)
      else done(error, bytes)
    })
  }
}

/** A path as node:fs takes it. */
function name(path: Path): string | Buffer {
  return typeof path === 'string' ? path : Buffer.from(path.buffer, path.byteOffset, path.byteLength)
}

/** The position as node:fs takes it: null is the file's own. */
function here(position: number): number | null {
  return position === -1 ? null : position
}

/** Node takes a negative number for the present time. A Date before 1970 it takes as it is. */
function time(seconds: number): number | Date {
  return seconds < 0 ? new Date(seconds * 1000) : seconds
}

/** True if a pipe was given a position. io_uring ignores the position of a pipe, so this backend does too. */
function isNotSeekable(error: Failure, position: number): boolean {
  return error !== null && error.code === 'ESPIPE' && position !== -1
}

function errnoOf(error: NodeJS.ErrnoException): number {
  return error.errno ?? EIO
}

function fill(out: StatFields, stats: fs.BigIntStats): void {
  const { dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks } = stats
  const times = [stats.atimeNs, stats.mtimeNs, stats.ctimeNs, stats.birthtimeNs].flatMap((ns) => {
    const fraction = ((ns % NS_PER_S) + NS_PER_S) % NS_PER_S
    return [(ns - fraction) / NS_PER_S, fraction]
  })
  const fields = [dev, mode, nlink, uid, gid, rdev, blksize, ino, size, blocks, ...times]
  if (out instanceof BigInt64Array) out.set(fields)
  else out.set(fields.map(Number))
}
