/**
 * A reader with one read in flight, alone or beside bulk readers. The argument is
 * `{ reader?, bulk?, load: { path, fileBytes, depth, seconds } }`. `reader` and `bulk` are the priorities of the two; `null` leaves
 * one of them out. It prints the measurements of each.
 */
import { constants } from 'node:fs'
import { Engine } from 'auraio'
import { randomReads } from '../../dist/bin/bench/reads.js'

const SETTLE_SECONDS = 1

const { reader, bulk, load } = JSON.parse(process.argv[2])
const engine = Engine.default
const open = async (priority) => {
  const file = await engine.open(load.path, constants.O_RDONLY | constants.O_DIRECT)
  file.priority = priority
  return file
}
const begin = process.hrtime.bigint()
const [first, second] = await Promise.all([run(reader, 1, 1), run(bulk, load.depth, 16)])
const seconds = Number(process.hrtime.bigint() - begin) / 1e9
console.log(
  JSON.stringify({
    operationsPerSecond: ((first?.operations ?? 0) + (second?.operations ?? 0)) / seconds,
    p50Us: first?.p50Us,
    p99Us: first?.p99Us,
    bulkPerSecond: second?.operationsPerSecond,
    inFlightLimit: engine.stats().lanes.find(({ mode }) => mode === 'direct').inFlightLimit,
  }),
)

/** Waits until the control loop has had time to find its depth, then measures. */
async function run(priority, depth, sampleEvery) {
  if (priority === null) return undefined
  const file = await open(priority)
  await randomReads(file, { ...load, depth, sampleEvery, seconds: SETTLE_SECONDS })
  const measurement = await randomReads(file, { ...load, depth, sampleEvery })
  await file.close()
  return measurement
}
