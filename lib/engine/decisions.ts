/**
 * What the loops decided, told to whoever listens: the event `'phase'` of an engine, and the channel `auraio:control` of
 * `node:diagnostics_channel`. The native half only says that there is something to fetch; where nobody listens, nothing is
 * fetched and nothing made.
 *
 * Loops belong to lanes, and lanes to the process: an engine tells what the loops of all lanes decide, also those that only
 * others use. It hears of it when an operation of its own completes.
 */
import diagnostics from 'node:diagnostics_channel'
import type { EventEmitter } from 'node:events'
import type { ControlDecision, EngineEvents } from '../metrics/decision.js'
import type { Port } from '../operations/port.js'

type Named = Pick<ControlDecision, 'device' | 'mode'>

const channel = diagnostics.channel('auraio:control')

/** What this thread knows of the lanes. They never go, nor change their names. */
const lanes = new Map<number, Named>()

/** The last decision that the channel was told, so that several engines of a thread tell it once. */
let published: number | undefined

/** Tells the listeners of one engine, and those of the channel. */
export class Decisions {
  readonly #port: Port
  readonly #emitter: EventEmitter<EngineEvents>
  readonly #phases = new Map<number, string>()
  /** The last decision that this engine's listeners were told, or would have been. */
  #told: number
  #isScheduled = false

  constructor(port: Port, emitter: EventEmitter<EngineEvents>) {
    this.#port = port
    this.#emitter = emitter
    this.#told = port.decisionsSoFar()
    published ??= this.#told
  }

  /** There are decisions up to this number. Listeners are called later, not from here. */
  available(upTo: number): void {
    if (this.#isScheduled) return
    if (!channel.hasSubscribers) published = Math.max(published ?? 0, upTo)
    if (this.#emitter.listenerCount('phase') === 0) this.#told = Math.max(this.#told, upTo)
    if (Math.min(this.#told, published ?? 0) >= upTo) return
    this.#isScheduled = true
    queueMicrotask(this.#tell)
  }

  /** The same, of decisions that nothing but the caller's own doing may have led to. */
  look(): void {
    this.available(this.#port.decisionsSoFar())
  }

  readonly #tell = (): void => {
    this.#isScheduled = false
    for (const native of this.#port.decisions(Math.min(this.#told, published ?? 0))) {
      const decision = { ...this.#nameOf(native.lane), ...native }
      if (native.number > (published ?? 0)) {
        published = native.number
        channel.publish(decision) // what a subscriber throws goes its own way
      }
      if (native.number <= this.#told) continue
      this.#told = native.number
      if (this.#phases.get(native.lane) === native.phase) continue
      this.#phases.set(native.lane, native.phase)
      this.#emit(decision)
    }
  }

  /** What a listener throws is an uncaught exception, as in any callback; the listeners of other decisions are called. */
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
    for (const { id, device, mode } of this.#port.lanes()) lanes.set(id, { device, mode: mode as Named['mode'] })
    return lanes.get(lane) ?? { device: '', mode: 'buffered' }
  }
}
