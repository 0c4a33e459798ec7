/** What `engine.stats()` and `engine.histogram()` tell: plain numbers, a fresh object each time. */
import type { Priority } from '../control/wishes.js'

/** One ring, or for the other backends what stands in its place. Counts are since the engine was made. */
export interface RingStats {
  /** The core that the ring belongs to; -1 where it belongs to none. */
  cpu: number
  /** The NUMA node of that core; -1 where it belongs to none. */
  numaNode: number
  /** Operations handed over. */
  submitted: number
  /** Operations that have come back. */
  completed: number
  /** Calls of `io_uring_enter`; 0 for the other backends. */
  enters: number
  /**
   * Reads and writes on handles opened with `direct: true` that were not aligned, and so were not made straight between the
   * device and the buffer.
   */
  bounced: number
  /** Operations that the kernel holds now. */
  inFlight: number
  /** Operations that wait for their turn. */
  queued: number
  /** Operations so far whose memory was registered: of a lease, or by `registerBuffers`. */
  fixedBuffers: number
  /** Operations so far whose file was registered. */
  fixedFiles: number
}

/**
 * The pool of leases: one for the process, so every engine tells the same, but for what this thread (the main thread or a
 * Worker) keeps for itself in JavaScript. Blocks that other threads keep so count as in use. On the backend `node` there
 * is no such pool, and all but what is kept is 0.
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
  /** Bytes registered with the kernel: of the pool, and by `registerBuffers`. */
  bytesRegistered: number
  /** What is mapped never exceeds this. */
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
 * One lane: a device in one mode, whose in-flight limit all engines and threads of the process share. Percentiles are of the
 * last one to two seconds, in microseconds; 0 where nothing completed.
 */
export interface LaneStats {
  /** Its number, for as long as the process lives. */
  id: number
  /** The disk (`nvme0n1`), or the file system where there is no disk under it. */
  device: string
  /** Past the page cache, or through it. */
  mode: 'direct' | 'buffered'
  policy: 'knee' | 'aimd' | 'fixed'
  /** What the loop is doing: `'climb'`, `'search'`, `'hold'` and others. */
  phase: string
  /** Operations that may be in flight on the device at once. */
  inFlightLimit: number
  /** Operations in flight on it now. */
  inFlight: number
  /** Operations that wait behind the limit. */
  queued: number
  /** Entries that are gathered for one system call. */
  submitBatch: number
  /** Entries that a system call has handed over lately, on average. */
  sqePerEnter: number
  /** The p99 above which concurrency is cut at once, in milliseconds. */
  guardP99Ms: number
  /** The device cannot keep the guard even with one operation in flight; the limit stays there. */
  guardInfeasible: boolean
  /** How often the guard has cut. */
  guardCuts: number
  /** Operations that the device has completed. */
  completed: number
  /** Bytes that those have moved. */
  bytes: number
  /** Reads that the page cache has served, which are in no other number here. */
  cacheHits: number
  /** From the system call to the completion. */
  completionP50Us: number
  /** From the system call to the completion. */
  completionP99Us: number
  /** From the system call to the completion. */
  completionP999Us: number
  /** With the wait behind the limit. */
  totalP99Us: number
  byClass: Record<Priority, ClassStats>
}

/** The operations of one class on a lane. */
export interface ClassStats {
  completed: number
  /** Operations that wait behind the limit. */
  waiting: number
  /** Latency with the wait behind the limit. */
  totalP99Us: number
}

/** Latencies of a lane since the process first used it, told apart by 1 %. */
export interface LatencyHistogram {
  /** Operations. */
  count: number
  minUs: number
  maxUs: number
  meanUs: number
  stdDevUs: number
  /** Pairs of a percentile, 0 to 100, and the microseconds that so many operations stayed within. */
  percentiles: [percentile: number, us: number][]
  /** All of it, in HdrHistogram's compressed form (V2) as base64, which the tools of HdrHistogram read; in nanoseconds. */
  encoded: string
}

export interface EngineStats {
  /** `'uring'`, `'threads'`, or `'node'` for the portable one. */
  backend: string
  rings: RingStats[]
  /**
   * The lanes of the process, those of other engines and threads among them; they stay when their files are closed. None on the
   * backend `node`.
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
