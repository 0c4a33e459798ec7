/** The options of `acquire`, `acquireAsync` and `allocate`, and the pool that the leases of an engine come from. */
import type { Buffer } from 'node:buffer'
import { constants } from 'node:buffer'
import { BlockSource, type NativeMemory } from './blocks.js'
import { invalidArgType, invalidArgValue, outOfRange } from '../checks/errors.js'
import { validateBoolean, validateInteger, validateObject, validateSignal } from '../checks/options.js'
import { startDebugging } from './lent.js'
import { ALIGNMENT_MAX, ALIGNMENT_MIN, LEASE_BYTES_MAX, LeasePool } from './pool.js'

/** Options of the pool that leases come from. There is one pool for the process, so they hold for all engines. */
export interface PoolOptions {
  /**
   * How many bytes the pool may map from the system, for all threads together. The last engine that sets it decides. When the
   * ceiling is lowered, memory that is mapped stays mapped. On the backend `node` there is no ceiling.
   * @defaultValue a quarter of the memory, at most 64 GiB
   */
  bytesMax?: number | undefined
  /**
   * Finds programs that keep a reference to memory and use it after the release. Memory is filled with 0xDB when its lease is
   * released, and looked through when it is lent again. If somebody wrote to it in between, there is the warning
   * `AURAIO_USE_AFTER_RELEASE`, with the stack of the release. If somebody reads from it, they see 0xDB. Once set, this holds for
   * the thread. It costs a walk through the memory at each release and at each acquisition.
   * @defaultValue false
   */
  debug?: boolean | undefined
}

export interface AcquireOptions {
  /**
   * The address of the memory is a multiple of this: a power of two, at most 2 MiB. Less than the default means the default.
   * @defaultValue 4096
   */
  alignment?: number | undefined
}

export interface AcquireAsyncOptions extends AcquireOptions {
  /** Ends the wait, with an AbortError. */
  signal?: AbortSignal | undefined
}

/** The pools of this environment: one of memory that the binding lends, one of ordinary memory of the runtime. */
const pools: { native: LeasePool | undefined; ordinary: LeasePool | undefined } = {
  native: undefined,
  ordinary: undefined,
}

/** The environment's pool: of the binding's memory, or without a binding of the runtime's. */
export function poolOf(native: NativeMemory | undefined): LeasePool {
  const kind = native === undefined ? 'ordinary' : 'native'
  pools[kind] ??= new LeasePool(new BlockSource(native))
  return pools[kind]
}

export function validatePoolOptions(options: unknown): PoolOptions {
  if (options === undefined) return {}
  const { bytesMax, debug } = validateObject(options, 'options.pool') as Record<string, unknown>
  return {
    bytesMax: bytesMax === undefined ? undefined : validateInteger(bytesMax, 'options.pool.bytesMax', ALIGNMENT_MIN),
    debug: debug === undefined ? undefined : validateBoolean(debug, 'options.pool.debug'),
  }
}

export function applyPoolOptions(pool: LeasePool, { bytesMax, debug }: PoolOptions): void {
  if (bytesMax !== undefined) pool.source.setBytesMax(bytesMax)
  if (debug === true) startDebugging()
}

export function validateLeaseSize(size: unknown): number {
  return validateInteger(size, 'size', 1, LEASE_BYTES_MAX)
}

export function validateAcquireOptions(options: unknown): { alignment: number; signal: AbortSignal | undefined } {
  if (options === undefined) return { alignment: ALIGNMENT_MIN, signal: undefined }
  const { alignment, signal } = validateObject(options, 'options') as Record<string, unknown>
  return { alignment: validateAlignment(alignment), signal: validateSignal(signal) }
}

/** An ordinary Buffer that is aligned: a part of an ArrayBuffer that is a little larger. */
export function allocateAligned(pool: LeasePool, size: unknown, options: unknown): Buffer<ArrayBuffer> {
  const { alignment } = validateAcquireOptions(options)
  return pool.source.carve(validateInteger(size, 'size', 1, constants.MAX_LENGTH - ALIGNMENT_MAX), alignment)
}

function validateAlignment(alignment: unknown): number {
  if (alignment === undefined) return ALIGNMENT_MIN
  if (typeof alignment !== 'number') throw invalidArgType('options.alignment', 'of type number', alignment)
  if (!(alignment >= 1 && alignment <= ALIGNMENT_MAX)) {
    throw outOfRange('options.alignment', `>= 1 && <= ${ALIGNMENT_MAX}`, alignment)
  }
  if (!Number.isInteger(Math.log2(alignment))) {
    throw invalidArgValue('options.alignment', alignment, 'must be a power of two')
  }
  return Math.max(alignment, ALIGNMENT_MIN)
}
