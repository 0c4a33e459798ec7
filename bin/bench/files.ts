/** The handles that are measured. Each peer has one for cached reads and, if direct reads reach the device, one for those. */
import { constants } from 'node:fs'
import { open as openNode } from 'node:fs/promises'
import { open } from '../../index.js'
import { createDataset, fill, warm } from './dataset.js'
import { O_DIRECT, whyNotDirect } from './direct.js'
import type { Peer } from './peers.js'
import type { Readable } from './reads.js'

type Closeable = Readable & { close(): Promise<void> }

export interface BenchFiles {
  cached: Record<Peer, Readable>
  direct: Record<Peer, Readable> | undefined
  /** Why there are no handles for direct reads. */
  directReason: string | undefined
  close(): Promise<void>
}

/**
 * Makes the file and opens it for each peer. Then its name is removed, where the system allows that (not on Windows), so that nothing
 * can be left behind, not even by SIGKILL. Then the file is filled, and read into the page cache.
 */
export async function openFiles(
  directory: string,
  fileBytes: number,
  fileSystem: string,
  onProgress: (fraction: number) => void,
): Promise<BenchFiles> {
  const dataset = await createDataset(directory)
  const opened: Closeable[] = []
  const close = async (): Promise<void> => {
    for (const file of opened.splice(0)) await file.close()
    dataset.remove()
  }
  const openPair = async (flags: number): Promise<Record<Peer, Readable>> => {
    const ours = await open(dataset.path, flags)
    opened.push(ours)
    const theirs = await openNode(dataset.path, flags)
    opened.push(theirs)
    return { auraio: ours, 'node:fs/promises': theirs }
  }
  try {
    const writer = await openNode(dataset.path, 'wx+')
    opened.push(writer)
    await writer.truncate(fileBytes)
    const directReason = await whyNotDirect(dataset.path, fileSystem)
    const cached = await openPair(constants.O_RDONLY)
    const direct = directReason === undefined ? await openPair(constants.O_RDONLY | (O_DIRECT ?? 0)) : undefined
    if (process.platform !== 'win32') dataset.remove()
    await fill(writer, directory, fileBytes, (done) => onProgress(done * 0.9))
    await warm(writer, fileBytes)
    return { cached, direct, directReason, close }
  } catch (error) {
    await close()
    throw error
  }
}
