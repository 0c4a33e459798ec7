/** What a control loop decided, as the listeners of an engine get it. */

/** One decision of a control loop, with the numbers that led to it. A number that played no part in it is 0. */
export interface ControlDecision {
  /** The decisions of a process are numbered from 1. A gap means that some were dropped before they could be told. */
  number: number
  /** The lane's `id` in `engine.stats().lanes`. */
  lane: number
  device: string
  mode: 'direct' | 'buffered'
  /** When it was taken, in milliseconds of a monotonic clock; on Linux this is the clock of `process.hrtime()`. */
  at: number
  /** The phase that the loop is in from now on. */
  phase: string
  /** Why the loop decided so: `'plateau'`, `'guard'`, `'set'` and others. */
  reason: string
  /** The in-flight limit before. */
  from: number
  /** The in-flight limit that the loop has found. While the loop tests other limits, another one is in force. */
  to: number
  /** Operations a second. Each 64 KiB that an operation moves count as one more. */
  throughput: number
  p99Us: number
  meanUs: number
  /** The natural logarithm of the throughput compared with that at the other limit, or before. */
  gain: number
  /** What the gain was compared with. */
  threshold: number
  /** The standard error of the gain. */
  error: number
  /** How many completions the numbers rest on. */
  samples: number
}

/** The events of an engine. */
export interface EngineEvents {
  /** A loop has passed into another phase. */
  phase: [decision: ControlDecision]
}

/** One decision, as the native half gives it. The lane's number stands for the names of its device and mode. */
export type NativeDecision = Omit<ControlDecision, 'device' | 'mode'>
