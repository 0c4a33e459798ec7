/** Finds out whether O_DIRECT reads of a file would measure its device. */
import { constants } from 'node:fs'
import { open } from 'node:fs/promises'
import { codeOf } from '../error.js'
import { BLOCK_BYTES, allocateBlocks } from './blocks.js'

/** `undefined` on systems without O_DIRECT, although the types say otherwise. */
export const O_DIRECT: number | undefined = constants.O_DIRECT

/** A clause that says why direct reads do not work; `undefined` if they do. */
export async function whyNotDirect(path: string, fileSystem: string): Promise<string | undefined> {
  if (O_DIRECT === undefined) return `${process.platform} has no O_DIRECT`
  // tmpfs accepts the flag since Linux 6.6, and ignores it.
  if (fileSystem === 'tmpfs' || fileSystem === 'ramfs')
    return `${fileSystem} keeps its files in memory, not on a device`
  try {
    const file = await open(path, constants.O_RDONLY | O_DIRECT)
    try {
      await file.read(allocateBlocks(1).bytes, 0, BLOCK_BYTES, 0)
    } finally {
      await file.close()
    }
    return undefined
  } catch (error) {
    if (codeOf(error) === 'EINVAL' || codeOf(error) === 'EOPNOTSUPP') return `${fileSystem} does not support O_DIRECT`
    throw error
  }
}
