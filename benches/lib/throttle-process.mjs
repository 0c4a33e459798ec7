/**
 * Reads while the disk is throttled and released again, in a cgroup of this process's own (blkio, version 1; needs root). The
 * argument is `{ group, iops, guardP99Ms, load: { path, fileBytes, depth } }`. It prints when the limit was lowered, and the reads a
 * second in each part of the run, leaving out its first second.
 */
import { constants, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import diagnostics from 'node:diagnostics_channel'
import { Engine } from 'auraio'
import { randomReads } from '../../dist/bin/bench/reads.js'

const PART_MS = 3000
const LEARN_MS = 1000

// the time of a decision is in milliseconds, of the clock that process.hrtime reads
const { group, iops, guardP99Ms, load } = JSON.parse(process.argv[2])
const engine = new Engine({ guardP99Ms })
const cuts = []
diagnostics.subscribe('auraio:control', (decision) => {
  if (decision.reason === 'guard') cuts.push({ at: decision.at * 1e6, from: decision.from, to: decision.to })
})
const file = await engine.open(load.path, constants.O_RDONLY | constants.O_DIRECT)
const lane = () => engine.stats().lanes.find(({ mode, completed }) => mode === 'direct' && completed > 0)
mkdirSync(group)
try {
  writeFileSync(join(group, 'cgroup.procs'), String(process.pid))
  const reads = randomReads(file, { ...load, seconds: (3 * PART_MS) / 1000, sampleEvery: 16 })
  const before = await part()
  const disk = readFileSync(`/sys/class/block/${lane().device}/dev`, 'utf8').trim()
  const on = throttle(disk, iops)
  const throttled = await part()
  throttle(disk, 0)
  const after = await part()
  await reads
  const first = cuts.find(({ at }) => at >= on)
  console.log(
    JSON.stringify({
      operationsPerSecond: before.rate,
      p99Us: before.p99Us,
      limitBefore: before.limit,
      throttledPerSecond: throttled.rate,
      throttledP99Us: throttled.p99Us,
      limitThrottled: throttled.limit,
      afterPerSecond: after.rate,
      limitAfter: after.limit,
      cutAfterMs: first === undefined ? Infinity : (first.at - on) / 1e6,
    }),
  )
  await file.close()
} finally {
  writeFileSync(join(dirname(group), 'cgroup.procs'), String(process.pid))
  rmdirSync(group)
}

async function part() {
  await sleep(LEARN_MS)
  const begin = [performance.now(), lane().completed]
  await sleep(PART_MS - LEARN_MS - 100)
  const { completed, completionP99Us, inFlightLimit } = lane()
  const rate = ((completed - begin[1]) * 1000) / (performance.now() - begin[0])
  return { rate, p99Us: completionP99Us, limit: inFlightLimit }
}

/** Answers the moment, in nanoseconds of the monotonic clock. */
function throttle(disk, reads) {
  writeFileSync(join(group, 'blkio.throttle.read_iops_device'), `${disk} ${reads}`)
  return Number(process.hrtime.bigint())
}
