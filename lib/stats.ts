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
}

export interface EngineStats {
  /** `'uring'`, `'threads'`, or `'node'` for the portable one. */
  backend: string
  rings: RingStats[]
}
