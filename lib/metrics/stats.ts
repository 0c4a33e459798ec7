/** The types of what `engine.stats()` and `engine.histogram()` answer: plain numbers, in a new object each time. */
import type { Priority } from '../control/wishes.js'
import type { CLASS, LANE, NumbersOf, POOL, RING } from './schema.js'

/** One ring, or what the other backends have in its place. Counts begin when the engine is made. */
export type RingStats = RingName & NumbersOf<typeof RING>

interface RingName {
  /** The core that the ring belongs to; -1 if it belongs to none. */
  cpu: number
  /** The NUMA node of that core; -1 if the ring belongs to no core. */
  numaNode: number
}

/**
 * The pool of leases. There is one for the process, so all engines tell the same numbers, with one exception: the free blocks
 * that this thread (the main thread or a Worker) keeps in JavaScript count as cached, and those that other threads keep count as
 * in use. On the backend `node` there is no pool, and all numbers but those of the blocks kept in JavaScript are 0.
 */
export type PoolStats = NumbersOf<typeof POOL>

/**
 * One lane: a device in one mode (direct or buffered). All engines and threads of the process share its in-flight limit.
 * Percentiles are those of the last one to two seconds, in microseconds; 0 if nothing completed in that time.
 */
export type LaneStats = LaneName & NumbersOf<typeof LANE>

interface LaneName {
  /** Its number, for as long as the process lives. */
  id: number
  /** The disk (`nvme0n1`), or the file system if there is no disk under it. */
  device: string
  /** `'direct'`: past the page cache. `'buffered'`: through it. */
  mode: 'direct' | 'buffered'
  policy: 'knee' | 'aimd' | 'fixed'
  /** The phase of the control loop: `'climb'`, `'search'`, `'hold'` and others. */
  phase: string
  byClass: Record<Priority, ClassStats>
}

/** The operations of one priority on a lane. */
export type ClassStats = NumbersOf<typeof CLASS>

/** The latencies of a lane since the process first used it, with a precision of 1 %. */
export interface LatencyHistogram {
  /** How many operations it has. */
  count: number
  minUs: number
  maxUs: number
  meanUs: number
  stdDevUs: number
  /** Pairs of a percentile, 0 to 100, and the latency that this share of the operations did not exceed. */
  percentiles: [percentile: number, us: number][]
  /** The whole histogram in nanoseconds: HdrHistogram's compressed format (V2) as base64, which its tools can read. */
  encoded: string
}

export interface EngineStats {
  /** `'uring'`, `'threads'`, or `'node'` for the portable one. */
  backend: string
  rings: RingStats[]
  /**
   * The lanes of the process, also those that only other engines and threads use. A lane stays when its files are closed. The
   * backend `node` has none.
   */
  lanes: LaneStats[]
  pool: PoolStats
}

/** {@link LaneStats}, as the native half gives it: `byClass` in the order of the classes' numbers, high, normal, low. */
export type NativeLaneStats = Omit<LaneStats, 'byClass'> & { byClass: [ClassStats, ClassStats, ClassStats] }

/** {@link LatencyHistogram}, as the native half gives it. */
export type NativeHistogram = Omit<LatencyHistogram, 'percentiles' | 'encoded'> & {
  percentiles: number[][]
  encoded: Uint8Array
}

/** Gives the numbers of a lane the shape that users see. */
export function laneStats({ byClass: [high, normal, low], ...lane }: NativeLaneStats): LaneStats {
  return { ...lane, byClass: { high, normal, low } }
}
