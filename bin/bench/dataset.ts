/**
 * The file that is read. It is made in a private directory and filled. One sequential read then checks it and brings it into the page
 * cache. If the directory is missing, not writable or too full, the error is one sentence that says so.
 */
import { rmSync } from 'node:fs'
import { mkdtemp, statfs } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { CommandError, codeOf } from '../error.js'
import { BLOCK_BYTES, allocateBlocks, fillRandom, isStamped, stamp } from './blocks.js'
import { FILE_BYTES_MIN } from './options.js'
import { formatSize } from './units.js'

const FILE_BYTES_DEFAULT = 1024 ** 3
const CHUNK_BLOCKS = 4096 // 16 MiB: larger than the window of any file system's compression

export interface Dataset {
  path: string
  /** Removes the directory and the file. On POSIX, open handles keep working. It may be called again. */
  remove(): void
}

/** The size of the file: the size that was asked for if there is room, or else one that suits the machine. */
export async function chooseSize(directory: string, asked: number | undefined, freeMemory: number): Promise<number> {
  const free = await freeSpace(directory)
  const bytes = asked ?? Math.min(FILE_BYTES_DEFAULT, free / 4, freeMemory / 4)
  const whole = Math.floor(bytes / BLOCK_BYTES) * BLOCK_BYTES
  if (whole > free) {
    throw new CommandError(`no room in ${directory}: ${formatSize(free)} free, ${formatSize(whole)} asked for`)
  }
  if (whole < FILE_BYTES_MIN) {
    const found = `${formatSize(free)} of space and ${formatSize(freeMemory)} of memory`
    throw new CommandError(`no room in ${directory}: ${found} free are too little for a benchmark`)
  }
  return whole
}

async function freeSpace(directory: string): Promise<number> {
  const { bavail, blocks, bsize } = await statfs(directory).catch((error: unknown) => {
    throw explain(error, directory)
  })
  return blocks === 0 ? Infinity : bavail * bsize // some FUSE file systems answer 0 blocks: the room is unknown
}

/** Makes the private directory. The process removes it on exit, unless a signal kills the process. */
export async function createDataset(directory: string): Promise<Dataset> {
  const own = await mkdtemp(join(resolve(directory), 'auraio-bench-')).catch((error: unknown) => {
    throw explain(error, directory)
  })
  const remove = (): void => rmSync(own, { recursive: true, force: true })
  process.once('exit', remove)
  return { path: join(own, 'data'), remove }
}

/** Writes the blocks, and waits until they are on the device. So no write-back runs while reads are measured. */
export async function fill(
  file: FileHandle,
  directory: string,
  fileBytes: number,
  onProgress: (done: number) => void,
): Promise<void> {
  const memory = allocateBlocks(CHUNK_BLOCKS)
  fillRandom(memory)
  const blocks = fileBytes / BLOCK_BYTES
  try {
    for (let first = 0; first < blocks; first += CHUNK_BLOCKS) {
      const count = Math.min(CHUNK_BLOCKS, blocks - first)
      for (let at = 0; at < count; at++) stamp(memory.words, at, first + at)
      await writeAll(file, memory.bytes.subarray(0, count * BLOCK_BYTES), first * BLOCK_BYTES)
      onProgress((first + count) / blocks)
    }
    await file.sync()
  } catch (error) {
    throw explain(error, directory)
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** Reads the file from end to end into the page cache, and checks that every block is in its place. */
export async function warm(file: FileHandle, fileBytes: number): Promise<void> {
  const memory = allocateBlocks(CHUNK_BLOCKS)
  const blocks = fileBytes / BLOCK_BYTES
  for (let first = 0; first < blocks; first += CHUNK_BLOCKS) {
    const count = Math.min(CHUNK_BLOCKS, blocks - first)
    await readAll(file, memory.bytes.subarray(0, count * BLOCK_BYTES), first * BLOCK_BYTES)
    for (let at = 0; at < count; at++) {
      if (!isStamped(memory.words, at, first + at)) {
        throw new CommandError(`block ${first + at} of the file does not hold what was written to it`)
      }
    }
  }
}

async function readAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await file.read(bytes, done, bytes.length - done, position + done)
    if (bytesRead === 0) throw new CommandError('the file is shorter than what was written to it')
    done += bytesRead
  }
}

function explain(error: unknown, directory: string): unknown {
  switch (codeOf(error)) {
    case 'ENOSPC':
    case 'EDQUOT':
    case 'EFBIG':
      return new CommandError(`no room in ${directory}: the file could not be written to its end (${codeOf(error)})`)
    case 'ENOENT':
      return new CommandError(`the directory ${directory} does not exist`)
    case 'ENOTDIR':
      return new CommandError(`${directory} is not a directory`)
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new CommandError(`the directory ${directory} is not writable (${codeOf(error)})`)
    default:
      return error
  }
}
