/**
 * Copies a range of one open file to another by reading and writing, for the port over `node:fs`. It refuses what
 * copy_file_range(2) refuses, except files on different file systems: reads and writes copy between them too.
 */
import { Buffer } from 'node:buffer'
import fs from 'node:fs'
import { getSystemErrorMap, promisify } from 'node:util'

/** What a copy needs to know of an open file. */
export interface CopiedFile {
  readonly fd: number
  /** True if writes go to the end of the file, whatever their position. */
  readonly appends: boolean
}

const fstat = promisify(fs.fstat)

/** How many bytes are read and then written at once. It bounds the memory of a copy. */
const BLOCK = 256 * 1024

type Failure = NodeJS.ErrnoException | null

/** `done` gets the error, or how many bytes were copied. An error after the first byte is left to the next copy. */
export function copyByReading(
  source: CopiedFile,
  start: number,
  target: CopiedFile,
  position: number,
  length: number,
  done: (error: Failure, bytes?: number) => void,
): void {
  copy(source, start, target, position, length).then(
    (bytes) => done(null, bytes),
    (error: unknown) => done(error as NodeJS.ErrnoException),
  )
}

async function copy(
  source: CopiedFile,
  start: number,
  target: CopiedFile,
  position: number,
  length: number,
): Promise<number> {
  const size = await allowedLength(source, start, target, position, length)
  const block = Buffer.allocUnsafeSlow(Math.min(size, BLOCK))
  let copied = 0
  try {
    while (copied < size) {
      const bytes = await read(source.fd, block, Math.min(block.length, size - copied), start + copied)
      if (bytes === 0) break
      for (let written = 0; written < bytes;) {
        const more = await write(target.fd, block, written, bytes - written, position + copied)
        if (more === 0) throw refusal('EIO')
        written += more
        copied += more
      }
    }
  } catch (error) {
    if (copied === 0) throw error
  }
  return copied
}

/** How many bytes may be copied. Within one file it is no more than the file has now, or else the copy would copy itself. */
async function allowedLength(
  source: CopiedFile,
  start: number,
  target: CopiedFile,
  position: number,
  length: number,
): Promise<number> {
  const [from, to] = await Promise.all([fstat(source.fd, { bigint: true }), fstat(target.fd, { bigint: true })])
  if (from.isDirectory() || to.isDirectory()) throw refusal('EISDIR')
  if (!from.isFile() || !to.isFile()) throw refusal('EINVAL')
  if (target.appends) throw refusal('EBADF')
  if (from.dev !== to.dev || from.ino !== to.ino) return length
  const size = Math.min(length, Math.max(0, Number(from.size) - start))
  if (start < position + size && position < start + size) throw refusal('EINVAL')
  return size
}

/** An error with the number that this platform has for `code`. The slot table makes the error that the caller sees. */
function refusal(code: string): NodeJS.ErrnoException {
  const [errno] = [...getSystemErrorMap()].find(([, [name]]) => name === code)!
  return Object.assign(new Error(code), { errno })
}

function read(fd: number, block: Buffer, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.read(fd, block, 0, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)))
  })
}

function write(fd: number, block: Buffer, offset: number, length: number, position: number): Promise<number> {
  return new Promise((resolve, reject) => {
    fs.write(fd, block, offset, length, position, (error, bytes) => (error === null ? resolve(bytes) : reject(error)))
  })
}
