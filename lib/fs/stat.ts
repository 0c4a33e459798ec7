/** The functions `stat` and `lstat` of the module. They use the default engine, with the arguments of `node:fs/promises`. */
import type { BigIntStats, Stats } from 'node:fs'
import { Engine } from '../engine/engine.js'
import type { StatOptions } from '../file/stat-path.js'

/**
 * What the system knows of the file at a path, on the default engine. See {@link Engine.stat}.
 *
 * @example
 * ```js
 * import { stat } from 'auraio'
 *
 * const { size, mtime } = await stat('data.bin')
 * console.log(size, mtime)
 * ```
 */
export function stat(
  path: string | Uint8Array | URL,
  options?: StatOptions & { bigint?: false | undefined },
): Promise<Stats>
export function stat(path: string | Uint8Array | URL, options: StatOptions & { bigint: true }): Promise<BigIntStats>
export function stat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats>
export function stat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats> {
  return Engine.default.stat(path, options)
}

/**
 * Like {@link stat}, but if the path is a symbolic link, of the link itself.
 *
 * @example
 * ```js
 * import { lstat } from 'auraio'
 *
 * const stats = await lstat('data.bin')
 * console.log(stats.isSymbolicLink())
 * ```
 */
export function lstat(
  path: string | Uint8Array | URL,
  options?: StatOptions & { bigint?: false | undefined },
): Promise<Stats>
export function lstat(path: string | Uint8Array | URL, options: StatOptions & { bigint: true }): Promise<BigIntStats>
export function lstat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats>
export function lstat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats> {
  return Engine.default.lstat(path, options)
}
