/**
 * Finds the repository's top folder, so that every script works from any directory.
 */
import { realpathSync } from 'node:fs'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The top folder of the repository. */
export const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))))

/** True if Node was started with this module, false if another module imported it. @param {string} url its `import.meta.url` */
export function isMain(url) {
  return process.argv[1] !== undefined && realpathSync(process.argv[1]) === realpathSync(fileURLToPath(url))
}
