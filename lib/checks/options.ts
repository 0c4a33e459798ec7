/**
 * Checks of arguments, in Node's order and with Node's errors. They are stricter than Node's only where Node silently does
 * something that nobody can have wanted; docs/errors.md lists those cases.
 */
import { Buffer } from 'node:buffer'
import { constants } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { directMissing, invalidArgType, invalidArgValue, invalidState, outOfRange } from './errors.js'

/** What a position may be: a whole number of bytes, or null for the file's own position. */
export type Position = number | bigint | null

/** The most bytes that Linux moves in one call. */
export const TRANSFER_MAX = 0x7fff_f000

const BUFFER_OR_VIEW = 'an instance of Buffer, TypedArray, or DataView'
const POSITION_BIGINT_MAX = 2n ** 63n - 1n

export function validateInteger(
  value: unknown,
  name: string,
  min: number = Number.MIN_SAFE_INTEGER,
  max: number = Number.MAX_SAFE_INTEGER,
): number {
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value)
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value)
  if (value < min || value > max) throw outOfRange(name, `>= ${min} && <= ${max}`, value)
  return value
}

export function validateOneOf<T extends string>(value: unknown, name: string, allowed: readonly T[]): T {
  if (!(allowed as readonly unknown[]).includes(value)) {
    throw invalidArgValue(name, value, `must be one of: ${allowed.map((one) => `'${one}'`).join(', ')}`)
  }
  return value as T
}

export function validateBoolean(value: unknown, name: string): boolean {
  if (typeof value !== 'boolean') throw invalidArgType(name, 'of type boolean', value)
  return value
}

/** Refuses arrays and functions too: nobody means them as options. */
export function validateObject(value: unknown, name: string): object {
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw invalidArgType(name, 'of type object', value)
  }
  return value
}

/** The length of a view in bytes. A detached view is an error here; Node takes it for an empty one. */
export function viewLength(view: NodeJS.ArrayBufferView): number {
  let length: number
  try {
    length = view.byteLength // throws for a detached DataView
  } catch {
    throw detachedBefore()
  }
  if (length === 0) refuseDetached(view.buffer)
  return length
}

/**
 * The ArrayBuffer of a view, if the kernel may work on it. A resizable ArrayBuffer may not: it can lose its pages while an
 * operation is in flight. A SharedArrayBuffer may: it can only grow, and cannot be detached.
 */
export function viewMemory(view: NodeJS.ArrayBufferView): ArrayBufferLike {
  const memory = view.buffer
  if ((memory as { resizable?: boolean }).resizable === true) {
    throw invalidArgValue('buffer', view, 'must not be a view of a resizable ArrayBuffer')
  }
  return memory
}

function refuseDetached(memory: ArrayBufferLike): void {
  try {
    new Uint8Array(memory) // throws for a detached ArrayBuffer; Node 20 has no other test for one
  } catch {
    throw detachedBefore()
  }
}

function detachedBefore(): Error {
  return invalidState('the ArrayBuffer of "buffer" is detached')
}

export function validateView(value: unknown): NodeJS.ArrayBufferView {
  if (!ArrayBuffer.isView(value)) throw invalidArgType('buffer', BUFFER_OR_VIEW, value)
  return value as NodeJS.ArrayBufferView
}

/** The error for what is neither a string nor a view. */
export function notWritable(name: string, value: unknown): Error {
  return invalidArgType(name, `of type string or ${BUFFER_OR_VIEW}`, value)
}

export function validateViews(value: unknown): readonly NodeJS.ArrayBufferView[] {
  if (!Array.isArray(value)) throw invalidArgType('buffers', 'an ArrayBufferView[]', value)
  for (const one of value as unknown[]) {
    if (!ArrayBuffer.isView(one)) throw invalidArgType('buffers', 'an ArrayBufferView[]', value)
    viewLength(one as NodeJS.ArrayBufferView)
    viewMemory(one as NodeJS.ArrayBufferView)
  }
  return value as NodeJS.ArrayBufferView[]
}

/** The error for a length that is not within 0 and `available`. */
export function lengthOutOfRange(length: number, available: number): Error {
  return outOfRange('length', length < 0 ? '>= 0' : `<= ${available}`, length)
}

/** The error for an offset past `available`. */
export function offsetOutOfRange(offset: number, available: number): Error {
  return outOfRange('offset', `<= ${available}`, offset)
}

/** A read's position, as the port takes it. -1, null and undefined mean the file's own position, which is -1 for the port. */
export function readPosition(position: unknown, length: number): number {
  if (position === null || position === undefined) return -1
  if (typeof position === 'number') return validateInteger(position, 'position', -1)
  if (typeof position !== 'bigint') throw invalidArgType('position', 'of type bigint or integer', position)
  const max = POSITION_BIGINT_MAX - BigInt(length)
  if (position < -1n || position > max) throw outOfRange('position', `>= -1 && <= ${max}`, position)
  return exact(position)
}

/** A write's position, as the port takes it. -1 and NaN are refused; Node silently takes them for the file's own position. */
export function writePosition(position: unknown): number {
  if (position === null || position === undefined) return -1
  if (typeof position === 'number') return validateInteger(position, 'position', 0)
  if (typeof position !== 'bigint') throw invalidArgType('position', 'of type bigint or integer', position)
  if (position < 0n) throw outOfRange('position', `>= 0 && <= ${Number.MAX_SAFE_INTEGER}`, position)
  return exact(position)
}

/** Where in a file to begin, for an operation that does not use the file's own position. undefined is the file's beginning. */
export function validateOffset(offset: unknown, name: string): number {
  if (offset === undefined) return 0
  if (typeof offset === 'number') return validateInteger(offset, name, 0)
  if (typeof offset !== 'bigint') throw invalidArgType(name, 'of type bigint or integer', offset)
  if (offset < 0n) throw outOfRange(name, `>= 0 && <= ${Number.MAX_SAFE_INTEGER}`, offset)
  return exact(offset, name)
}

/** Positions cross to the port as doubles, which cannot tell numbers past 2^53-1 apart. So larger ones are refused. */
function exact(position: bigint, name: string = 'position'): number {
  if (position > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw outOfRange(name, `<= ${Number.MAX_SAFE_INTEGER}`, position)
  }
  return Number(position)
}

/** A path, as the port takes it. */
export function validatePath(path: unknown): string | Uint8Array {
  const plain = isUrl(path) ? fileURLToPath(path) : path
  if (typeof plain === 'string') {
    if (plain.includes('\0')) throw pathWithNul(plain)
    return plain
  }
  if (!(plain instanceof Uint8Array)) {
    throw invalidArgType('path', 'of type string or an instance of Buffer or URL', path)
  }
  if (plain.includes(0)) throw pathWithNul(plain)
  return plain
}

function pathWithNul(path: string | Uint8Array): Error {
  return invalidArgValue('path', path, 'must be a string, Uint8Array, or URL without null bytes')
}

function isUrl(value: unknown): value is URL {
  if (value === null || typeof value !== 'object') return false
  const { href, protocol, auth, path } = value as Record<string, unknown>
  return Boolean(href && protocol) && auth === undefined && path === undefined
}

export function pathText(path: string | Uint8Array): string {
  return typeof path === 'string' ? path : Buffer.from(path.buffer, path.byteOffset, path.byteLength).toString()
}

const { O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_EXCL, O_TRUNC, O_APPEND } = constants
const O_SYNC: number = (constants as { O_SYNC?: number }).O_SYNC ?? 0 // Windows has none
const O_DIRECT: number | undefined = (constants as { O_DIRECT?: number }).O_DIRECT // nor has macOS

const FLAGS: ReadonlyMap<string, number> = new Map([
  ['r', O_RDONLY],
  ['rs', O_RDONLY | O_SYNC],
  ['sr', O_RDONLY | O_SYNC],
  ['r+', O_RDWR],
  ['rs+', O_RDWR | O_SYNC],
  ['sr+', O_RDWR | O_SYNC],
  ['w', O_TRUNC | O_CREAT | O_WRONLY],
  ['wx', O_TRUNC | O_CREAT | O_WRONLY | O_EXCL],
  ['xw', O_TRUNC | O_CREAT | O_WRONLY | O_EXCL],
  ['w+', O_TRUNC | O_CREAT | O_RDWR],
  ['wx+', O_TRUNC | O_CREAT | O_RDWR | O_EXCL],
  ['xw+', O_TRUNC | O_CREAT | O_RDWR | O_EXCL],
  ['a', O_APPEND | O_CREAT | O_WRONLY],
  ['ax', O_APPEND | O_CREAT | O_WRONLY | O_EXCL],
  ['xa', O_APPEND | O_CREAT | O_WRONLY | O_EXCL],
  ['as', O_APPEND | O_CREAT | O_WRONLY | O_SYNC],
  ['sa', O_APPEND | O_CREAT | O_WRONLY | O_SYNC],
  ['a+', O_APPEND | O_CREAT | O_RDWR],
  ['ax+', O_APPEND | O_CREAT | O_RDWR | O_EXCL],
  ['xa+', O_APPEND | O_CREAT | O_RDWR | O_EXCL],
  ['as+', O_APPEND | O_CREAT | O_RDWR | O_SYNC],
  ['sa+', O_APPEND | O_CREAT | O_RDWR | O_SYNC],
])

export function validateFlags(flags: unknown): number {
  if (typeof flags === 'number') return validateInteger(flags, 'flags', -(2 ** 31), 2 ** 31 - 1)
  if (flags === null || flags === undefined) return O_RDONLY
  const known = typeof flags === 'string' ? FLAGS.get(flags) : undefined
  if (known === undefined) throw invalidArgValue('flags', flags)
  return known
}

/**
 * How a file is opened for direct I/O: `false` is not at all, `'any'` for transfers of any alignment, `'strict'` for transfers
 * that are aligned as the kernel wants them.
 */
export type Direct = false | 'any' | 'strict'

/** O_DIRECT in the flags, without the option, means what it means in Node: the kernel refuses transfers that are not aligned. */
export function validateDirect(direct: unknown, flags: number): Direct {
  if (direct === undefined || direct === false) {
    return O_DIRECT !== undefined && (flags & O_DIRECT) !== 0 ? 'strict' : false
  }
  if (typeof direct === 'string' && direct !== 'strict') {
    throw invalidArgValue('options.direct', direct, "must be a boolean or 'strict'")
  }
  if (direct !== 'strict') validateBoolean(direct, 'options.direct')
  if (O_DIRECT === undefined) throw directMissing()
  return direct === 'strict' ? 'strict' : 'any'
}

/** The flags that open a file for direct I/O. */
export function directFlags(flags: number, direct: Direct): number {
  return direct === false ? flags : flags | (O_DIRECT ?? 0)
}

export function validateMode(mode: unknown, missing?: number): number {
  const value = mode ?? missing
  if (typeof value === 'string') {
    if (!/^[0-7]+$/.test(value)) {
      throw invalidArgValue('mode', value, 'must be a 32-bit unsigned integer or an octal string')
    }
    return validateInteger(Number.parseInt(value, 8), 'mode', 0, 2 ** 32 - 1)
  }
  return validateInteger(value, 'mode', 0, 2 ** 32 - 1)
}

export function validateOwner(id: unknown, name: string): number {
  return validateInteger(id, name, -1, 2 ** 32 - 1)
}

/** Seconds since 1970. As in Node, a negative number means now, and a Date may be before 1970. */
export function validateTime(time: unknown, name: string): number {
  if (typeof time === 'string' && time.trim() !== '' && Number.isFinite(Number(time))) return Number(time)
  if (typeof time === 'number' && Number.isFinite(time)) return time < 0 ? Date.now() / 1000 : time
  if (time instanceof Date && Number.isFinite(time.getTime())) return time.getTime() / 1000
  throw invalidArgType(name, 'an instance of Date or an Time in seconds', time)
}

export function validateList(value: unknown, name: string, expected: string): unknown[] {
  if (!Array.isArray(value)) throw invalidArgType(name, expected, value)
  return value as unknown[]
}

/** Checks the options of readFile, writeFile and appendFile. A string is the encoding. */
export function validateFileOptions(options: unknown): {
  encoding?: BufferEncoding | null | undefined
  signal?: AbortSignal | undefined
  flush?: unknown
  buffer?: unknown
  priority?: unknown
} {
  if (options === null || options === undefined || typeof options === 'function') return {}
  if (typeof options === 'string') return { encoding: validateEncoding(options) }
  if (typeof options !== 'object') throw invalidArgType('options', 'one of type string or object', options)
  const { encoding, signal, flush, buffer, priority } = options as Record<string, unknown>
  if (encoding !== 'buffer') validateEncoding(encoding)
  const checked = { encoding: encoding as BufferEncoding | null | undefined, signal: validateSignal(signal) }
  return { ...checked, flush, buffer, priority }
}

function validateEncoding(encoding: unknown): BufferEncoding {
  if (encoding && !Buffer.isEncoding(encoding as string)) {
    throw invalidArgValue('encoding', encoding, 'is invalid encoding')
  }
  return encoding as BufferEncoding
}

export function validateSignal(signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined
  if (signal === null || typeof signal !== 'object' || !('aborted' in signal)) {
    throw invalidArgType('options.signal', 'an instance of AbortSignal', signal)
  }
  return signal as AbortSignal
}

/** The bytes of a string, in the encoding that `write` was given. */
export function encoded(text: string, encoding: unknown): Buffer {
  if (encoding === null || encoding === undefined || encoding === 'buffer') return Buffer.from(text, 'utf8')
  const name = validateEncoding(encoding)
  if (typeof name === 'string' && name.toLowerCase() === 'hex' && text.length % 2 !== 0) {
    throw invalidArgValue('encoding', encoding, `is invalid for data of length ${text.length}`)
  }
  return Buffer.from(text, name)
}
