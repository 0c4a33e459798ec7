/**
 * Reads that make their own buffer. The buffer is made for one read, belongs to the caller afterwards, and is never used again here.
 * It shows no bytes of earlier users of the memory.
 */
import { Buffer, constants } from 'node:buffer'
import { poolOf } from '../memory/memory.js'
import { memoryOf } from '../operations/native.js'
import type { OpenFile } from './open-file.js'
import { lengthOutOfRange, validateInteger } from '../checks/options.js'
import type { ReadOptions, ReadResult } from '../operations/transfers.js'

const PAGE = 4096

/** A shorter read is less than one unit of a device, so it is copied even if its buffer is aligned. */
const UNIT_MIN = 512

/**
 * A buffer for one read. On a direct file it begins at a page, so that the device can write to it without a copy; it is zeroed, and a
 * part of an ArrayBuffer that is a page larger. On any other file its contents are undefined.
 */
export function freshBuffer(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return file.direct === false || bytes < UNIT_MIN ? Buffer.allocUnsafeSlow(bytes) : pageAligned(file, bytes)
}

/** Like {@link freshBuffer}, but zeroed for every file. */
export function zeroedBuffer(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return file.direct === false || bytes < UNIT_MIN ? Buffer.alloc(bytes) : pageAligned(file, bytes)
}

function pageAligned(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return poolOf(memoryOf(file.slots.port)).source.carve(bytes, PAGE)
}

/**
 * The length of a read that makes a buffer of that length: one whose options name a length, but neither a buffer nor an offset.
 * Undefined for any other read; without a buffer, it reads into 16384 bytes, as in Node.
 */
export function freshLength({ buffer, offset, length }: ReadOptions & { buffer?: unknown }): number | undefined {
  if (buffer !== undefined || typeof length !== 'number' || (offset ?? 0) !== 0) return undefined
  const bytes = validateInteger(length, 'length')
  if (bytes < 0 || bytes > constants.MAX_LENGTH) throw lengthOutOfRange(bytes, constants.MAX_LENGTH)
  return bytes
}

/** Reads at most `length` bytes. The Buffer in the result has exactly the bytes that were read. */
export async function readFresh(
  file: OpenFile,
  length: number,
  position: number,
  priority: number,
): Promise<ReadResult<Buffer<ArrayBuffer>>> {
  const buffer = freshBuffer(file, length)
  if (length === 0) return { bytesRead: 0, buffer }
  const { bytesRead } = await file.slots.read(file, buffer, buffer.buffer, length, 0, length, position, priority)
  return { bytesRead, buffer: bytesRead === length ? buffer : cut(buffer, bytesRead) }
}

/** The first bytes of a buffer. The caller cannot see the rest: it is zeroed, or the bytes are copied if the rest is larger. */
function cut(buffer: Buffer<ArrayBuffer>, bytes: number): Buffer<ArrayBuffer> {
  if (bytes >= buffer.length / 2) return buffer.fill(0, bytes).subarray(0, bytes)
  const part = Buffer.allocUnsafeSlow(bytes)
  buffer.copy(part, 0, 0, bytes)
  return part
}
