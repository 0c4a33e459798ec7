/** What an engine is made from, and the checks of it. */
import { classOf, validateEngineWish, type EngineWish, type Policy, type Priority } from '../control/wishes.js'
import { validatePoolOptions, type PoolOptions } from '../memory/memory.js'
import { validateBackend, type Backend } from '../operations/native.js'
import { validateBoolean, validateInteger, validateObject, validateOneOf } from '../checks/options.js'
import type { ControlOptions, PortOptions } from '../operations/port.js'

/** `core`: the ring of the core that the submission runs on. `thread`: a ring of this thread's own. */
export type Routing = 'core' | 'thread'

export interface EngineOptions {
  /**
   * Forces a backend; beats the environment variable AURAIO_BACKEND.
   * @defaultValue 'auto'
   */
  backend?: Backend | undefined
  /**
   * Which ring an operation goes to.
   * @defaultValue 'thread', which measures better (docs/decisions/0001-routing.md)
   */
  routing?: Routing | undefined
  /**
   * Operations that one ring may hold in flight, 1 to 32768; more wait in order. A ring of 1024 costs about 40 KiB of
   * locked memory (RLIMIT_MEMLOCK).
   * @defaultValue 1024
   */
  queueDepth?: number | undefined
  /**
   * Operations handed to the kernel in one system call, 1 to 1024, if that many come within one tick. More means less
   * CPU per operation; fewer means that the device starts sooner.
   * @defaultValue found by measuring, while it runs
   */
  submitBatch?: number | undefined
  /**
   * Registers leased memory, and files that are used often, with the kernel: operations on them cost less. Without, nothing
   * but the rings counts as locked memory (RLIMIT_MEMLOCK), and {@link Engine.registerBuffers} changes nothing.
   * @defaultValue true
   */
  register?: boolean | undefined
  /** The memory that `acquire` lends: one pool for the process. */
  pool?: PoolOptions | undefined
  /**
   * The p99 of completion latency, in milliseconds, above which concurrency on a device is cut at once; more than 0, at most
   * 60,000. Like all that governs depth, it is a wish for the devices of this engine's files, which other engines and threads
   * may share: of several guards the strictest holds, of policies the one that was asked for last, of maxima the smallest, and
   * of minima the largest under that.
   * @defaultValue 10, or on a device that is slower 20 times what a lone operation takes
   */
  guardP99Ms?: number | undefined
  /**
   * How the in-flight limit of a device is found: see {@link Policy}. A number is that limit, within the bounds, and no guard
   * cuts it.
   * @defaultValue 'knee'
   */
  policy?: Policy | undefined
  /**
   * The smallest in-flight limit, 1 to `queueDepth`. More than 1 costs latency where the device is slow.
   * @defaultValue 1
   */
  inFlightMin?: number | undefined
  /**
   * The largest in-flight limit, 1 to `queueDepth`. Less than the device needs costs throughput.
   * @defaultValue `queueDepth`; on the backend `threads` the number of its threads
   */
  inFlightMax?: number | undefined
  /**
   * The class of this engine's handles, but of those that are opened with another: which operations go first where some have
   * to wait for the device.
   * @defaultValue 'normal'
   */
  priority?: Priority | undefined
}

/** The options of an engine, checked, and in the shapes that its parts take. */
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

/** A wish as the port takes it. */
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
