/** The file that a sweep reads: one that is made for it, or one that the user names. */
import { existsSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { CommandError, codeOf } from '../error.js'
import { BLOCK_BYTES, allocateBlocks, isStamped } from './blocks.js'
import { chooseSize, createDataset, fill } from './dataset.js'
import { whyNotDirect } from './direct.js'
import { fileSystemOf, freeMemory } from './machine.js'
import { FILE_BYTES_MIN } from './options.js'
import type { BenchOptions } from './options.js'

/** How many blocks of a user's file are looked at, to tell whether `auraio bench` made it. */
const PROBES = 64

export interface SweepFile {
  /** The path or link to open it by. */
  source: string
  /** The path to show to the user. */
  path: string
  fileSystem: string
  fileBytes: number
  /** True if its blocks begin with their numbers. */
  isChecked: boolean
  /** Why it is read through the page cache; `undefined` if it is read past it. */
  directReason: string | undefined
  close(): Promise<void>
}

/** `onProgress` is told how much of a file has been made. If it throws, the making ends. */
export async function openSweepFile(
  { directory, fileBytes, sweep }: BenchOptions,
  onProgress: (fraction: number) => void,
): Promise<SweepFile> {
  if (sweep?.path === undefined) return makeTemporary(directory, fileBytes, onProgress)
  const path = resolve(sweep.path)
  if (!existsSync(path)) return makeNamed(path, fileBytes, onProgress)
  if (fileBytes !== undefined) throw new CommandError('--size is for a file that is not there yet', 2)
  return openNamed(path)
}

/**
 * Makes the file in a directory of its own, which the process removes on exit. On Linux the name is removed at once, so that nothing
 * can be left behind.
 */
async function makeTemporary(
  directory: string,
  asked: number | undefined,
  onProgress: (fraction: number) => void,
): Promise<SweepFile> {
  const fileBytes = await chooseSize(directory, asked, freeMemory())
  const dataset = await createDataset(directory)
  const file = await open(dataset.path, 'wx+')
  try {
    const link = `/proc/self/fd/${file.fd}`
    const fileSystem = fileSystemOf(directory)
    const directReason = await whyNotDirect(await withBlock(file, dataset.path), fileSystem)
    const isLinked = existsSync(link)
    if (isLinked) dataset.remove()
    await fill(file, directory, fileBytes, onProgress)
    const close = async (): Promise<void> => {
      await file.close()
      dataset.remove()
    }
    const source = isLinked ? link : dataset.path
    return { source, path: dataset.path, fileSystem, fileBytes, isChecked: true, directReason, close }
  } catch (error) {
    await file.close()
    dataset.remove()
    throw error
  }
}

/** Makes the file at the path that the user named. It stays there for the next sweep, unless it was not finished. */
async function makeNamed(
  path: string,
  asked: number | undefined,
  onProgress: (fraction: number) => void,
): Promise<SweepFile> {
  const directory = dirname(path)
  const fileBytes = await chooseSize(directory, asked, freeMemory())
  const file = await open(path, 'wx').catch((error: unknown) => {
    throw explain(error, path)
  })
  try {
    await fill(file, directory, fileBytes, onProgress)
  } catch (error) {
    await rm(path, { force: true })
    throw error
  } finally {
    await file.close()
  }
  return openNamed(path)
}

async function openNamed(path: string): Promise<SweepFile> {
  const file = await open(path, 'r').catch((error: unknown) => {
    throw explain(error, path)
  })
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new CommandError(`${path} is not a regular file`)
    const fileBytes = Math.floor(stats.size / BLOCK_BYTES) * BLOCK_BYTES
    if (fileBytes < FILE_BYTES_MIN) throw new CommandError(`${path} is smaller than 1 MiB: too little for a benchmark`)
    const fileSystem = fileSystemOf(dirname(path))
    const isChecked = await isOurs(file, fileBytes)
    const directReason = await whyNotDirect(path, fileSystem)
    const close = (): Promise<void> => Promise.resolve()
    return { source: path, path, fileSystem, fileBytes, isChecked, directReason, close }
  } finally {
    await file.close()
  }
}

/** Whether the first, the last and some blocks between begin with their numbers. */
async function isOurs(file: FileHandle, fileBytes: number): Promise<boolean> {
  const { bytes, words } = allocateBlocks(1)
  const last = fileBytes / BLOCK_BYTES - 1
  for (let probe = 0; probe <= PROBES; probe++) {
    const block = Math.floor((last * probe) / PROBES)
    await file.read(bytes, 0, BLOCK_BYTES, block * BLOCK_BYTES)
    if (!isStamped(words, 0, block)) return false
  }
  return true
}

/** Writes a block to the file, so that a direct read can be tried on it. */
async function withBlock(file: FileHandle, path: string): Promise<string> {
  await file.write(new Uint8Array(BLOCK_BYTES), 0, BLOCK_BYTES, 0)
  return path
}

function explain(error: unknown, path: string): unknown {
  const code = codeOf(error)
  if (code === undefined) return error
  return new CommandError(code === 'ENOENT' ? `${path} does not exist` : `${path} cannot be opened (${code})`)
}
