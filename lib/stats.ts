/** What `engine.stats()` tells: plain numbers, a fresh object each time. */

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

export interface EngineStats {
  /** `'uring'`, `'threads'`, or `'node'` for the portable one. */
  backend: string
  rings: RingStats[]
  pool: PoolStats
}
