/**
 * Question: does an engine that nobody configured find the best depth for the device? 256 callers make O_DIRECT random reads of
 * 4 KiB from a cold start. The peer is fio at fixed depths: its best reads a second, and its latency at the knee (the smallest
 * depth with 97 % of the best).
 */
import { COMMON_HELP, CommandError, dataset, program } from './lib/program.mjs'
import { script } from './lib/processes.mjs'
import { fioReader, fioVersion } from './lib/readers.mjs'
import { READ_COLUMNS, figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const CALLERS = 256
const DEPTHS = [1, 8, 16, 24, 32, 48, 64, 96, 128, 256]
const SAMPLE_EVERY = 16
const OURS = [
  { name: 'auraio' },
  { name: 'auraio, 4 Workers', workers: 4 },
  { name: 'auraio, policy aimd', engine: { policy: 'aimd' } },
  { name: 'auraio, policy 256', engine: { policy: 256 } },
]

await program({
  help: `Usage: node benches/tuned.mjs [options]

  --guard <ms>       give the engine this guard, and judge fio's depths by it
${COMMON_HELP}`,
  options: { guard: { type: 'string' } },
  async run({ rounds, seconds, json, guard, ...where }) {
    const guardP99Ms = guard === undefined ? undefined : Number(guard)
    const fio = await fioVersion()
    if (!fio) throw new CommandError('this bench needs fio: install it')
    const file = await dataset(where)
    if (file.directReason) throw new CommandError(`no direct reads in ${file.directory}: ${file.directReason}`)
    const { path, fileBytes } = file
    const load = { path, fileBytes, depth: CALLERS, seconds, sampleEvery: SAMPLE_EVERY, direct: true }
    const results = await alternate(
      [
        ...OURS.map(({ name, engine, workers }) => {
          const options = guardP99Ms === undefined ? engine : { ...engine, guardP99Ms }
          return { name, run: () => script('tuned-process.mjs', { engine: options, workers, load }) }
        }),
        ...DEPTHS.map((depth) => fioReader({ name: fioAt(depth), load: { ...load, depth }, batch: 1 })),
      ],
      rounds,
    )
    const bench = `O_DIRECT random reads of 4 KiB, ${CALLERS} callers, cold starts, medians of ${rounds} x ${seconds} s`
    const columns = { ...READ_COLUMNS, inFlightLimit: 'limit', settledSeconds: 'settled s' }
    const { figures, notes } = judge(results, guardP99Ms)
    report({ bench, file, fio, notes, columns, results, figures, doubts: doubts(results, rounds) }, json)
  },
})

function fioAt(depth) {
  return `fio, depth ${depth}`
}

function judge(results, guardP99Ms) {
  const fixed = DEPTHS.map((depth) => ({ depth, ...results[fioAt(depth)].median }))
  const allowed = fixed.filter(({ p99Us }) => guardP99Ms === undefined || p99Us <= guardP99Ms * 1000)
  const best = Math.max(...allowed.map(({ operationsPerSecond }) => operationsPerSecond))
  const knee = fixed.find(({ operationsPerSecond }) => operationsPerSecond >= 0.97 * best)
  const figures = OURS.flatMap(({ name }) => {
    const { operationsPerSecond, p99Us, settledSeconds } = results[name].median
    const wanted = !name.includes('policy')
    const latency =
      guardP99Ms === undefined
        ? figure(`${name}: p99 / fio's at its knee`, p99Us / knee.p99Us, wanted ? { max: 1.3 } : {})
        : figure(`${name}: p99 / guard`, p99Us / 1000 / guardP99Ms, wanted ? { max: 1.1 } : {})
    return [
      figure(`${name}: operations/s / fio's best`, operationsPerSecond / best, wanted ? { min: 0.97 } : {}),
      latency,
      figure(`${name}: seconds until settled`, settledSeconds, wanted ? { max: 1 } : {}),
    ]
  })
  return { figures, notes: [`fio's knee is at a depth of ${knee.depth}`] }
}
