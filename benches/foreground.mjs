/**
 * Question: how much do 256 bulk readers slow down a reader with one read in flight on the same disk, with classes and without?
 * All make O_DIRECT random reads of 4 KiB.
 */
import { COMMON_HELP, CommandError, dataset, program } from './lib/program.mjs'
import { script } from './lib/processes.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const BULK = 256
const PEERS = [
  { name: 'reader alone', reader: 'high', bulk: null },
  { name: 'bulk alone', reader: null, bulk: 'low' },
  { name: 'both, high and low', reader: 'high', bulk: 'low' },
  { name: 'both, high and normal', reader: 'high', bulk: 'normal' },
  { name: 'both, no classes', reader: 'normal', bulk: 'normal' },
]

await program({
  help: `Usage: node benches/foreground.mjs [options]

${COMMON_HELP}`,
  async run({ rounds, seconds, json, ...where }) {
    const file = await dataset(where)
    if (file.directReason) throw new CommandError(`no direct reads in ${file.directory}: ${file.directReason}`)
    const { path, fileBytes } = file
    const load = { path, fileBytes, depth: BULK, seconds, direct: true }
    const peers = PEERS.map(({ name, reader, bulk }) => ({
      name,
      run: () => script('foreground-process.mjs', { reader, bulk, load }),
    }))
    const results = await alternate(peers, rounds)
    const alone = results['reader alone'].median.p99Us
    const bulk = results['bulk alone'].median.bulkPerSecond
    const figures = PEERS.slice(2).flatMap(({ name }, nth) => {
      const wanted = nth === 0
      const { p99Us, bulkPerSecond } = results[name].median
      return [
        figure(`${name}: the reader's p99 / alone`, p99Us / alone, wanted ? { max: 2 } : {}),
        figure(`${name}: bulk / alone`, bulkPerSecond / bulk, wanted ? { min: 0.9 } : {}),
      ]
    })
    const bench = `One reader beside ${BULK} in bulk, medians of ${rounds} x ${seconds} s`
    const columns = { p50Us: 'reader p50 us', p99Us: 'reader p99 us', bulkPerSecond: 'bulk/s', inFlightLimit: 'limit' }
    report({ bench, file, columns, results, figures, doubts: doubts(results, rounds) }, json)
  },
})
