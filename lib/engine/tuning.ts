/**
 * What a user of an engine sets and sees of the loops that govern depth, at run time. `Engine` is made on top of it; wishes
 * are checked here, handed to the port, and kept to be asked for again.
 */
import { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import {
  validateBounds,
  validateGuard,
  validatePolicy,
  validatePriority,
  type EngineWish,
  type HandleWish,
  type InFlightBounds,
  type Policy,
  type Priority,
} from '../control/wishes.js'
import type { EngineEvents } from '../metrics/decision.js'
import { Decisions } from './decisions.js'
import { controlOf, type CheckedOptions } from './options.js'
import { engineClosed, invalidArgValue } from '../checks/errors.js'
import { validateInteger, validateObject, validateOneOf } from '../checks/options.js'
import type { Port } from '../operations/port.js'
import type { LatencyHistogram } from '../metrics/stats.js'

/** Which latencies `engine.histogram` is to tell. */
export interface HistogramOptions {
  /** The `id` of one of `engine.stats().lanes`, or the `lane` of a handle. */
  lane: number
  /**
   * `'completion'`: from the system call to the completion; `'total'`: with the wait behind the limit.
   * @defaultValue 'completion'
   */
  kind?: 'completion' | 'total' | undefined
}

/** Between an engine and its base: what its parts call. */
export interface Tuning {
  attach: (port: Port) => void
  /** From now on, nothing can be set. */
  end: () => void
  /** There are decisions to tell, up to this number. */
  available: (upTo: number) => void
  /** What a file is asked for that nobody asked anything for. */
  handleWish: () => HandleWish
}

let tuningOf: (engine: Tunable) => Tuning

/** For {@link Engine}: what is not for its users. */
export function tuning(engine: Tunable): Tuning {
  return tuningOf(engine)
}

/** The half of an {@link Engine} that governs depth. */
export class Tunable extends EventEmitter<EngineEvents> {
  readonly #queueDepth: number
  #wish: EngineWish
  #port: Port | undefined
  #decisions: Decisions | undefined
  #isClosed = false

  static {
    tuningOf = (engine) => ({
      attach: (port) => {
        engine.#port = port
        engine.#decisions = new Decisions(port, engine)
      },
      end: () => {
        engine.#isClosed = true
      },
      available: (upTo) => engine.#decisions?.available(upTo),
      handleWish: () => ({ priority: engine.#wish.priority, guardP99Ms: undefined }),
    })
  }

  /** @internal */
  constructor({ port, wish }: CheckedOptions) {
    super()
    this.#queueDepth = port.queueDepth
    this.#wish = wish
  }

  /**
   * The p99 of completion latency, in milliseconds, above which concurrency is cut at once on the devices that this engine
   * uses; undefined is automatic. Can be set under load.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ guardP99Ms: 2 })
   * engine.guardP99Ms = 5
   * engine.guardP99Ms = undefined
   * await engine.close()
   * ```
   */
  get guardP99Ms(): number | undefined {
    return this.#wish.guardP99Ms
  }

  set guardP99Ms(milliseconds: number | undefined) {
    this.#set({ guardP99Ms: validateGuard(milliseconds, 'guardP99Ms') })
  }

  /**
   * How the in-flight limit is found: `'knee'`, `'aimd'`, or a number that is the limit. Can be set under load: what is in
   * flight finishes, and what waits goes on by the new one.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ policy: 32 })
   * engine.policy = 'knee'
   * await engine.close()
   * ```
   */
  get policy(): Policy {
    return this.#wish.policy
  }

  set policy(policy: Policy) {
    this.#set({ policy: validatePolicy(policy, 'policy') })
  }

  /**
   * The class of the handles that are opened from now on without one of their own. Handles that are open keep theirs: set
   * {@link FileHandle.priority}.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ priority: 'low' })
   * const bulk = await engine.open('data.bin')
   * engine.priority = 'high'
   * const interactive = await engine.open('data.bin')
   * console.log(bulk.priority, interactive.priority) // low high
   * await engine.close()
   * ```
   */
  get priority(): Priority {
    return this.#wish.priority
  }

  set priority(priority: Priority) {
    if (this.#isClosed) throw engineClosed()
    this.#wish = { ...this.#wish, priority: validatePriority(priority, 'priority') }
  }

  /**
   * The smallest in-flight limit that this engine asks for; undefined is the usual, 1.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.inFlightMin) // undefined
   * ```
   */
  get inFlightMin(): number | undefined {
    return this.#wish.inFlightMin
  }

  /**
   * The largest in-flight limit that this engine asks for; undefined is the usual, as many as a ring or the threads hold.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.inFlightMax) // undefined
   * ```
   */
  get inFlightMax(): number | undefined {
    return this.#wish.inFlightMax
  }

  /**
   * Sets the smallest and the largest in-flight limit, each 1 to the engine's `queueDepth`; what is left out stays. Can be
   * called under load.
   *
   * @throws ERR_OUT_OF_RANGE where the smallest is above the largest; then nothing has changed.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine()
   * engine.setInFlight({ min: 4, max: 64 })
   * engine.setInFlight({ max: 128 })
   * console.log(engine.inFlightMin, engine.inFlightMax) // 4 128
   * await engine.close()
   * ```
   */
  setInFlight(bounds: InFlightBounds): void {
    const plain = validateObject(bounds, 'bounds')
    this.#set(validateBounds(plain, ['bounds.min', 'bounds.max'], this.#queueDepth, this.#wish))
  }

  /**
   * The latencies of one lane since the process first used it, of all engines and threads. The percentiles of
   * {@link Engine.stats} are of the last moments.
   *
   * @throws ERR_INVALID_ARG_VALUE for a lane that is not there: lanes never go, so its number is a mistake. On the backend
   * `node` no lane is there.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('data.bin')
   * await file.read()
   * if (file.lane !== undefined) {
   *   const { count, percentiles } = Engine.default.histogram({ lane: file.lane, kind: 'total' })
   *   console.log(count, percentiles.at(-1))
   * }
   * await file.close()
   * ```
   */
  histogram(options: HistogramOptions): LatencyHistogram {
    const { lane, kind = 'completion' } = validateObject(options, 'options') as HistogramOptions
    const id = validateInteger(lane, 'options.lane', 0)
    const which = validateOneOf(kind, 'options.kind', ['completion', 'total'])
    const found = id < 2 ** 32 ? this.#port?.histogram(id, which) : undefined
    if (!found) throw invalidArgValue('options.lane', lane, 'must be the id of a lane in stats().lanes')
    const percentiles = found.percentiles as LatencyHistogram['percentiles']
    return { ...found, percentiles, encoded: Buffer.from(found.encoded).toString('base64') }
  }

  /** Asks for something else than before. */
  #set(wish: Partial<EngineWish>): void {
    if (this.#isClosed) throw engineClosed()
    this.#wish = { ...this.#wish, ...wish }
    const { policy, inFlightFixed, inFlightMin, inFlightMax, guardP99Ms } = controlOf(this.#wish)
    const asked = wish.policy === undefined ? '' : policy // of several engines' policies, the one asked for last is in force
    this.#port?.setControl(asked, inFlightFixed, inFlightMin, inFlightMax, guardP99Ms)
    this.#decisions?.look()
  }
}
