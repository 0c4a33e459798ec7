/** The options of an engine, and their checks. */
import { classOf, validateEngineWish, type EngineWish, type Policy, type Priority } from '../control/wishes.js'
import { validatePoolOptions, type PoolOptions } from '../memory/memory.js'
import { validateBackend, type Backend } from '../operations/native.js'
import { validateBoolean, validateInteger, validateObject, validateOneOf } from '../checks/options.js'
import type { ControlOptions, PortOptions } from '../operations/port.js'

/** `'core'`: operations go to the ring of the core that submits them. `'thread'`: they go to a ring of this thread's own. */
export type Routing = 'core' | 'thread'

export interface EngineOptions {
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
  /**
   * The p99 of completion latency, in milliseconds, above which concurrency on a device is cut at once; more than 0, at most
   * 60,000.
   *
   * This and the following options are wishes for the devices of this engine's files. Other engines and threads may use the same
   * devices and have other wishes. Of several guards the smallest holds. Of several policies the one that was asked for last holds.
   * Of several maxima the smallest holds, and of several minima the largest that is not above that maximum.
   * @defaultValue 10; on a slower device, 20 times the latency of an operation that is alone
   */
  guardP99Ms?: number | undefined
  /**
   * How the in-flight limit of a device is found: see {@link Policy}. A number is the limit itself, within the bounds; the guard does
   * not cut it.
   * @defaultValue 'knee'
   */
  policy?: Policy | undefined
  /**
   * The smallest in-flight limit, 1 to `queueDepth`. More than 1 costs latency if the device is slow.
   * @defaultValue 1
   */
  inFlightMin?: number | undefined
  /**
   * The largest in-flight limit, 1 to `queueDepth`. Fewer than the device needs cost throughput.
   * @defaultValue `queueDepth`; on the backend `threads`, the number of its threads
   */
  inFlightMax?: number | undefined
  /**
   * The priority of the handles that are opened without one of their own: which operations go first when some have to wait for the
   * device.
   * @defaultValue 'normal'
   */
  priority?: Priority | undefined
}

/** The options of an engine, checked and sorted by the parts of the engine that take them. */
export interface CheckedOptions {
  port: PortOptions & { backend: Backend }
  pool: PoolOptions
  wish: EngineWish
}

export function validateEngineOptions(options: unknown): CheckedOptions {
  validateObject(options, 'options')
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
  const wish = validateEngineWish(options as Record<string, unknown>, depth)
  const priority = classOf(wish.priority)
  return { port: { ...engine, ...controlOf(wish), priority }, pool: poolOptions, wish }
}

/** The wishes of an engine, as the port takes them. */
export function controlOf({ policy, guardP99Ms, inFlightMin, inFlightMax }: EngineWish): ControlOptions {
  const isFixed = typeof policy === 'number'
  return {
    policy: isFixed ? 'fixed' : policy,
    inFlightFixed: isFixed ? policy : 0,
    inFlightMin: inFlightMin ?? 0,
    inFlightMax: inFlightMax ?? 0,
    guardP99Ms: guardP99Ms ?? 0,
  }
}
