/** The options of an engine, and their checks. */
import { validateWish, type WishOptions } from '../control/wishes.js'
import { validatePoolOptions, type PoolOptions } from '../memory/memory.js'
import { validateBackend, type Backend } from '../operations/native.js'
import { invalidArgValue } from '../checks/errors.js'
import { validateBoolean, validateInteger, validateObject, validateOneOf } from '../checks/options.js'
import type { PortOptions } from '../operations/port.js'

/** `'core'`: operations go to the ring of the core that submits them. `'thread'`: they go to a ring of this thread's own. */
export type Routing = 'core' | 'thread'

export interface EngineOptions extends WishOptions {
  /**
   * The backend. It goes before the environment variable AURAIO_BACKEND.
   * @defaultValue 'auto'
   */
  backend?: Backend | undefined
  /**
   * Which ring an operation goes to.
   * @defaultValue 'thread', which is the faster one (docs/decisions/0001-routing.md)
   */
  routing?: Routing | undefined
  /**
   * How many operations one ring may hold in flight, 1 to 32768. Further operations wait in order. A ring of 1024 costs about
   * 40 KiB of locked memory (RLIMIT_MEMLOCK).
   * @defaultValue 1024
   */
  queueDepth?: number | undefined
  /**
   * How many operations are handed to the kernel in one system call, 1 to 1024, if that many come within one tick. A larger number
   * costs less CPU per operation. With a smaller one, the device starts sooner.
   * @defaultValue found by measuring, while the engine runs
   */
  submitBatch?: number | undefined
  /**
   * Registers leased memory, and files that are used often, with the kernel, so that operations on them cost less. With `false`, only
   * the rings count as locked memory (RLIMIT_MEMLOCK), and {@link Engine.registerBuffers} has no effect.
   * @defaultValue true
   */
  register?: boolean | undefined
  /** Options of the pool that `acquire` lends memory of. There is one pool for the process. */
  pool?: PoolOptions | undefined
}

/** The options of an engine, checked and sorted by the parts of the engine that take them. */
export interface CheckedOptions {
  port: PortOptions & { backend: Backend }
  pool: PoolOptions
}

/** The names of all options. The type makes this list name each of them. */
const NAMES: Record<keyof EngineOptions, true> = {
  backend: true,
  routing: true,
  queueDepth: true,
  submitBatch: true,
  register: true,
  pool: true,
  policy: true,
  guardP99Ms: true,
  inFlightMin: true,
  inFlightMax: true,
  priority: true,
}

/** Throws for an option that there is not: its name is misspelt, and its value would have no effect. */
function refuseUnknown(options: object): void {
  const unknown = Object.keys(options).find((name) => !Object.hasOwn(NAMES, name))
  if (unknown !== undefined) {
    throw invalidArgValue(
      `options.${unknown}`,
      (options as Record<string, unknown>)[unknown],
      'is not an option of an engine',
    )
  }
}

export function validateEngineOptions(options: unknown): CheckedOptions {
  validateObject(options, 'options')
  refuseUnknown(options as object)
  const {
    backend,
    routing = 'thread',
    queueDepth = 1024,
    submitBatch,
    register = true,
    pool,
  } = options as EngineOptions
  const poolOptions = validatePoolOptions(pool)
  const depth = validateInteger(queueDepth, 'options.queueDepth', 1, 32768)
  const engine = {
    backend: validateBackend(backend),
    routing: validateOneOf(routing, 'options.routing', ['core', 'thread']),
    queueDepth: depth,
    submitBatch: submitBatch === undefined ? 0 : validateInteger(submitBatch, 'options.submitBatch', 1, 1024),
    register: validateBoolean(register, 'options.register'),
  }
  const wish = validateWish(options as Record<string, unknown>, depth)
  return { port: { ...engine, wish }, pool: poolOptions }
}
