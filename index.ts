/** Everything that the package offers; what is not here is not public. */
export { Engine } from './lib/engine/engine.js'
export { FileHandle } from './lib/file/handle.js'
export { open } from './lib/fs/open.js'
export { lstat, stat } from './lib/fs/stat.js'
export { Lease } from './lib/memory/lease.js'
export type { InFlightBounds, Policy, Priority, PriorityOption } from './lib/control/wishes.js'
export { statsSchema } from './lib/metrics/schema.js'
export type { ControlDecision, EngineEvents } from './lib/metrics/decision.js'
export type { EngineOptions, Routing } from './lib/engine/options.js'
export type { CodedError, SystemError } from './lib/checks/errors.js'
export type { AcquireAsyncOptions, AcquireOptions, PoolOptions } from './lib/memory/memory.js'
export type { Backend } from './lib/operations/native.js'
export type { Position } from './lib/checks/options.js'
export type { CopyRangeOptions, CopyRangeResult } from './lib/file/copy-range.js'
export type { StatOptions } from './lib/file/stat-path.js'
export type { OpenOptions } from './lib/file/open-options.js'
export type { StatsNumber, StatsSchema } from './lib/metrics/schema.js'
export type { ClassStats, EngineStats, LaneStats, LatencyHistogram, PoolStats, RingStats } from './lib/metrics/stats.js'
export type {
  ReadOptions,
  ReadResult,
  ReadvResult,
  WriteOptions,
  WriteResult,
  WritevResult,
} from './lib/operations/transfers.js'
export type { HistogramOptions } from './lib/engine/tuning.js'
export type { FileData, ReadFileOptions, WriteFileOptions } from './lib/file/whole-file.js'
