/**
 * One round: random reads of one block each, with a fixed number in flight, for a fixed time. Each worker is a plain loop over
 * `await handle.read()`, as a program would write it. It is the same for every peer.
 */
import { createHistogram } from 'node:perf_hooks'
import { BLOCK_BYTES, allocateBlocks, isStamped } from './blocks.js'
import type { BlockMemory } from './blocks.js'

/** What a round needs of a FileHandle. */
export interface Readable {
  read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ bytesRead: number }>
}

export interface Load {
  fileBytes: number
  depth: number
  seconds: number
  /** The latency of one read in this many is taken. To take it costs two readings of the clock, which shows beside a cached read. */
  sampleEvery: number
  /** True if the blocks begin with their numbers, so that what was read can be checked. */
  isChecked?: boolean
  /** Ends the round early. */
  signal?: AbortSignal
}

export interface Measurement {
  operations: number
  seconds: number
  operationsPerSecond: number
  /** CPU time of all threads of the process, with those of the thread pool and the kernel's workers for the ring. */
  cpuUsPerOperation: number
  p50Us: number
  p99Us: number
  p999Us: number
}

interface Round {
  file: Readable
  load: Load
  memory: BlockMemory
  latency: { record(ns: number): void }
  /** The time of `performance.now()` from which on no read begins. */
  end: number
}

/** Runs one round. `memory` has a block for each read in flight; without it, the round makes its own. */
export async function randomReads(
  file: Readable,
  load: Load,
  memory: BlockMemory = allocateBlocks(load.depth),
): Promise<Measurement> {
  const latency = createHistogram()
  const start = performance.now()
  const cpuStart = process.cpuUsage()
  const round: Round = { file, load, memory, latency, end: start + load.seconds * 1000 }
  const stop = (): void => {
    round.end = 0
  }
  load.signal?.addEventListener('abort', stop)
  const counts = await Promise.all(Array.from({ length: load.depth }, (_, at) => worker(round, at)))
  load.signal?.removeEventListener('abort', stop)
  const seconds = (performance.now() - start) / 1000
  const cpu = process.cpuUsage(cpuStart)
  const operations = counts.reduce((sum, count) => sum + count, 0)
  return {
    operations,
    seconds,
    operationsPerSecond: operations / seconds,
    cpuUsPerOperation: (cpu.user + cpu.system) / operations,
    p50Us: latency.percentile(50) / 1000,
    p99Us: latency.percentile(99) / 1000,
    p999Us: latency.percentile(99.9) / 1000,
  }
}

/** Keeps one read in flight until the round ends, and answers how many reads it made. */
async function worker(round: Round, at: number): Promise<number> {
  const { file, memory, latency } = round
  const { sampleEvery, isChecked = true } = round.load
  const blocks = round.load.fileBytes / BLOCK_BYTES
  const { buffer: bytes, byteOffset } = memory.bytes
  const buffer = Buffer.from(bytes, byteOffset + at * BLOCK_BYTES, BLOCK_BYTES)
  // Workers begin at different turns, so that their samples are spread over the round.
  for (let turn = at, operations = 0; ; turn++, operations++) {
    const sampled = turn % sampleEvery === 0
    const start = sampled ? performance.now() : 0
    if (start >= round.end) return operations
    const block = Math.floor(Math.random() * blocks)
    const { bytesRead } = await file.read(buffer, 0, BLOCK_BYTES, block * BLOCK_BYTES)
    if (bytesRead !== BLOCK_BYTES || (isChecked && !isStamped(memory.words, at, block))) {
      round.end = 0
      throw new Error(`a read of block ${block} answered ${bytesRead} bytes that are not that block`)
    }
    if (sampled) latency.record(Math.max(1, Math.round((performance.now() - start) * 1e6)))
  }
}
