// The control loops as the user of an engine sees and sets them, on the backends that have them. The tests are serial: lanes
// belong to the process, so the settings of one test would be in force in the others.
import diagnostics from 'node:diagnostics_channel'
import { writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { Engine } from 'auraio'
import { decodeFromCompressedBase64 } from 'hdr-histogram-js'
import { targets } from './helpers/backends.mjs'
import { run } from './helpers/child.mjs'
import { pattern, sameBytes, tempFile } from './helpers/temp.mjs'

const BLOCK = 4096
const BLOCKS = 256
const bytes = pattern(BLOCKS * BLOCK)

const governed = targets({ withOracle: false })
  .filter(({ engine }) => engine !== undefined)
  .map(({ name }) => name)
  .filter((name) => name !== 'node')

/** An engine with a file that is read past the page cache if possible, so that the device serves every read. */
async function loaded(t, backend, options = {}) {
  const path = tempFile(t)
  writeFileSync(path, bytes)
  const engine = new Engine({ backend, ...options })
  t.teardown(() => engine.close())
  const file = await engine.open(path, 'r', { direct: true })
  return { engine, file, path, laneOf: () => engine.stats().lanes.find(({ id }) => id === file.lane) }
}

/** Makes this many reads at once, checks each, and answers how many had the right bytes. */
async function read(engine, file, count, options = {}) {
  const buffer = engine.allocate(count * BLOCK)
  const results = await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const position = (at % BLOCKS) * BLOCK
      const target = buffer.subarray(at * BLOCK, (at + 1) * BLOCK)
      const { bytesRead } = await file.read(target, { position, ...options })
      return bytesRead === BLOCK && target.equals(bytes.subarray(position, position + BLOCK))
    }),
  )
  return results.filter(Boolean).length
}

/** Makes reads until the condition is true. It waits for the reads and not for a timer, so it goes at the pace of the device. */
async function readUntil(engine, file, isSo) {
  while (!isSo()) await read(engine, file, 8)
}

const COUNTS = [
  'id',
  'inFlightLimit',
  'inFlight',
  'queued',
  'submitBatch',
  'guardCuts',
  'completed',
  'bytes',
  'cacheHits',
]
const MEASURES = ['sqePerEnter', 'guardP99Ms', 'completionP50Us', 'completionP99Us', 'completionP999Us', 'totalP99Us']
const OTHERS = ['device', 'mode', 'policy', 'phase', 'guardInfeasible', 'byClass']

for (const name of governed) {
  test.serial(`${name}: the stats of a lane count the operations on it`, async (t) => {
    const { engine, file, laneOf } = await loaded(t, name)
    const before = laneOf()
    t.is(await read(engine, file, 100), 100)
    t.is(await read(engine, file, 10, { priority: 'high' }), 10)
    t.is(await read(engine, file, 20, { priority: 'low' }), 20)
    await readUntil(engine, file, () => laneOf().completed - (before?.completed ?? 0) >= 130)
    const lane = laneOf()
    t.deepEqual(Object.keys(lane).sort(), [...COUNTS, ...MEASURES, ...OTHERS].sort())
    for (const field of COUNTS) t.true(Number.isSafeInteger(lane[field]) && lane[field] >= 0, field)
    for (const field of MEASURES) t.true(Number.isFinite(lane[field]) && lane[field] >= 0, field)
    t.true(lane.inFlightLimit >= 1 && lane.guardP99Ms > 0 && lane.bytes >= 130 * BLOCK)
    t.is(lane.mode, 'direct')
    t.is(lane.policy, 'knee')
    t.true(lane.device.length > 0 && lane.phase.length > 0)
    t.is(typeof lane.guardInfeasible, 'boolean')
    t.true(lane.completionP50Us > 0 && lane.completionP99Us >= lane.completionP50Us)
    t.true(lane.completionP999Us >= lane.completionP99Us)
    t.deepEqual(Object.keys(lane.byClass), ['high', 'normal', 'low'])
    const grown = (priority) => lane.byClass[priority].completed - (before?.byClass[priority].completed ?? 0)
    t.true(grown('high') >= 10 && grown('low') >= 20 && grown('normal') >= 100)
    t.is(lane.byClass.low.waiting, 0)
    t.true(engine.stats().lanes.every(({ id }, at, all) => all.findIndex((other) => other.id === id) === at))
    await engine.close()
    t.is(engine.stats().lanes.find(({ id }) => id === lane.id).device, lane.device)
  })

  test.serial(`${name}: no read is lost or wrong while settings change under load`, async (t) => {
    const { engine, file, laneOf } = await loaded(t, name, { queueDepth: 128 })
    const settings = [
      () => (engine.policy = 1),
      () => (engine.policy = 'aimd'),
      () => (engine.guardP99Ms = 0.001),
      () => engine.setInFlight({ min: 2, max: 3 }),
      () => (engine.policy = 'knee'),
      () => (file.guardP99Ms = 60_000),
      () => (file.priority = 'low'),
      () => (engine.guardP99Ms = undefined),
      () => (engine.policy = 64),
      () => engine.setInFlight({ min: 1, max: 128 }),
      () => (file.guardP99Ms = undefined),
      () => (file.priority = 'high'),
    ]
    let right = 0
    let step = 0
    const caller = async (own) => {
      for (let turn = 0; turn < 6; turn++) {
        const options = own % 3 === 0 ? { priority: ['high', 'low', 'normal'][turn % 3] } : {}
        const count = await read(engine, file, 8, options)
        right += count
        settings[step++ % settings.length]()
      }
    }
    await Promise.all(Array.from({ length: 16 }, (_, own) => caller(own)))
    t.is(right, 16 * 6 * 8)
    t.deepEqual([laneOf().queued, engine.stats().rings.reduce((sum, ring) => sum + ring.queued, 0)], [0, 0])
  })

  test.serial(`${name}: a fixed limit is in force on the lane as long as its engine is open`, async (t) => {
    const { engine, file, path, laneOf } = await loaded(t, name, { policy: 3 })
    t.is(await read(engine, file, 64), 64)
    t.deepEqual([laneOf().policy, laneOf().inFlightLimit, laneOf().phase], ['fixed', 3, 'fixed'])
    engine.setInFlight({ max: 2 })
    t.is(laneOf().inFlightLimit, 2)
    await engine.close()
    const other = new Engine({ backend: name })
    const same = await other.open(path, 'r', { direct: true })
    t.is(other.stats().lanes.find(({ id }) => id === same.lane).policy, 'knee')
    await other.close()
  })

  test.serial(`${name}: the guard of a handle is its lane's until it is cleared or the handle closed`, async (t) => {
    const { engine, file, path, laneOf } = await loaded(t, name, { guardP99Ms: 50 })
    t.is(laneOf().guardP99Ms, 50)
    const strict = await engine.open(path, 'r', { direct: true, guardP99Ms: 20 })
    t.is(strict.lane, file.lane)
    t.is(laneOf().guardP99Ms, 20)
    strict.guardP99Ms = 30
    t.is(laneOf().guardP99Ms, 30)
    strict.guardP99Ms = 100
    t.is(laneOf().guardP99Ms, 50, 'the strictest holds')
    strict.guardP99Ms = 40
    file.guardP99Ms = 45
    t.is(laneOf().guardP99Ms, 40)
    await strict.close()
    t.is(laneOf().guardP99Ms, 45)
    file.guardP99Ms = undefined
    t.is(laneOf().guardP99Ms, 50)
  })

  test.serial(
    `${name}: decisions are told under load: the phase to the engine, all of it to the channel`,
    async (t) => {
      const { engine, file } = await loaded(t, name)
      const heard = []
      const phases = []
      const listener = (decision) => heard.push(decision)
      diagnostics.subscribe('auraio:control', listener)
      t.teardown(() => diagnostics.unsubscribe('auraio:control', listener))
      engine.on('phase', (decision) => phases.push(decision))
      t.is(await read(engine, file, 32), 32)
      engine.policy = 5
      await readUntil(engine, file, () => phases.some(({ to, phase }) => to === 5 && phase === 'fixed'))
      engine.policy = 'knee'
      await readUntil(engine, file, () => phases.at(-1).phase !== 'fixed')
      const ours = heard.filter(({ lane }) => lane === file.lane)
      const set = ours.find(({ to, reason }) => to === 5 && reason === 'set')
      t.deepEqual([set.mode, set.phase], ['direct', 'fixed'])
      t.true(set.device.length > 0)
      for (const decision of heard) {
        for (const [field, value] of Object.entries(decision)) {
          const isText = ['device', 'mode', 'phase', 'reason'].includes(field)
          t.true(isText ? typeof value === 'string' : Number.isFinite(value), `${field}: ${value}`)
        }
        t.true(decision.from >= 1 && decision.to >= 1 && decision.at > 0)
      }
      t.true(
        heard.every(({ number }, at) => at === 0 || number > heard[at - 1].number),
        'in order, each once',
      )
      t.true(phases.every((decision) => heard.includes(decision)))
    },
  )

  test.serial(`${name}: another HdrHistogram reads the same numbers from the encoded form`, async (t) => {
    const { engine, file, laneOf } = await loaded(t, name)
    t.is(await read(engine, file, 500), 500)
    await engine.drain()
    for (const kind of ['completion', 'total', undefined]) {
      const histogram = engine.histogram({ lane: file.lane, kind })
      const decoded = decodeFromCompressedBase64(histogram.encoded, 64, false)
      t.true(histogram.count > 0 && histogram.count <= laneOf().completed)
      t.is(decoded.totalCount, histogram.count)
      const near = (us, ns) => Math.abs(us * 1000 - ns) <= 0.011 * ns + 1
      t.true(near(histogram.maxUs, decoded.maxValue), `max ${histogram.maxUs} ${decoded.maxValue}`)
      t.true(near(histogram.minUs, decoded.minNonZeroValue), `min ${histogram.minUs} ${decoded.minNonZeroValue}`)
      t.true(near(histogram.meanUs, decoded.mean), `mean ${histogram.meanUs} ${decoded.mean}`)
      t.true(histogram.stdDevUs >= 0 && histogram.percentiles.length > 0)
      for (const [percentile, us] of histogram.percentiles) {
        t.true(near(us, decoded.getValueAtPercentile(percentile)), `${percentile}: ${us}`)
      }
    }
  })

  test.serial(`${name}: an aborted read behind the limit rejects before those it waited for`, async (t) => {
    const { engine, file, path } = await loaded(t, name, { policy: 1 })
    const waiting = await engine.open(path, 'r', { direct: true })
    const controller = new AbortController()
    let done = 0
    const bulk = Array.from({ length: 512 }, (_, at) =>
      file.read(engine.allocate(BLOCK), 0, BLOCK, (at % BLOCKS) * BLOCK).then(() => done++),
    )
    const aborted = waiting.readFile({ signal: controller.signal, priority: 'low' })
    setImmediate(() => controller.abort(new Error('enough')))
    const error = await t.throwsAsync(aborted, { code: 'ABORT_ERR', name: 'AbortError' })
    t.is(error.cause.message, 'enough')
    t.true(done < 512, `${done} of 512 had completed by then`)
    await Promise.all(bulk)
    t.is(done, 512)
    sameBytes(t, await waiting.readFile(), bytes)
  })

  test.serial(`${name}: Workers share a lane, and each reads its own bytes`, async (t) => {
    const { engine, file, path, laneOf } = await loaded(t, name, { policy: 4 })
    t.is(await read(engine, file, 8), 8)
    const before = laneOf().completed
    const script = fileURLToPath(new URL('helpers/lane-worker.cjs', import.meta.url))
    const options = { backend: name, policy: 4, inFlightMax: 4 }
    const workerData = { options, path, reads: 200, expected: bytes }
    const workers = Array.from({ length: 4 }, () => new Worker(script, { workerData, execArgv: [] }))
    const exits = workers.map((worker) => once(worker, 'exit'))
    for (const [answer] of await Promise.all(workers.map((worker) => once(worker, 'message')))) {
      t.deepEqual(answer, { lane: file.lane, wrong: 0, limit: 4 })
    }
    for (const [code] of await Promise.all(exits)) t.is(code, 0)
    // rings report in bulk, so the last few operations of each ring may not be reported
    const untold = 4 * 8
    t.true(laneOf().completed - before >= 800 - untold, `${laneOf().completed - before}`)
  })

  test.serial(
    `${name}: a listener that throws loses no completion, and one that listens keeps no process alive`,
    async (t) => {
      const path = tempFile(t)
      writeFileSync(path, bytes)
      const script = `
      const engine = new Engine({ backend: args[0] })
      const thrown = []
      process.on('uncaughtException', (error) => thrown.push(error.message))
      engine.on('phase', () => { throw new Error('a listener fails') })
      const file = await engine.open(args[1], 'r', { direct: true })
      const buffer = engine.allocate(4096)
      let right = 0
      for (let round = 0; thrown.length === 0 || round < 4; round++) {
        engine.policy = 1 + (round % 8)
        const reads = Array.from({ length: 32 }, (_, at) => file.read(buffer, 0, 4096, at * 4096))
        for (const { bytesRead } of await Promise.all(reads)) right += bytesRead === 4096 ? 1 : 1e9
      }
      tell({ right: right % 32, thrown: thrown[0] })
      process.disconnect()`
      t.deepEqual(await run(t, script, { args: [name, path] }), [{ right: 0, thrown: 'a listener fails' }])
    },
  )
}

test('stats have no lanes on a backend without control loops', async (t) => {
  const engine = new Engine({ backend: 'node' })
  t.deepEqual(engine.stats().lanes, [])
  await engine.close()
})
