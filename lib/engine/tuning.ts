/**
 * What a user of an engine sets and sees of the control loops while the engine runs. Wishes are checked here, handed to the
 * port, and kept, since the port takes all of them at once whenever one changes.
 */
import { Buffer } from 'node:buffer'
import type { EventEmitter } from 'node:events'
import { engineClosed, invalidArgValue } from '../checks/errors.js'
import { validateInteger, validateObject, validateOneOf } from '../checks/options.js'
import {
  validateBounds,
  validateGuard,
  validatePolicy,
  validatePriority,
  type HandleWish,
  type Wish,
} from '../control/wishes.js'
import type { EngineEvents } from '../metrics/decision.js'
import type { LatencyHistogram } from '../metrics/stats.js'
import type { Port } from '../operations/port.js'
import { Decisions } from './decisions.js'
import type { CheckedOptions } from './options.js'

/** Which latencies `engine.histogram` is to tell. */
export interface HistogramOptions {
  /** The `id` of one of `engine.stats().lanes`, or the `lane` of a handle. */
  lane: number
  /**
   * `'completion'` is the time from the system call to the completion. `'total'` also has the wait behind the in-flight limit.
   * @defaultValue 'completion'
   */
  kind?: 'completion' | 'total' | undefined
}

/** The wishes of one engine, and its share of what the control loops tell. */
export class Tuning {
  readonly #port: Port
  readonly #queueDepth: number
  readonly #decisions: Decisions
  #wish: Wish
  #isClosed = false

  /** Events go to `emitter`, which is the engine. */
  constructor(port: Port, emitter: EventEmitter<EngineEvents>, options: CheckedOptions) {
    this.#port = port
    this.#queueDepth = options.port.queueDepth
    this.#wish = options.port.wish
    this.#decisions = new Decisions(port, emitter)
  }

  /** What the engine wishes for now. */
  get wish(): Readonly<Wish> {
    return this.#wish
  }

  /** What the engine wishes for a file that has no wishes of its own. */
  handleWish(): HandleWish {
    return { priority: this.#wish.priority, guardP99Ms: undefined }
  }

  /** There are decisions to tell, up to this number. */
  available(upTo: number): void {
    this.#decisions.available(upTo)
  }

  /** From now on, every change of a wish throws. */
  end(): void {
    this.#isClosed = true
  }

  setGuard(milliseconds: unknown): void {
    this.#change({ guardP99Ms: validateGuard(milliseconds, 'guardP99Ms') })
  }

  setPolicy(policy: unknown): void {
    this.#change({ policy: validatePolicy(policy, 'policy') })
  }

  /** The port need not know: the priority is that of the handles which are opened from now on. */
  setPriority(priority: unknown): void {
    this.#assertOpen()
    this.#wish = { ...this.#wish, priority: validatePriority(priority, 'priority') }
  }

  setBounds(bounds: unknown): void {
    const plain = validateObject(bounds, 'bounds')
    this.#change(validateBounds(plain, ['bounds.min', 'bounds.max'], this.#queueDepth, this.#wish))
  }

  histogram(options: unknown): LatencyHistogram {
    const { lane, kind = 'completion' } = validateObject(options, 'options') as HistogramOptions
    const id = validateInteger(lane, 'options.lane', 0)
    const which = validateOneOf(kind, 'options.kind', ['completion', 'total'])
    const found = id < 2 ** 32 ? this.#port.histogram(id, which) : undefined
    if (!found) throw invalidArgValue('options.lane', lane, 'must be the id of a lane in stats().lanes')
    const percentiles = found.percentiles as LatencyHistogram['percentiles']
    return { ...found, percentiles, encoded: Buffer.from(found.encoded).toString('base64') }
  }

  #change(wish: Partial<Wish>): void {
    this.#assertOpen()
    this.#wish = { ...this.#wish, ...wish }
    // Of several engines' policies the one that was asked for last is in force, so a policy is sent only when it is set.
    this.#port.setWish({ ...this.#wish, policy: wish.policy })
    this.#decisions.look()
  }

  #assertOpen(): void {
    if (this.#isClosed) throw engineClosed()
  }
}
