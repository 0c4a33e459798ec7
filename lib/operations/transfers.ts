/** The options of a read or a write of a FileHandle, and what it resolves with. */
import type { PriorityOption } from '../control/wishes.js'
import type { Position } from '../checks/options.js'

export interface ReadResult<T extends NodeJS.ArrayBufferView> {
  /** 0 at the end of the file. */
  bytesRead: number
  buffer: T
}

export interface ReadvResult<T extends readonly NodeJS.ArrayBufferView[]> {
  bytesRead: number
  buffers: T
}

export interface WriteResult<T extends NodeJS.ArrayBufferView | string> {
  bytesWritten: number
  buffer: T
}

export interface WritevResult<T extends readonly NodeJS.ArrayBufferView[]> {
  bytesWritten: number
  buffers: T
}

/** Which part of a buffer to read into, and from where in the file. */
export interface ReadOptions extends PriorityOption {
  /**
   * Where in the buffer to begin.
   * @defaultValue 0
   */
  offset?: number | null | undefined
  /**
   * How many bytes to read at most. Without a buffer, one of this length is made, and cut to what was read.
   * @defaultValue `buffer.byteLength - offset`
   */
  length?: number | null | undefined
  /**
   * Where in the file to begin. null or -1 means the file's own position, which then moves on.
   * @defaultValue null
   */
  position?: Position | undefined
}

/** Which part of a buffer to write, and to where in the file. */
export interface WriteOptions extends PriorityOption {
  /**
   * Where in the buffer to begin.
   * @defaultValue 0
   */
  offset?: number | null | undefined
  /**
   * How many bytes to write.
   * @defaultValue `buffer.byteLength - offset`
   */
  length?: number | null | undefined
  /**
   * Where in the file to begin. null means the file's own position, which then moves on.
   * @defaultValue null
   */
  position?: Position | undefined
}
