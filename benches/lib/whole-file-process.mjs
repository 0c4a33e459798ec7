/**
 * One measurement: it reads a file from beginning to end, again and again, until the round is over. The first time is the warm-up.
 * The argument is `{ peer, load: { path, fileBytes, seconds, inFlight } }`. It checks the first block of each part.
 */
import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { BLOCK_BYTES } from '../../dist/bin/bench/blocks.js'

const PART_BYTES = 1024 ** 2

const { peer, load } = JSON.parse(process.argv[2])

const peers = {
  async leases() {
    const { Engine } = await import('auraio')
    const engine = Engine.default
    const file = await engine.open(load.path)
    const memory = Array.from({ length: load.inFlight }, () => engine.acquire(PART_BYTES))
    return {
      read: () => inParts(file, memory.map(({ buffer }) => buffer)), // prettier-ignore
      end: () => {
        memory.forEach((lease) => lease.release())
        return file.close()
      },
    }
  },
  async promises() {
    const file = await open(load.path)
    const memory = Array.from({ length: load.inFlight }, () => Buffer.alloc(PART_BYTES))
    return { read: () => inParts(file, memory), end: () => file.close() }
  },
  async readSync() {
    const fd = openSync(load.path)
    const buffer = Buffer.alloc(PART_BYTES)
    return { read: () => blocking(fd, buffer), end: () => closeSync(fd) }
  },
  stream64K: () => ({ read: () => stream(64 * 1024), end() {} }),
  stream1M: () => ({ read: () => stream(PART_BYTES), end() {} }),
}

const { read, end } = await peers[peer]()
await whole() // the warm-up
const cpuStart = process.cpuUsage()
const begin = performance.now()
let wholeReads = 0
while (performance.now() - begin < load.seconds * 1000) {
  await whole()
  wholeReads++
}
const elapsed = (performance.now() - begin) / 1000
const cpu = process.cpuUsage(cpuStart)
await end()
const gigabytes = (wholeReads * load.fileBytes) / 1e9
console.log(
  JSON.stringify({
    wholeReads,
    readGigabytesPerSecond: gigabytes / elapsed,
    cpuSecondsPerGigabyte: (cpu.user + cpu.system) / 1e6 / gigabytes,
  }),
)

async function whole() {
  const bytes = await read()
  if (bytes !== load.fileBytes) throw new Error(`read ${bytes} bytes of ${load.fileBytes}`)
}

/** Runs one loop for each buffer. Each loop takes the next part of the file. */
async function inParts(file, buffers) {
  let next = 0
  let total = 0
  await Promise.all(
    buffers.map(async (buffer) => {
      while (next < load.fileBytes) {
        const position = next
        next += PART_BYTES
        const { bytesRead } = await file.read(buffer, 0, PART_BYTES, position)
        check(buffer, position)
        total += bytesRead
      }
    }),
  )
  return total
}

function blocking(fd, buffer) {
  let position = 0
  while (position < load.fileBytes) {
    const bytesRead = readSync(fd, buffer, 0, PART_BYTES, position)
    check(buffer, position)
    position += bytesRead
  }
  return position
}

async function stream(highWaterMark) {
  let position = 0
  for await (const chunk of createReadStream(load.path, { highWaterMark })) {
    check(chunk, position)
    position += chunk.length
  }
  return position
}

function check(bytes, position) {
  if (position % BLOCK_BYTES === 0 && bytes.readUInt32LE(0) !== position / BLOCK_BYTES) {
    throw new Error(`the bytes at ${position} are not those of the block there`)
  }
}
