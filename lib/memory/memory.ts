/** What `acquire`, `acquireAsync` and `allocate` may be given, and which pool an engine's leases come from. */
import type { Buffer } from 'node:buffer'
import { constants } from 'node:buffer'
import { BlockSource, type NativeMemory } from './blocks.js'
import { invalidArgType, invalidArgValue, outOfRange } from '../checks/errors.js'
import { validateBoolean, validateInteger, validateObject, validateSignal } from '../checks/options.js'
import { startDebugging } from './lent.js'
import { ALIGNMENT_MAX, ALIGNMENT_MIN, LEASE_BYTES_MAX, LeasePool } from './pool.js'

/** Of the memory that leases come from. There is one pool for the process, so what is set here is set for all engines. */
export interface PoolOptions {
  /**
   * Bytes that the pool may map from the system, for all threads together; the last engine that sets it decides. Memory
   * that is mapped stays mapped when the ceiling sinks. On the backend `node` there is no ceiling.
   * @defaultValue a quarter of the memory, at most 64 GiB
   */
  bytesMax?: number | undefined
  /**
   * Fills memory with 0xDB when its lease is released, and looks when it is lent again whether somebody has written to it
   * through a reference that was kept: then there is the warning `AURAIO_USE_AFTER_RELEASE`, with the stack of the release. A
   * read through such a reference sees 0xDB. Once set, it holds for the thread. Costs a walk through the memory at each
   * release and at each acquisition.
   * @defaultValue false
   */
  debug?: boolean | undefined
}

export interface AcquireOptions {
  /**
   * The address is a multiple of this: a power of two, at most 2 MiB. Less than the default is as good as the default.
   * @defaultValue 4096
   */
  alignment?: number | undefined
}

export interface AcquireAsyncOptions extends AcquireOptions {
  /** Stops waiting, with an AbortError. */
  signal?: AbortSignal | undefined
}

/** The environment's pools, by where their memory comes from: the binding, or the runtime. */
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

/** An ordinary Buffer, aligned: a part of an ArrayBuffer that is a little larger. */
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
