/**
 * One storm. The argument is `{ kind, workers, seed, file }` with kind 'auraio', 'promises' or 'empty'. Half of the Workers are
 * terminated at a random moment, which may be before they have loaded anything; the other half after their reads have begun.
 */
import { readdirSync } from 'node:fs'
import { setTimeout as after } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

const AT_ONCE = 8
const WARM_UP = 24
const AFTER_START_MS = 10
const SETTLE_MS_MAX = 20_000 // idle io-wq threads end after 5 s

const { kind, workers, seed, file } = JSON.parse(process.argv[2])
const random = mulberry32(seed)
const workerUrl = new URL('storm-worker.cjs', import.meta.url)
let loaded = 0
let errors = 0
let startMs = 50

// This thread uses the engine too: it must work during the storm and after it.
const own = kind === 'auraio' ? await (await import('auraio')).open(file.path) : undefined

await storm(WARM_UP)
await settle(() => false, 6000)
const before = count()
loaded = errors = 0
const start = performance.now()
await storm(workers)
const seconds = (performance.now() - start) / 1000
const settleMs = await settle(
  (now) => now.descriptors <= before.descriptors && now.threads <= before.threads,
  SETTLE_MS_MAX,
)
const now = count()
await checkOwn()
await own?.close()

console.log(
  JSON.stringify({
    workers,
    loaded,
    errors,
    descriptorsBefore: before.descriptors,
    descriptorsAfter: now.descriptors,
    threadsBefore: before.threads,
    threadsAfter: now.threads,
    rssGrowthMebibytes: (now.rss - before.rss) / 1024 ** 2,
    settleMs,
    seconds,
  }),
)

async function storm(total) {
  let left = total
  const lane = async () => {
    while (left-- > 0) {
      await oneWorker(left)
      if (left % 50 === 0) await checkOwn()
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
}

async function oneWorker(number) {
  const direct = number % 2 === 0 && file.directReason === undefined
  const worker = new Worker(workerUrl, { workerData: { kind, path: file.path, fileBytes: file.fileBytes, direct } })
  worker.on('error', (error) => {
    errors++
    console.error(error)
  })
  const begin = performance.now()
  const ready = new Promise((resolve) => {
    worker.once('message', () => {
      loaded++
      startMs = startMs * 0.9 + (performance.now() - begin) * 0.1
      resolve()
    })
    worker.once('exit', resolve)
  })
  if (number % 4 < 2) await after(random() * startMs)
  else await ready.then(() => after(random() * AFTER_START_MS))
  await worker.terminate()
}

async function checkOwn() {
  if (own === undefined) return
  const block = Math.floor(random() * (file.fileBytes / 4096))
  const { buffer, bytesRead } = await own.read(Buffer.alloc(4096), 0, 4096, block * 4096)
  if (bytesRead !== 4096 || buffer.readUInt32LE(0) !== block) throw new Error(`wrong bytes in block ${block}`)
}

/** Waits until the kernel has freed rings and their threads, which it does some time after they were closed. */
async function settle(isBack, maxMs) {
  const begin = performance.now()
  while (!isBack(count()) && performance.now() - begin < maxMs) await after(20)
  globalThis.gc?.()
  return performance.now() - begin
}

function count() {
  return {
    descriptors: readdirSync('/proc/self/fd').length,
    threads: readdirSync('/proc/self/task').length,
    rss: process.memoryUsage.rss(),
  }
}

/** A small seeded generator of numbers from 0 to 1. */
function mulberry32(state) {
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}
