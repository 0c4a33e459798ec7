/**
 * One cold start of an engine under many callers, on the main thread or on Workers. The argument is
 * `{ engine?, workers?, load: { path, fileBytes, depth, seconds, sampleEvery } }`; `depth` is the number of callers on all threads
 * together. It prints a Measurement with the latencies of the lane, and `settledSeconds`: the time until a tenth of a second had
 * 95 % of the rate of the rest of the run.
 */
import { constants } from 'node:fs'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { Engine } from 'auraio'
import { randomReads } from '../../dist/bin/bench/reads.js'

const SETTLE_SECONDS = 1
const SLICE_MS = 100

const { engine: options, workers = 1, load } = isMainThread ? JSON.parse(process.argv[2]) : workerData
const engine = options === undefined ? Engine.default : new Engine(options)

if (isMainThread) console.log(JSON.stringify(await measure()))
else parentPort.postMessage(await reads(load))

async function reads(share) {
  const file = await engine.open(share.path, constants.O_RDONLY | constants.O_DIRECT)
  const measurement = await randomReads(file, { ...share, seconds: share.seconds + SETTLE_SECONDS })
  await file.close()
  return measurement
}

async function measure() {
  const counts = []
  const slices = setInterval(() => counts.push([performance.now(), lane()?.completed ?? 0]), SLICE_MS)
  const cpuStart = process.cpuUsage()
  const running = workers === 1 ? [reads(load)] : Array.from({ length: workers }, inWorker)
  const all = await Promise.all(running)
  clearInterval(slices)
  const cpu = process.cpuUsage(cpuStart)
  const rates = counts.slice(1).map(([at, count], nth) => ((count - counts[nth][1]) * 1000) / (at - counts[nth][0]))
  const settled = rates.slice(Math.round((SETTLE_SECONDS * 1000) / SLICE_MS))
  const rate = settled.reduce((sum, one) => sum + one, 0) / settled.length
  const operations = all.reduce((sum, one) => sum + one.operations, 0)
  const { completionP50Us, completionP99Us, completionP999Us, inFlightLimit, sqePerEnter } = lane()
  return {
    operations,
    operationsPerSecond: rate,
    cpuUsPerOperation: (cpu.user + cpu.system) / operations,
    p50Us: completionP50Us,
    p99Us: completionP99Us,
    p999Us: completionP999Us,
    inFlightLimit,
    sqePerEnter,
    settledSeconds: ((rates.findIndex((one) => one >= 0.95 * rate) + 2) * SLICE_MS) / 1000,
  }
}

function inWorker() {
  const share = { ...load, depth: Math.round(load.depth / workers) }
  const worker = new Worker(new URL(import.meta.url), { workerData: { engine: options, load: share } })
  return new Promise((resolve, reject) => worker.once('message', resolve).once('error', reject))
}

function lane() {
  return engine.stats().lanes.find(({ mode, completed }) => mode === 'direct' && completed > 0)
}
