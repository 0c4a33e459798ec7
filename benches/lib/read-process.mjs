/**
 * One measurement of one peer: a warm-up, then a round. The argument is
 * `{ peer, engine?, load: { path, fileBytes, depth, seconds, sampleEvery, direct, leased } }`. With `leased`, auraio reads into
 * memory of its pool. It prints a Measurement.
 */
import { closeSync, constants, openSync, readSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { createHistogram } from 'node:perf_hooks'
import { allocateBlocks, BLOCK_BYTES, isStamped, stamp } from '../../dist/bin/bench/blocks.js'
import { randomReads } from '../../dist/bin/bench/reads.js'

const WARM_UP_SECONDS = 0.5

const { peer, engine: engineOptions, load } = JSON.parse(process.argv[2])
const flags = constants.O_RDONLY | (load.direct ? constants.O_DIRECT : 0)
const warmUp = { ...load, seconds: WARM_UP_SECONDS }

const peers = {
  async auraio() {
    const { Engine } = await import('auraio')
    const engine = engineOptions === undefined ? Engine.default : new Engine(engineOptions)
    const file = await engine.open(load.path, flags)
    const memory = load.leased ? blocksOf(engine.acquire(load.depth * BLOCK_BYTES).buffer) : undefined
    await randomReads(file, warmUp, memory)
    const before = engine.stats()
    const measurement = await randomReads(file, load, memory)
    const after = engine.stats()
    await file.close()
    const counted = (what) => count(after, what) - count(before, what)
    return {
      ...measurement,
      backend: engine.backend,
      enters: counted('enters'),
      onRegistered: counted('fixedBuffers') / counted('completed'),
    }
  },
  async promises() {
    const file = await open(load.path, flags)
    await randomReads(file, warmUp)
    const measurement = await randomReads(file, load)
    await file.close()
    return measurement
  },
  /** A file that answers at once with the right block. It measures the cost of the bench's own loop. */
  async nothing() {
    const file = {
      async read(buffer, offset, length, position) {
        const block = position / BLOCK_BYTES
        buffer.words ??= new Uint32Array(buffer.buffer, buffer.byteOffset, 2)
        stamp(buffer.words, 0, block)
        return { bytesRead: length }
      },
    }
    await randomReads(file, warmUp)
    return randomReads(file, load)
  },
  async readSync() {
    const fd = openSync(load.path, flags)
    blockingReads(fd, warmUp)
    const measurement = blockingReads(fd, load)
    closeSync(fd)
    return measurement
  },
}

console.log(JSON.stringify(await peers[peer]()))

/** The counters of the rings. */
function count(stats, what) {
  return stats.rings.reduce((sum, ring) => sum + ring[what], 0)
}

function blocksOf(bytes) {
  return { bytes, words: new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4) }
}

/** The loop of a worker in randomReads, but without promises. It uses as many buffers in turn as the others. */
function blockingReads(fd, { fileBytes, depth, seconds, sampleEvery }) {
  const { bytes, words } = allocateBlocks(depth)
  const buffers = Array.from({ length: depth }, (_, at) => Buffer.from(bytes.buffer, at * BLOCK_BYTES, BLOCK_BYTES))
  const blocks = fileBytes / BLOCK_BYTES
  const latency = createHistogram()
  const cpuStart = process.cpuUsage()
  const begin = performance.now()
  const end = begin + seconds * 1000
  let operations = 0
  for (; ; operations++) {
    const sampled = operations % sampleEvery === 0
    const start = sampled ? performance.now() : 0
    if (start >= end) break
    const at = operations % depth
    const block = Math.floor(Math.random() * blocks)
    const bytesRead = readSync(fd, buffers[at], 0, BLOCK_BYTES, block * BLOCK_BYTES)
    if (bytesRead !== BLOCK_BYTES || !isStamped(words, at, block)) throw new Error(`wrong bytes in block ${block}`)
    if (sampled) latency.record(Math.max(1, Math.round((performance.now() - start) * 1e6)))
  }
  const elapsed = (performance.now() - begin) / 1000
  const cpu = process.cpuUsage(cpuStart)
  return {
    operations,
    seconds: elapsed,
    operationsPerSecond: operations / elapsed,
    cpuUsPerOperation: (cpu.user + cpu.system) / operations,
    p50Us: latency.percentile(50) / 1000,
    p99Us: latency.percentile(99) / 1000,
    p999Us: latency.percentile(99.9) / 1000,
  }
}
