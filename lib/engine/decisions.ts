/**
 * Tells listeners what the control loops have decided: by the event `'phase'` of an engine, and on the channel `auraio:control` of
 * `node:diagnostics_channel`. The native half says only that there are decisions to fetch. If nobody listens, none are fetched.
 *
 * Each lane has a control loop, and lanes belong to the process. So an engine tells the decisions of all lanes, also of those that
 * only other engines use. It hears of decisions when one of its own operations completes.
 */
import diagnostics from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import type { ControlDecision, EngineEvents } from '../metrics/decision.js'
import type { Port } from '../operations/port.js'

type Named = Pick<ControlDecision, 'device' | 'mode'>

const channel = diagnostics.channel('auraio:control')

/** The names of the lanes, as far as this thread has asked for them. A lane never goes away, nor changes its name. */
const lanes = new Map<number, Named>()

/** The last decision that the channel was told. Several engines of a thread share it, so that one of them tells it once. */
let published: number | undefined

/** Tells the listeners of one engine, and those of the channel. */
export class Decisions {
  readonly #port: Port
  readonly #emitter: EventEmitter<EngineEvents>
  readonly #phases = new Map<number, string>()
  /** The last decision that this engine's listeners were told, or that came while there were no listeners. */
  #told: number
  #isScheduled = false

  constructor(port: Port, emitter: EventEmitter<EngineEvents>) {
    this.#port = port
    this.#emitter = emitter
    this.#told = port.decisionsSoFar()
    published ??= this.#told
  }

  /** There are decisions up to this number. Listeners are called in a microtask, and not from here. */
  available(upTo: number): void {
    if (this.#isScheduled) return
    if (!channel.hasSubscribers) published = Math.max(published ?? 0, upTo)
    if (this.#emitter.listenerCount('phase') === 0) this.#told = Math.max(this.#told, upTo)
    if (Math.min(this.#told, published ?? 0) >= upTo) return
    this.#isScheduled = true
    queueMicrotask(this.#tell)
  }

  /** Tells the decisions that a change of a wish has led to. No operation completes then that would bring the news. */
  look(): void {
    this.available(this.#port.decisionsSoFar())
  }

  readonly #tell = (): void => {
    this.#isScheduled = false
    for (const native of this.#port.decisions(Math.min(this.#told, published ?? 0))) {
      const decision = { ...this.#nameOf(native.lane), ...native }
      if (native.number > (published ?? 0)) {
        published = native.number
        channel.publish(decision) // an error of a subscriber does not come back here
      }
      if (native.number <= this.#told) continue
      this.#told = native.number
      if (this.#phases.get(native.lane) === native.phase) continue
      this.#phases.set(native.lane, native.phase)
      this.#emit(decision)
    }
  }

  /** An error of a listener becomes an uncaught exception, as in any callback. The other decisions are told all the same. */
  #emit(decision: ControlDecision): void {
    try {
      this.#emitter.emit('phase', decision)
    } catch (error) {
      queueMicrotask(() => {
        throw error
      })
    }
  }

  #nameOf(lane: number): Named {
    const known = lanes.get(lane)
    if (known !== undefined) return known
    for (const { id, device, mode } of this.#port.lanes()) lanes.set(id, { device, mode })
    return lanes.get(lane) ?? { device: '', mode: 'buffered' }
  }
}
