/**
 * readFile, writeFile and appendFile of an open file: loops of reads or writes at the file's own position. The loops look at the
 * AbortSignal between two steps. If it fires during a step, the port is asked to end the step early. Even then the promise settles
 * only when the kernel no longer uses the buffer.
 */
import { Buffer, constants } from 'node:buffer'
import { validateClass, type PriorityOption } from '../control/wishes.js'
import { aborted, fileTooLarge, invalidArgType, invalidArgValue, systemError } from '../checks/errors.js'
import { freshBuffer } from './fresh.js'
import type { OpenFile } from './open-file.js'
import { TRANSFER_MAX, notWritable, viewLength, viewMemory } from '../checks/options.js'
import { STAT_SIZE } from './stat.js'

export interface ReadFileOptions extends PriorityOption {
  /**
   * Memory to read into, or a function that makes it when it is told the size. The result is a Buffer over the first bytes of that
   * memory. This saves the page faults of new memory. A file that does not fit is an error.
   */
  buffer?: NodeJS.ArrayBufferView | ((size: number) => NodeJS.ArrayBufferView) | undefined
  /**
   * Gives a string in this encoding instead of a Buffer.
   * @defaultValue null
   */
  encoding?: BufferEncoding | null | undefined
  /** Ends the reading early, with an AbortError. */
  signal?: AbortSignal | undefined
}

export interface WriteFileOptions extends PriorityOption {
  /**
   * How strings become bytes.
   * @defaultValue 'utf8'
   */
  encoding?: BufferEncoding | null | undefined
  /**
   * Waits until the data is on the device (fsync) before the promise resolves. This costs one flush of the device's cache.
   * @defaultValue false
   */
  flush?: boolean | undefined
  /** Ends the writing early, with an AbortError. What has been written by then stays written. */
  signal?: AbortSignal | undefined
}

/** What writeFile writes: bytes, text, or an iterable of these. */
export type FileData =
  | string
  | NodeJS.ArrayBufferView
  | Iterable<string | NodeJS.ArrayBufferView>
  | AsyncIterable<string | NodeJS.ArrayBufferView>

/** The most bytes of one step if there is an AbortSignal. So an abort takes effect within this many bytes. */
const ABORTABLE_STEP = 512 * 1024

/** The bytes of the first step if the size is not known: for /proc, pipes and devices. */
const UNKNOWN_STEP = 64 * 1024

const EIO = -5

/** What all operations of a loop have in common. */
interface Manner {
  signal: AbortSignal | undefined
  /** The number of their priority. */
  priority: number
}

export async function readWholeFile(file: OpenFile, options: ReadFileOptions): Promise<Buffer | string> {
  const { encoding, signal } = options
  const priority = validateClass(options.priority)
  checkAborted(signal)
  const isStream = file.isStream()
  // A stream is not held open. Its read may wait for ever, and then only `close` ends it.
  if (!isStream) file.hold()
  try {
    const fields = (await file.slots.stat(file, false)) as Float64Array
    checkAborted(signal)
    const size = isStream ? 0 : fields[STAT_SIZE]!
    if (size > constants.MAX_LENGTH) throw fileTooLarge(size, constants.MAX_LENGTH)
    const bytes = await readBytes(file, size, options.buffer, { signal, priority })
    return encoding ? bytes.toString(encoding) : bytes
  } finally {
    if (!isStream) file.release()
  }
}

/** `size` is 0 if the file does not tell its size. */
function readBytes(file: OpenFile, size: number, buffer: ReadFileOptions['buffer'], manner: Manner): Promise<Buffer> {
  if (buffer !== undefined) return readInto(file, givenBuffer(buffer, size), size, manner)
  if (size > 0) return readUpTo(file, freshBuffer(file, size), size, manner)
  return readUnsized(file, manner)
}

/** Reads as many bytes as the file had at the beginning, or fewer if the file gets shorter meanwhile. */
async function readUpTo(file: OpenFile, buffer: Buffer, size: number, manner: Manner): Promise<Buffer> {
  const step = manner.signal === undefined ? TRANSFER_MAX : ABORTABLE_STEP
  let total = 0
  while (total < size) {
    const bytes = await readStep(file, buffer, total, Math.min(size - total, step), manner)
    if (bytes === 0) break
    total += bytes
  }
  return total === buffer.length ? buffer : buffer.subarray(0, total)
}

/** Reads into the caller's memory, and throws if the file does not fit. */
async function readInto(file: OpenFile, view: NodeJS.ArrayBufferView, size: number, manner: Manner): Promise<Buffer> {
  const capacity = viewLength(view)
  const target = Buffer.from(viewMemory(view), view.byteOffset, capacity)
  if (capacity < size) throw tooSmall(capacity, `is smaller than the file size of ${size} bytes`)
  const filled = await readUpTo(file, target, size > 0 ? size : capacity, manner)
  if (size > 0 || filled.length < capacity) return filled
  const more = await readStep(file, Buffer.allocUnsafeSlow(1), 0, 1, manner)
  if (more > 0) throw tooSmall(capacity, 'is too small to contain the entire file')
  return filled
}

function tooSmall(capacity: number, reason: string): Error {
  return invalidArgValue('options.buffer.byteLength', capacity, reason)
}

function givenBuffer(buffer: NonNullable<ReadFileOptions['buffer']>, size: number): NodeJS.ArrayBufferView {
  const view: unknown = typeof buffer === 'function' ? buffer(size) : buffer
  if (ArrayBuffer.isView(view)) return view as NodeJS.ArrayBufferView
  const expected = 'of type function or an instance of Buffer, TypedArray, or DataView'
  throw invalidArgType('options.buffer', expected, view)
}

/** Reads until a read gives 0 bytes. */
async function readUnsized(file: OpenFile, manner: Manner): Promise<Buffer> {
  const parts: Buffer[] = []
  let total = 0
  let step = UNKNOWN_STEP
  for (;;) {
    const part = Buffer.allocUnsafeSlow(step)
    const bytes = await readStep(file, part, 0, step, manner)
    if (bytes === 0) return Buffer.concat(parts, total)
    total += bytes
    if (total > constants.MAX_LENGTH) throw fileTooLarge(total, constants.MAX_LENGTH)
    parts.push(bytes === step ? part : Buffer.from(part.subarray(0, bytes)))
    if (bytes === step) step = Math.min(step * 2, ABORTABLE_STEP)
  }
}

async function readStep(
  file: OpenFile,
  buffer: Buffer,
  offset: number,
  length: number,
  { signal, priority }: Manner,
): Promise<number> {
  const reading = file.slots.read(file, buffer, buffer.buffer, buffer.length, offset, length, -1, priority)
  const { bytesRead } = await (signal === undefined ? reading : abortable(file, reading, signal))
  return bytesRead
}

export async function writeWholeFile(file: OpenFile, data: FileData, options: WriteFileOptions): Promise<void> {
  const { encoding, signal, flush } = options
  const manner = { signal, priority: validateClass(options.priority) }
  checkAborted(signal)
  file.hold()
  try {
    if (typeof data === 'string') await writeAll(file, Buffer.from(data, encoding ?? 'utf8'), manner)
    else if (ArrayBuffer.isView(data)) await writeAll(file, data, manner)
    else {
      for await (const piece of data) {
        checkAborted(signal)
        await writeAll(file, ArrayBuffer.isView(piece) ? piece : Buffer.from(piece, encoding ?? 'utf8'), manner)
      }
    }
    if (flush === true) await file.slots.perform('sync', [file.handle], manner.priority)
  } finally {
    file.release()
  }
}

/** @throws for what {@link writeWholeFile} cannot write */
export function validateFileData(data: unknown): FileData {
  if (typeof data === 'string' || ArrayBuffer.isView(data)) return data as FileData
  if (data !== null && typeof data === 'object' && (Symbol.iterator in data || Symbol.asyncIterator in data)) {
    return data as FileData
  }
  throw notWritable('data', data)
}

async function writeAll(file: OpenFile, view: NodeJS.ArrayBufferView, { signal, priority }: Manner): Promise<void> {
  const size = viewLength(view)
  const memory = viewMemory(view)
  const step = signal === undefined ? TRANSFER_MAX : ABORTABLE_STEP
  for (let at = 0; at < size;) {
    const writing = file.slots.write(file, view, memory, size, at, Math.min(size - at, step), -1, priority)
    const { bytesWritten } = await (signal === undefined ? writing : abortable(file, writing, signal))
    if (bytesWritten === 0) throw systemError(EIO, 'write') // without this, the loop would never end
    at += bytesWritten
  }
}

function checkAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted === true) throw aborted(signal)
}

/** Waits for the operation that was begun last, and ends it early if the signal fires. */
async function abortable<T>(file: OpenFile, operation: Promise<T>, signal: AbortSignal): Promise<T> {
  const ticket = file.slots.ticket()
  const stop = (): void => file.slots.cancel(ticket)
  signal.addEventListener('abort', stop, { once: true })
  try {
    return await operation
  } finally {
    signal.removeEventListener('abort', stop)
    checkAborted(signal)
  }
}
