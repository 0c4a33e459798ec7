/** What a control loop decided, as the listeners of an engine get it. */

/** One decision of a loop, with the numbers that led to it. Numbers that played no part in it are 0. */
export interface ControlDecision {
  /** Decisions of a process are numbered from 1: a gap is what came and went unseen. */
  number: number
  /** The lane's `id` in `engine.stats().lanes`. */
  lane: number
  device: string
  mode: 'direct' | 'buffered'
  /** When, in milliseconds of a monotonic clock; on Linux that of `process.hrtime()`. */
  at: number
  /** What the loop does from now on. */
  phase: string
  /** Why: `'plateau'`, `'guard'`, `'set'` and others. */
  reason: string
  /** The in-flight limit before. */
  from: number
  /** The in-flight limit that it found; while it tests, another is in force. */
  to: number
  /** Operations a second, where 64 KiB count as one more. */
  throughput: number
  p99Us: number
  meanUs: number
  /** The natural logarithm of the throughput compared with that at the other limit, or before. */
  gain: number
  /** What the gain was held against. */
  threshold: number
  /** The standard error of the gain. */
  error: number
  /** Completions that it rests on. */
  samples: number
}

/** The events of an engine. */
export interface EngineEvents {
  /** A loop has passed into another phase. */
  phase: [decision: ControlDecision]
}

/** One decision, as the native half gives it. The lane's number stands for the names of its device and mode. */
export type NativeDecision = Omit<ControlDecision, 'device' | 'mode'>
