/** The module's functions: those of the default engine, with the names and arguments of `node:fs/promises`. */
import { Engine } from '../engine/engine.js'
import type { FileHandle } from '../file/handle.js'
import type { OpenOptions } from '../file/open-options.js'

/**
 * Opens a file on the default engine. As in Node, plus an options object in the place of the mode.
 *
 * @example
 * ```js
 * import { open } from 'auraio'
 *
 * const file = await open('new.txt', 'w', 0o600)
 * await file.writeFile('hello')
 * await file.close()
 * ```
 */
export function open(
  path: string | Uint8Array | URL,
  flags: string | number = 'r',
  modeOrOptions: number | string | OpenOptions | null = null,
): Promise<FileHandle> {
  return Engine.default.open(path, flags, modeOrOptions)
}
