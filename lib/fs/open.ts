/** The function `open` of the module. It opens files on the default engine, with the arguments of `node:fs/promises`. */
import { Engine } from '../engine/engine.js'
import type { FileHandle } from '../file/handle.js'
import type { OpenOptions } from '../file/open-options.js'

/**
 * Opens a file on the default engine. The arguments are those of Node, but an options object may take the place of the mode.
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
