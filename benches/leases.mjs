/**
 * Question: what does a lease of 4 KiB cost, from acquire to release, compared with memory that the garbage collector owns? And
 * does the heap grow over 10 million leases?
 */
import { script } from './lib/processes.mjs'
import { COMMON_HELP, program } from './lib/program.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const BYTES = 4096
const LEASES = 10_000_000

const COLUMNS = { nsPerOperation: 'ns each', cpuNsPerOperation: 'CPU ns each', operationsPerSecond: 'a second' }

const PEERS = {
  lease: 'acquire and release',
  mixed: 'the same, 4 to 32 KiB, 64 held',
  allocUnsafeSlow: 'Buffer.allocUnsafeSlow',
  alloc: 'Buffer.alloc',
  allocate: 'engine.allocate',
}

await program({
  help: `Usage: node benches/leases.mjs [options]

${COMMON_HELP}`,
  defaults: { seconds: 1 },
  async run({ rounds, seconds, json }) {
    const run = (peer) => () => script('lease-process.mjs', { peer, bytes: BYTES, seconds })
    const peers = Object.entries(PEERS).map(([peer, name]) => ({ name, run: run(peer) }))
    const results = await alternate(peers, rounds)
    const growth = await script(
      'lease-process.mjs',
      { peer: 'growth', bytes: BYTES, leases: LEASES },
      { flags: ['--expose-gc'] },
    )
    const speed = (name) => results[PEERS[name]].median.operationsPerSecond
    const figures = [
      figure('speed / Buffer.allocUnsafeSlow', speed('lease') / speed('allocUnsafeSlow'), { min: 4 }),
      figure('speed / Buffer.alloc', speed('lease') / speed('alloc')),
      figure('heap growth over 10 million leases, KiB', growth.heapBytes / 1024, { max: 64 }),
      figure('growth of memory outside the heap, KiB', growth.externalBytes / 1024, { max: 64 }),
    ]
    const bench = `memory of ${BYTES} bytes, medians of ${rounds} x ${seconds} s`
    const notes = [`backend ${growth.backend}; the Buffer is looked at each time`]
    report({ bench, notes, columns: COLUMNS, results, figures, doubts: doubts(results, rounds), growth }, json)
  },
})
