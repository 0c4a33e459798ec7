/**
 * Question: do descriptors or threads stay behind when Workers are terminated during their reads? It starts 1,000 Workers with 32
 * reads in flight each, terminates each at a random moment, and counts descriptors and threads before and after. The same with
 * Workers that do nothing shows how much of the memory is Node's own. It exits with 1 if a descriptor or thread stays, or if the
 * process dies.
 */
import { COMMON_HELP, CommandError, dataset, program } from './lib/program.mjs'
import { script } from './lib/processes.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate } from './lib/rounds.mjs'

const KINDS = { auraio: 'auraio', promises: 'node:fs/promises', empty: 'empty Workers' }
const FILE_BYTES = 64 * 1024 ** 2

const COLUMNS = {
  workers: 'Workers',
  loaded: 'loaded',
  descriptorsBefore: 'descriptors before',
  descriptorsAfter: 'after',
  threadsBefore: 'threads before',
  threadsAfter: 'after',
  rssGrowthMebibytes: 'RSS growth MiB',
  settleMs: 'settled ms',
  seconds: 's',
}

await program({
  help: `Usage: node benches/workers-storm.mjs [options]

  --workers <n>      Workers of each kind (default: 1000)
  --seed <n>         of the random moments (default: drawn, and printed)
${COMMON_HELP}`,
  options: { workers: { type: 'string' }, seed: { type: 'string' } },
  defaults: { rounds: 1, workers: 1000, seed: Date.now() % 2 ** 31 },
  async run({ rounds, json, workers, seed, seconds: _unused, ...where }) {
    if (process.platform !== 'linux')
      throw new CommandError('this bench counts descriptors and threads in /proc, so it runs on Linux only')
    const file = await dataset({ ...where, size: where.size ?? (where.file === undefined ? FILE_BYTES : undefined) })
    const flags = ['--expose-gc']
    const peers = Object.entries(KINDS).map(([kind, name]) => ({
      name,
      run: () => script('storm-process.mjs', { kind, workers, seed, file }, { flags }),
    }))
    const results = await alternate(peers, rounds)
    const figures = Object.entries(results).flatMap(([name, { rounds: all }]) => figuresOf(name, all))
    const bench = `${workers} Workers with 32 reads in flight, terminated at random moments, ${rounds} round(s), seed ${seed}`
    report({ bench, file, seed, columns: COLUMNS, results, figures }, json)
    if (figures.some(({ reached }) => reached === false)) process.exitCode = 1
  },
})

/** The worst value of all rounds. The goals are for auraio. */
function figuresOf(name, rounds) {
  const wanted = name === 'auraio' ? { max: 0 } : {}
  const worst = (left) => Math.max(...rounds.map(left))
  return [
    figure(
      `${name}: descriptors left behind`,
      worst((round) => round.descriptorsAfter - round.descriptorsBefore),
      wanted,
    ),
    figure(
      `${name}: threads left behind`,
      worst((round) => round.threadsAfter - round.threadsBefore),
      wanted,
    ),
    figure(
      `${name}: errors of Workers`,
      worst((round) => round.errors),
      wanted,
    ),
  ]
}
