/** The types of what `engine.stats()` and `engine.histogram()` answer: plain numbers, in a new object each time. */
import type { Priority } from '../control/wishes.js'

/** One ring, or what the other backends have in its place. Counts begin when the engine is made. */
export interface RingStats {
  /** The core that the ring belongs to; -1 if it belongs to none. */
  cpu: number
  /** The NUMA node of that core; -1 if the ring belongs to no core. */
  numaNode: number
  /** Operations that were handed to the ring. */
  submitted: number
  /** Operations that have completed. */
  completed: number
  /** Calls of `io_uring_enter`; 0 for the other backends. */
  enters: number
  /**
   * Reads and writes on handles opened with `direct: true` that were not aligned. Their bytes did not go straight between the
   * device and the buffer.
   */
  bounced: number
  /** Operations that the kernel holds now. */
  inFlight: number
  /** Operations that the kernel does not have yet. */
  queued: number
  /** Operations so far whose memory was registered: of a lease, or by `registerBuffers`. */
  fixedBuffers: number
  /** Operations so far whose file was registered. */
  fixedFiles: number
}

/**
 * The pool of leases. There is one for the process, so all engines tell the same numbers, with one exception: the free blocks
 * that this thread (the main thread or a Worker) keeps in JavaScript count as cached, and those that other threads keep count as
 * in use. On the backend `node` there is no pool, and all numbers but those of the blocks kept in JavaScript are 0.
 */
export interface PoolStats {
  /** Bytes mapped from the system. */
  bytesMapped: number
  /** Bytes of blocks that somebody holds. */
  bytesInUse: number
  /** Bytes free in the caches of threads, this thread's own included. */
  bytesCachedThreads: number
  /** Bytes free in the shards that threads share. */
  bytesCachedShards: number
  /** Bytes registered with the kernel: memory of the pool, and memory given to `registerBuffers`. */
  bytesRegistered: number
  /** The ceiling: `bytesMapped` never grows past it. */
  bytesMax: number
  /** Acquisitions that a thread's cache served. */
  hitsThread: number
  /** Acquisitions that a shard served. */
  hitsShared: number
  /** Acquisitions for which memory had to be found or mapped. */
  misses: number
  /** Acquisitions that wait for memory now (`acquireAsync`). */
  waiting: number
}

/**
 * One lane: a device in one mode (direct or buffered). All engines and threads of the process share its in-flight limit.
 * Percentiles are those of the last one to two seconds, in microseconds; 0 if nothing completed in that time.
 */
export interface LaneStats {
  /** Its number, for as long as the process lives. */
  id: number
  /** The disk (`nvme0n1`), or the file system if there is no disk under it. */
  device: string
  /** `'direct'`: past the page cache. `'buffered'`: through it. */
  mode: 'direct' | 'buffered'
  policy: 'knee' | 'aimd' | 'fixed'
  /** The phase of the control loop: `'climb'`, `'search'`, `'hold'` and others. */
  phase: string
  /** Operations that may be in flight on the device at once. */
  inFlightLimit: number
  /** Operations in flight on it now. */
  inFlight: number
  /** Operations that wait because the limit is reached. */
  queued: number
  /** How many SQEs are gathered for one system call. */
  submitBatch: number
  /** How many SQEs a system call has handed over lately, on average. */
  sqePerEnter: number
  /** The p99 of completion latency above which the limit is cut at once, in milliseconds. */
  guardP99Ms: number
  /** True if the device cannot keep the guard even with one operation in flight. The limit stays at its minimum then. */
  guardInfeasible: boolean
  /** How often the guard has cut the limit. */
  guardCuts: number
  /** Operations that the device has completed. */
  completed: number
  /** Bytes that those operations have moved. */
  bytes: number
  /** Reads that the page cache has served. No other number here counts them. */
  cacheHits: number
  /** From the system call to the completion. */
  completionP50Us: number
  /** From the system call to the completion. */
  completionP99Us: number
  /** From the system call to the completion. */
  completionP999Us: number
  /** From the submission to the completion, so with the wait behind the limit. */
  totalP99Us: number
  byClass: Record<Priority, ClassStats>
}

/** The operations of one priority on a lane. */
export interface ClassStats {
  completed: number
  /** Operations that wait because the limit is reached. */
  waiting: number
  /** The p99 of the latency from the submission to the completion, so with the wait behind the limit. */
  totalP99Us: number
}

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

/** {@link LaneStats}, as the native half gives it. */
export type NativeLaneStats = Omit<LaneStats, 'mode' | 'policy' | 'byClass'> & {
  mode: string
  policy: string
  /** In the order of the classes' numbers: high, normal, low. */
  byClass: { completed: number; waiting: number; totalP99Us: number }[]
}

/** {@link LatencyHistogram}, as the native half gives it. */
export type NativeHistogram = Omit<LatencyHistogram, 'percentiles' | 'encoded'> & {
  percentiles: number[][]
  encoded: Uint8Array
}

/** Gives the numbers of a lane the shape that users see. */
export function laneStats({ byClass, ...lane }: NativeLaneStats): LaneStats {
  const [high, normal, low] = byClass.map((numbers) => ({ ...numbers })) as [ClassStats, ClassStats, ClassStats]
  return { ...(lane as Omit<LaneStats, 'byClass'>), byClass: { high, normal, low } }
}
