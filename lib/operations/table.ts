/**
 * The table of operations: one row for each kind. A kind that has no row, or that one of the two ports cannot perform, does not
 * compile.
 *
 * To add an operation, write down its arguments in `Arguments` (lib/operations/port.ts) and what it resolves with in
 * {@link Answers}. The compiler then asks for its row here, its call of the binding (lib/operations/native.ts) and its call of
 * `node:fs` (lib/operations/portable.ts). `Slots.perform` does the rest.
 */
import { Buffer } from 'node:buffer'
import { engineClosed, poolExhausted } from '../checks/errors.js'
import { STAT_FIELDS, type Port } from './port.js'
import type { Opening, Slot } from './slot.js'
import type { ReadResult, WriteResult } from './transfers.js'

/**
 * What each kind of operation resolves with. The kinds that are not in {@link Arguments} have a method of their own in the port:
 * those that are used most, those that make and end a handle, and `acquire`. That one waits for a block of the pool; it is no
 * system call, but it takes a slot and completes like one.
 */
export interface Answers {
  read: ReadResult<NodeJS.ArrayBufferView>
  write: WriteResult<NodeJS.ArrayBufferView>
  readv: number
  writev: number
  sync: void
  datasync: void
  truncate: void
  chmod: void
  chown: void
  utimes: void
  stat: Float64Array
  statBigint: BigInt64Array
  close: void
  open: unknown
  acquire: Buffer<ArrayBuffer>
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

export const TABLE: { readonly [K in Kind]: Row<K> } = {
  read: { kind: READ, syscall: 'read', answer: (bytes, { view }) => ({ bytesRead: bytes, buffer: view! }) },
  write: { kind: WRITE, syscall: 'write', answer: (bytes, { view }) => ({ bytesWritten: bytes, buffer: view! }) },
  readv: { kind: READV, syscall: 'read', answer: (bytes) => bytes },
  writev: { kind: WRITEV, syscall: 'write', answer: (bytes) => bytes },
  sync: { kind: 5, syscall: 'fsync', answer: nothing },
  datasync: { kind: 6, syscall: 'fdatasync', answer: nothing },
  truncate: { kind: 7, syscall: 'ftruncate', answer: nothing },
  chmod: { kind: 8, syscall: 'fchmod', answer: nothing },
  chown: { kind: 9, syscall: 'fchown', answer: nothing },
  utimes: { kind: 10, syscall: 'futime', answer: nothing },
  stat: { kind: 11, syscall: 'fstat', answer: (_, slot, port) => statOf(slot, port, new Float64Array(STAT_FIELDS)) },
  statBigint: {
    kind: 12,
    syscall: 'fstat',
    answer: (_, slot, port) => statOf(slot, port, new BigInt64Array(STAT_FIELDS)),
  },
  close: { kind: 13, syscall: 'close', answer: nothing },
  open: { kind: 14, syscall: 'open', answer: (fd, { opening }) => makeOpened(fd, opening!) },
  acquire: { kind: 15, syscall: 'acquire', answer: (_, slot, port) => blockOf(slot, port), failure: acquireFailure },
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

function statOf<T extends Float64Array | BigInt64Array>(slot: Slot, port: Port, fields: T): T {
  port.takeStat(slot.index, fields)
  return fields
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
