/**
 * The table of operations: one row for each kind. A kind that has no row, or that one of the two ports cannot perform, does not
 * compile.
 *
 * To add an operation, write down its arguments in `Arguments` (lib/operations/port.ts) and what it resolves with in
 * {@link Answers}. The compiler then asks for its row here, its call of the binding (lib/operations/native.ts) and its call of
 * `node:fs` (lib/operations/portable.ts). `Slots.perform` does the rest.
 */
import { Buffer } from 'node:buffer'
import { engineClosed, poolExhausted, systemError } from '../checks/errors.js'
import { pathText } from '../checks/options.js'
import { STAT_FIELDS, type Arguments, type Path, type Port, type StatFields } from './port.js'
import type { Argument, Opening, Slot } from './slot.js'
import type { ReadResult, WriteResult } from './transfers.js'

/**
 * What each kind of operation resolves with. The kinds that are not in {@link Arguments} have a method of their own in the port:
 * those that are used most, those that end and make a handle, and `acquire`. That one waits for a block of the pool; it is no
 * system call, but it takes a slot and completes like one.
 */
export interface Answers {
  read: ReadResult<NodeJS.ArrayBufferView>
  write: WriteResult<NodeJS.ArrayBufferView>
  readv: number
  writev: number
  close: void
  open: unknown
  acquire: Buffer<ArrayBuffer>
  sync: void
  syncData: void
  statFile: StatFields
  statPath: StatFields
  truncate: void
  rename: void
  removeFile: void
  removeDir: void
  createDir: void
  hardLink: void
  symlink: void
  setMode: void
  setOwner: void
  setTimes: void
  /** The number of bytes. */
  copyFileRange: number
}

export type Kind = keyof Answers

export interface Row<K extends Kind = Kind> {
  /** The number that stands for the kind in a slot. No two rows have the same, and 0 is an idle slot. */
  readonly kind: number
  /** The system call that Node names in an error. */
  readonly syscall: string
  /**
   * Makes the value that the promise resolves with. `result` is what the port answered: a number of bytes, a descriptor, or 0.
   * What this throws, the promise rejects with.
   */
  readonly answer: (result: number, slot: Slot, port: Port) => Answers[K]
  /** Makes the maker of the error. Without it, the error is that of the system call. */
  readonly failure?: (errno: number, slot: Slot) => () => Error
}

/** The numbers of the transfers, which have memory and a position. */
export const READ = 1
export const WRITE = 2
export const READV = 3
export const WRITEV = 4

export type Transfer = typeof READ | typeof WRITE | typeof READV | typeof WRITEV

/** For the kind of a slot that is in use. */
export function isTransfer(kind: number): kind is Transfer {
  return kind <= WRITEV
}

const ECANCELED = -125
const EINVAL = -22

export const TABLE: { readonly [K in Kind]: Row<K> } = {
  read: { kind: READ, syscall: 'read', answer: (bytes, { view }) => ({ bytesRead: bytes, buffer: view! }) },
  write: { kind: WRITE, syscall: 'write', answer: (bytes, { view }) => ({ bytesWritten: bytes, buffer: view! }) },
  readv: { kind: READV, syscall: 'read', answer: (bytes) => bytes },
  writev: { kind: WRITEV, syscall: 'write', answer: (bytes) => bytes },
  close: { kind: 5, syscall: 'close', answer: nothing },
  open: { kind: 6, syscall: 'open', answer: (fd, { opening }) => makeOpened(fd, opening!) },
  acquire: { kind: 7, syscall: 'acquire', answer: (_, slot, port) => blockOf(slot, port), failure: acquireFailure },
  sync: { kind: 8, syscall: 'fsync', answer: nothing },
  syncData: { kind: 9, syscall: 'fdatasync', answer: nothing },
  statFile: { kind: 10, syscall: 'fstat', answer: (_, slot, port) => statOf(slot, port) },
  statPath: { kind: 11, syscall: 'stat', answer: (_, slot, port) => statOf(slot, port), failure: statFailure },
  truncate: { kind: 12, syscall: 'ftruncate', answer: nothing },
  rename: { kind: 13, syscall: 'rename', answer: nothing },
  removeFile: { kind: 14, syscall: 'unlink', answer: nothing },
  removeDir: { kind: 15, syscall: 'rmdir', answer: nothing },
  createDir: { kind: 16, syscall: 'mkdir', answer: nothing },
  hardLink: { kind: 17, syscall: 'link', answer: nothing },
  symlink: { kind: 18, syscall: 'symlink', answer: nothing },
  setMode: { kind: 19, syscall: 'fchmod', answer: nothing },
  setOwner: { kind: 20, syscall: 'fchown', answer: nothing },
  setTimes: { kind: 21, syscall: 'futime', answer: nothing },
  copyFileRange: { kind: 22, syscall: 'copy_file_range', answer: (bytes) => bytes },
}

/** The rows by the number of their kind. */
export const ROWS: readonly Row[] = rowsByNumber(Object.values(TABLE))

function rowsByNumber(rows: readonly Row[]): Row[] {
  const byNumber: Row[] = []
  for (const row of rows) byNumber[row.kind] = row
  return byNumber
}

function nothing(): void {
  // the operation has no value
}

function statOf({ index, args }: Slot, port: Port): StatFields {
  const [, bigint] = args as Arguments['statFile'] | Arguments['statPath']
  const fields = statFields(bigint)
  port.takeStat(index, fields)
  return fields
}

/** Room for the numbers of a stat. */
export function statFields(bigint: boolean): StatFields {
  return bigint ? new BigInt64Array(STAT_FIELDS) : new Float64Array(STAT_FIELDS)
}

/** The stat of a link itself is another system call. */
function statFailure(errno: number, slot: Slot): () => Error {
  const [, , follow] = slot.args as Arguments['statPath']
  return systemFailure(errno, slot, follow ? 'stat' : 'lstat')
}

/** The error of a system call. It names the paths of the operation. */
export function systemFailure(errno: number, { args, kind, file }: Slot, syscall: string): () => Error {
  const [path, dest] = args.filter(isPath).map(pathText)
  const hint = errno === EINVAL && isTransfer(kind) ? file!.alignmentHint : undefined
  return () => systemError(errno, syscall, path, hint, dest)
}

function isPath(argument: Argument): argument is Path {
  return typeof argument === 'string' || argument instanceof Uint8Array
}

function makeOpened(fd: number, { opened, handle, direct, wish }: Opening): unknown {
  return opened(fd, handle, direct, wish)
}

function blockOf(slot: Slot, port: Port): Buffer<ArrayBuffer> {
  const block = port.takeBlock(slot.index)
  if (typeof block === 'number') throw acquireFailure(block, slot)()
  return Buffer.from(block, 0, block.byteLength)
}

function acquireFailure(errno: number, { span }: Slot): () => Error {
  const { length } = span
  return () => (errno === ECANCELED ? engineClosed() : poolExhausted(length))
}
