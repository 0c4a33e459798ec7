/**
 * Errors, made as Node makes them: those of the operating system, those for wrong arguments, and our own (`ERR_AURAIO_*`).
 *
 * Callers match on `code`; docs/errors.md lists all codes. Where Node 26 has a message for a case, ours is the same word for word,
 * so that a log reads the same after a change from `node:fs/promises`.
 */
import { getSystemErrorMap, inspect } from 'node:util'

/** An error of the operating system, as `node:fs` reports it. */
export interface SystemError extends Error {
  /** Negative, as in libuv: `-2` for ENOENT on Linux. */
  errno: number
  code: string
  syscall: string
  path?: string
  /** The second path of an operation on two paths. */
  dest?: string
}

/** An error with a code: for a wrong argument, or one of `ERR_AURAIO_*`. */
export interface CodedError extends Error {
  code: string
}

/** An error of the operating system. `errno` is negative. `hint` is put after Node's message and a colon. */
export function systemError(errno: number, syscall: string, path?: string, hint?: string, dest?: string): SystemError {
  const known = getSystemErrorMap().get(errno)
  const code = known === undefined ? `Unknown system error ${errno}` : known[0]
  const text = known === undefined ? code : `${code}: ${known[1]}`
  const where = [path, dest].filter((one) => one !== undefined).map((one) => `'${one}'`)
  const after = `${where.length === 0 ? '' : ` ${where.join(' -> ')}`}${hint === undefined ? '' : `: ${hint}`}`
  const error = new Error(`${text}, ${syscall}${after}`) as SystemError
  error.errno = errno
  error.code = code
  error.syscall = syscall
  if (path !== undefined) error.path = path
  if (dest !== undefined) error.dest = dest
  return error
}

/** The error of every method of a closed handle. Like Node's, it has no errno. */
export function fileClosed(syscall: string): CodedError {
  const error = new Error('file closed') as CodedError & { syscall: string }
  error.code = 'EBADF'
  error.syscall = syscall
  return error
}

/** `expected` is written as Node does: `an instance of X`, or `one of type a or b`. */
export function invalidArgType(name: string, expected: string, value: unknown): CodedError {
  const kind = name.includes('.') ? 'property' : 'argument'
  return coded(new TypeError(`The "${name}" ${kind} must be ${expected}.${received(value)}`), 'ERR_INVALID_ARG_TYPE')
}

export function invalidArgValue(name: string, value: unknown, reason: string = 'is invalid'): CodedError {
  const kind = name.includes('.') ? 'property' : 'argument'
  let shown = inspect(value)
  if (shown.length > 128) shown = `${shown.slice(0, 128)}...`
  return coded(new TypeError(`The ${kind} '${name}' ${reason}. Received ${shown}`), 'ERR_INVALID_ARG_VALUE')
}

export function outOfRange(name: string, range: string, value: unknown): CodedError {
  return coded(
    new RangeError(`The value of "${name}" is out of range. It must be ${range}. Received ${amount(value)}`),
    'ERR_OUT_OF_RANGE',
  )
}

export function invalidState(message: string): CodedError {
  return coded(new Error(`Invalid state: ${message}`), 'ERR_INVALID_STATE')
}

export function fileTooLarge(size: number, limit: number): CodedError {
  return coded(new RangeError(`File size (${size}) is greater than ${limit} bytes`), 'ERR_FS_FILE_TOO_LARGE')
}

/** The error for an operation that an AbortSignal ended. The signal's reason is its cause. */
export function aborted(signal: AbortSignal): CodedError {
  const error = new Error('The operation was aborted', { cause: signal.reason }) as CodedError
  Object.defineProperty(error, 'name', { value: 'AbortError', configurable: true, enumerable: true, writable: true })
  error.code = 'ABORT_ERR'
  return error
}

/** The view's memory was transferred, or posted to another thread, while the kernel was using it. */
export function detached(): CodedError {
  return coded(
    new Error(
      'A buffer was detached or shrunk while an operation on it was in flight: its contents are not to be trusted, ' +
        'and what the operation transferred is lost',
    ),
    'ERR_AURAIO_DETACHED',
  )
}

export function engineClosed(): CodedError {
  return coded(new Error('The engine is closed'), 'ERR_AURAIO_ENGINE_CLOSED')
}

export function backendMissing(backend: string, reason: string, cause: unknown): CodedError {
  const error = new Error(`The backend '${backend}' is not to be had here: ${reason}`, { cause })
  return coded(error, 'ERR_AURAIO_BACKEND')
}

export function directMissing(): CodedError {
  return coded(new Error(`The platform '${process.platform}' has no O_DIRECT`), 'ERR_AURAIO_DIRECT')
}

export function tooManyOperations(limit: number): CodedError {
  return coded(
    new Error(`More than ${limit} operations are in flight on this engine`),
    'ERR_AURAIO_TOO_MANY_OPERATIONS',
  )
}

/** A lease was used after its release, or an operation was started on memory whose lease has been released. */
export function leaseReleased(): CodedError {
  return coded(new Error('The lease has been released'), 'ERR_AURAIO_RELEASED')
}

export function poolExhausted(bytes: number): CodedError {
  return coded(
    new Error(
      `The pool has no block of ${bytes} bytes free, and its ceiling (pool.bytesMax) allows no more to be mapped`,
    ),
    'ERR_AURAIO_POOL_EXHAUSTED',
  )
}

export function tooManyBuffers(limit: number): CodedError {
  return coded(new Error(`No more than ${limit} buffers can be registered`), 'ERR_AURAIO_TOO_MANY_BUFFERS')
}

/** The kernel does not pin pages that belong to a file or cannot be written. */
export function notRegistrable(): CodedError {
  return coded(
    new Error('The kernel cannot register this memory: it belongs to a file, or cannot be written'),
    'ERR_AURAIO_NOT_REGISTRABLE',
  )
}

export function adoptUnsupported(backend: string): CodedError {
  return coded(
    new Error(`The backend '${backend}' on '${process.platform}' cannot take over a descriptor`),
    'ERR_AURAIO_FOREIGN_DESCRIPTOR',
  )
}

/** Memory was to be transferred that the kernel may know by its address. */
export function untransferable(): CodedError {
  return coded(
    new Error('The memory of a lease, or of a registered buffer, cannot be transferred'),
    'ERR_AURAIO_UNTRANSFERABLE',
  )
}

/** Node's error for a path that `--permission` does not allow. */
export function accessDenied(permission: string, resource: string): CodedError {
  const flag = permission === 'FileSystemWrite' ? '--allow-fs-write' : '--allow-fs-read'
  const error = new Error(`Access to this API has been restricted. Use ${flag} to manage permissions.`)
  return Object.assign(coded(error, 'ERR_ACCESS_DENIED'), { permission, resource })
}

/** A rejected promise, for a method that is not async. */
export function rejection(error: unknown): Promise<never> {
  const reason = error as Error
  return Promise.reject(reason)
}

/**
 * Puts the code where Node puts it: into a property, and into the first line of the stack (`TypeError [ERR_X]: ...`), but not
 * into `name`. V8 writes that line when the stack is captured, so the name has the code in it only until then.
 */
function coded<E extends Error>(error: E, code: string): E & CodedError {
  const plain = error.name
  Object.defineProperty(error, 'name', { value: `${plain} [${code}]`, configurable: true, writable: true })
  Error.captureStackTrace(error, coded)
  Reflect.get(error, 'stack') // makes V8 format the stack now
  delete (error as { name?: string }).name
  return Object.assign(error, { code })
}

function received(value: unknown): string {
  if (value === null || value === undefined) return ` Received ${String(value)}`
  if (typeof value === 'function') return ` Received function ${value.name}`
  if (typeof value === 'object') {
    const { name } = (value as { constructor?: { name?: unknown } }).constructor ?? {}
    if (typeof name === 'string' && name !== '') return ` Received an instance of ${name}`
    return ` Received ${inspect(value, { depth: -1 })}`
  }
  let shown = inspect(value, { colors: false })
  if (shown.length > 28) shown = `${shown.slice(0, 25)}...`
  return ` Received type ${typeof value} (${shown})`
}

function amount(value: unknown): string {
  if (typeof value === 'number' && Number.isInteger(value) && Math.abs(value) > 2 ** 32) return grouped(String(value))
  if (typeof value === 'bigint') {
    const large = value > 2n ** 32n || value < -(2n ** 32n)
    return `${large ? grouped(String(value)) : String(value)}n`
  }
  return inspect(value)
}

/** 1234567 as 1_234_567. */
function grouped(digits: string): string {
  return digits.replace(/\B(?=(\d{3})+$)/g, '_')
}
