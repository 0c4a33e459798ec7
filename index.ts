/** Everything that the package offers; what is not here is not public. */
export { Engine, type EngineOptions, type Routing } from './lib/engine.js'
export {
  FileHandle,
  type ReadOptions,
  type ReadResult,
  type ReadvResult,
  type WriteOptions,
  type WriteResult,
  type WritevResult,
} from './lib/file-handle.js'
export { open } from './lib/fs.js'
export type { CodedError, SystemError } from './lib/errors.js'
export type { Backend } from './lib/native.js'
export type { OpenOptions, Position } from './lib/options.js'
export type { EngineStats, RingStats } from './lib/stats.js'
export type { FileData, ReadFileOptions, WriteFileOptions } from './lib/whole-file.js'
