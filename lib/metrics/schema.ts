/**
 * The numbers of `engine.stats()`: one table, from which the types come too. The core declares the same numbers
 * (`auraio::Number`), and a test compares the two. To add a number, declare it in the core and add its row here.
 */

/** What one number means. */
export interface StatsNumber {
  /** A counter only grows. A gauge is a state at this moment. */
  readonly kind: 'counter' | 'gauge'
  /** What one of it is. A `'flag'` is true or false. */
  readonly unit:
    'operations' | 'entries' | 'calls' | 'acquisitions' | 'bytes' | 'events' | 'milliseconds' | 'microseconds' | 'flag'
  readonly documentation: string
}

/** The numbers of one table, under the same names. */
export type NumbersOf<Table extends Record<string, StatsNumber>> = {
  -readonly [Name in keyof Table]: Table[Name]['unit'] extends 'flag' ? boolean : number
}

export const RING = {
  submitted: {
    kind: 'counter',
    unit: 'operations',
    documentation: 'Operations that were handed to the ring.',
  },
  completed: { kind: 'counter', unit: 'operations', documentation: 'Operations that have completed.' },
  enters: {
    kind: 'counter',
    unit: 'calls',
    documentation: 'Calls of io_uring_enter; 0 for backends that make none.',
  },
  bounced: {
    kind: 'counter',
    unit: 'operations',
    documentation:
      "Transfers on files opened for direct I/O that were not aligned. Their bytes did not go straight between the device and the caller's memory.",
  },
  inFlight: {
    kind: 'gauge',
    unit: 'operations',
    documentation: 'Operations that the kernel, or a thread, holds now.',
  },
  queued: { kind: 'gauge', unit: 'operations', documentation: 'Operations that wait to be handed over.' },
  fixedBuffers: {
    kind: 'counter',
    unit: 'operations',
    documentation: 'Operations so far whose memory was registered.',
  },
  fixedFiles: { kind: 'counter', unit: 'operations', documentation: 'Operations so far whose file was registered.' },
} as const

export const LANE = {
  inFlightLimit: {
    kind: 'gauge',
    unit: 'operations',
    documentation: 'Operations that may be in flight on the device at once, for all rings of the process.',
  },
  inFlight: {
    kind: 'gauge',
    unit: 'operations',
    documentation:
      'Operations that have a place now, as last reported by the rings: in flight, or about to be handed over.',
  },
  queued: {
    kind: 'gauge',
    unit: 'operations',
    documentation: 'Operations that wait behind the limit, as last reported by the rings.',
  },
  submitBatch: {
    kind: 'gauge',
    unit: 'entries',
    documentation: 'Entries that are gathered for one system call just now.',
  },
  sqePerEnter: {
    kind: 'gauge',
    unit: 'entries',
    documentation: 'Entries handed over by one system call, on average lately.',
  },
  guardP99Ms: {
    kind: 'gauge',
    unit: 'milliseconds',
    documentation: 'The p99 of completion latency above which the limit is cut at once.',
  },
  guardInfeasible: {
    kind: 'gauge',
    unit: 'flag',
    documentation:
      'Whether the device cannot keep the guard even with one operation in flight. The limit stays at its minimum then.',
  },
  guardCuts: { kind: 'counter', unit: 'events', documentation: 'How often the guard has cut the limit.' },
  completed: { kind: 'counter', unit: 'operations', documentation: 'Operations that the device has completed.' },
  bytes: { kind: 'counter', unit: 'bytes', documentation: 'Bytes that those operations have moved.' },
  cacheHits: {
    kind: 'counter',
    unit: 'operations',
    documentation: 'Reads that the page cache has served. No other number of the lane counts them.',
  },
  completionP50Us: {
    kind: 'gauge',
    unit: 'microseconds',
    documentation: 'The median of the latency from the system call to the completion.',
  },
  completionP99Us: {
    kind: 'gauge',
    unit: 'microseconds',
    documentation: 'The p99 of the latency from the system call to the completion.',
  },
  completionP999Us: {
    kind: 'gauge',
    unit: 'microseconds',
    documentation: 'The p99.9 of the latency from the system call to the completion.',
  },
  totalP99Us: {
    kind: 'gauge',
    unit: 'microseconds',
    documentation: 'The p99 of the latency from the submission to the completion, so with the wait behind the limit.',
  },
} as const

export const CLASS = {
  completed: { kind: 'counter', unit: 'operations', documentation: 'Operations that the device has completed.' },
  waiting: {
    kind: 'gauge',
    unit: 'operations',
    documentation: 'Operations that wait behind the limit, as last reported by the rings.',
  },
  totalP99Us: {
    kind: 'gauge',
    unit: 'microseconds',
    documentation:
      'The p99 of the latency from the submission to the completion, in the last one to two seconds; 0 where nothing completed.',
  },
} as const

export const POOL = {
  bytesMapped: {
    kind: 'gauge',
    unit: 'bytes',
    documentation: 'Bytes mapped from the system: whole slabs of 2 MiB.',
  },
  bytesInUse: {
    kind: 'gauge',
    unit: 'bytes',
    documentation: 'Bytes of blocks that somebody holds: the sum of their capacities.',
  },
  bytesCachedThreads: {
    kind: 'gauge',
    unit: 'bytes',
    documentation: 'Bytes free in the caches of threads (L1).',
  },
  bytesCachedShards: {
    kind: 'gauge',
    unit: 'bytes',
    documentation: 'Bytes free in the shards that threads share (L2), and as whole slabs.',
  },
  bytesRegistered: {
    kind: 'gauge',
    unit: 'bytes',
    documentation: 'Bytes registered with the kernel, once for each ring.',
  },
  bytesMax: {
    kind: 'gauge',
    unit: 'bytes',
    documentation:
      'The ceiling: how many bytes may be mapped. More are mapped only if the ceiling was lowered afterwards.',
  },
  hitsThread: {
    kind: 'counter',
    unit: 'acquisitions',
    documentation: "Acquisitions that the thread's own cache served.",
  },
  hitsShared: {
    kind: 'counter',
    unit: 'acquisitions',
    documentation: 'Acquisitions that the cache could not serve, and a shard of the NUMA node could.',
  },
  misses: {
    kind: 'counter',
    unit: 'acquisitions',
    documentation: 'Acquisitions that needed another slab, or failed.',
  },
  waiting: { kind: 'gauge', unit: 'acquisitions', documentation: 'Acquisitions that wait for memory now.' },
} as const

/** {@link statsSchema}. */
export interface StatsSchema {
  readonly rings: typeof RING
  readonly lanes: typeof LANE
  readonly byClass: typeof CLASS
  readonly pool: typeof POOL
}

/**
 * What the numbers of `engine.stats()` mean: a table for the rings, the lanes, the classes of a lane, and the pool. In each, every
 * number has its kind, its unit and a sentence under its name. What exports metrics can walk it.
 *
 * @example
 * ```js
 * import { Engine, statsSchema } from 'auraio'
 *
 * const { rings } = Engine.default.stats()
 * for (const [name, { kind, documentation }] of Object.entries(statsSchema.rings)) {
 *   console.log(`# HELP auraio_ring_${name} ${documentation}`)
 *   console.log(`# TYPE auraio_ring_${name} ${kind}`)
 *   for (const ring of rings) console.log(`auraio_ring_${name}{cpu="${ring.cpu}"} ${ring[name]}`)
 * }
 * ```
 */
export const statsSchema: StatsSchema = { rings: RING, lanes: LANE, byClass: CLASS, pool: POOL }
