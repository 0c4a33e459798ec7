/**
 * Question: does `child_process.spawn` take longer in a process that has 256 MiB of slabs mapped? A fork copies the page tables
 * of all memory that the child inherits, and then every page that either side writes to. The child does not inherit the pool's
 * slabs.
 */
import { script } from './lib/processes.mjs'
import { COMMON_HELP, program } from './lib/program.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate } from './lib/rounds.mjs'

const MEBIBYTES = 256

await program({
  help: `Usage: node benches/spawn.mjs [options]

${COMMON_HELP}`,
  async run({ rounds, seconds, json }) {
    const peer = (name, memory) => ({
      name,
      run: () => script('spawn-process.mjs', { memory, mebibytes: MEBIBYTES, seconds }),
    })
    const results = await alternate(
      [
        peer('nothing mapped', 'none'),
        peer(`${MEBIBYTES} MiB of leases`, 'leases'),
        peer(`${MEBIBYTES} MiB of Buffers`, 'buffers'),
      ],
      rounds,
    )
    const millis = (name) => results[name].median.spawnMs
    const base = millis('nothing mapped')
    const figures = [
      figure('spawn with leases / without', millis(`${MEBIBYTES} MiB of leases`) / base, { max: 1.1 }),
      figure('spawn with Buffers / without', millis(`${MEBIBYTES} MiB of Buffers`) / base),
    ]
    const bench = `child_process.spawn of a program that ends at once, medians of ${rounds} x ${seconds} s`
    const columns = { spawnMs: 'median ms', mappedMebibytes: 'MiB mapped', spawns: 'spawns' }
    report({ bench, columns, results, figures }, json)
  },
})
