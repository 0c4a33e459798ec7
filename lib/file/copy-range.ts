/** Copies a range of one open file to another: a loop of copy_file_range(2), which may copy less than it is asked for. */
import { TRANSFER_MAX, validateInteger, validateObject, validateOffset } from '../checks/options.js'
import type { OpenFile } from './open-file.js'
import { STAT_SIZE } from './stat.js'

export interface CopyRangeOptions {
  /**
   * Where in the source to begin.
   * @defaultValue 0
   */
  start?: number | bigint | undefined
  /**
   * How many bytes to copy at most. null and undefined mean up to the end of the source.
   * @defaultValue null
   */
  length?: number | null | undefined
  /**
   * Where in the target to begin.
   * @defaultValue 0
   */
  position?: number | bigint | undefined
}

export interface CopyRangeResult {
  /** Fewer than asked for if the source ends before, or if the rest failed. */
  bytesCopied: number
}

/** Neither file is closed before the copy ends, whoever asks for it meanwhile. */
export async function copyRange(source: OpenFile, target: OpenFile, options: unknown): Promise<CopyRangeResult> {
  const { start, length, position } = options === undefined ? {} : (validateObject(options, 'options') as Unchecked)
  const from = validateOffset(start, 'options.start')
  const to = validateOffset(position, 'options.position')
  const most = length === undefined || length === null ? Infinity : validateInteger(length, 'options.length', 0)
  source.hold()
  target.hold()
  try {
    return { bytesCopied: await copySteps(source, from, target, to, most) }
  } finally {
    source.release()
    target.release()
  }
}

type Unchecked = { readonly [K in keyof CopyRangeOptions]: unknown }

async function copySteps(source: OpenFile, from: number, target: OpenFile, to: number, most: number): Promise<number> {
  if (most === 0) return 0
  const { slots } = source
  const size = Number((await slots.stat(source, false))[STAT_SIZE])
  // A copy within one file may make the file longer, so the end is where it was at first. Files of size 0 (/proc) may have bytes.
  const length = size > 0 ? Math.min(most, size - from) : most
  let copied = 0
  try {
    while (copied < length) {
      const step = Math.min(length - copied, TRANSFER_MAX)
      const bytes = await slots.perform('copyFileRange', [
        source.handle,
        from + copied,
        target.handle,
        to + copied,
        step,
      ])
      if (bytes === 0) break
      copied += bytes
    }
  } catch (error) {
    if (copied === 0) throw error // else the next copy has the same error
  }
  return copied
}
