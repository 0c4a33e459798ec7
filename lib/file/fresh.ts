/**
 * Reads that bring their own memory: a Buffer made for one read, which is the caller's from then on and which nobody uses
 * again. It shows no byte that was there before.
 */
import { Buffer, constants } from 'node:buffer'
import { poolOf } from '../memory/memory.js'
import { memoryOf } from '../operations/native.js'
import type { OpenFile } from './open-file.js'
import { lengthOutOfRange, validateInteger } from '../checks/options.js'
import type { ReadOptions, ReadResult } from '../operations/transfers.js'

const PAGE = 4096

/** Less is no whole unit of a device, so alignment would not spare the copy. */
const UNIT_MIN = 512

/**
 * Memory for one read. On a direct file it begins at a page, so that the device can write to it without a copy on the way:
 * zeroed, and a part of an ArrayBuffer that is a page larger. Elsewhere what is in it is undefined.
 */
export function freshBuffer(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return file.direct === false || bytes < UNIT_MIN ? Buffer.allocUnsafeSlow(bytes) : pageAligned(file, bytes)
}

/** The same, zeroed everywhere. */
export function zeroedBuffer(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return file.direct === false || bytes < UNIT_MIN ? Buffer.alloc(bytes) : pageAligned(file, bytes)
}

function pageAligned(file: OpenFile, bytes: number): Buffer<ArrayBuffer> {
  return poolOf(memoryOf(file.slots.port)).source.carve(bytes, PAGE)
}

/**
 * The bytes of a read that is to bring its memory: one that names a length, and neither a buffer nor a place in one. Any
 * other reads into Node's 16384 bytes.
 */
export function freshLength({ buffer, offset, length }: ReadOptions & { buffer?: unknown }): number | undefined {
  if (buffer !== undefined || typeof length !== 'number' || (offset ?? 0) !== 0) return undefined
  const bytes = validateInteger(length, 'length')
  if (bytes < 0 || bytes > constants.MAX_LENGTH) throw lengthOutOfRange(bytes, constants.MAX_LENGTH)
  return bytes
}

/** Reads up to so many bytes into a Buffer of exactly as many as came. */
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

/** The first bytes, without the rest showing behind them: in memory of their own where the rest is most of it. */
function cut(buffer: Buffer<ArrayBuffer>, bytes: number): Buffer<ArrayBuffer> {
  if (bytes >= buffer.length / 2) return buffer.fill(0, bytes).subarray(0, bytes)
  const part = Buffer.allocUnsafeSlow(bytes)
  buffer.copy(part, 0, 0, bytes)
  return part
}
