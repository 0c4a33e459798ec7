/**
 * Question: how fast is one large file read from beginning to end, from the page cache? auraio reads through leases of 1 MiB, a
 * few at a time. The peers are `fs.readSync` into one reused buffer (which blocks the thread), createReadStream with 64 KiB and
 * 1 MiB, and a FileHandle of node:fs/promises with as many reads of 1 MiB in flight.
 */
import { script } from './lib/processes.mjs'
import { COMMON_HELP, dataset, positive, program } from './lib/program.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const PEERS = {
  leases: 'auraio, leases of 1 MiB',
  readSync: 'fs.readSync, one buffer of 1 MiB',
  stream64K: 'createReadStream, 64 KiB',
  stream1M: 'createReadStream, 1 MiB',
  promises: 'node:fs/promises, 1 MiB',
}

await program({
  help: `Usage: node benches/whole-file.mjs [options]

  --in-flight <n>    reads that auraio and node:fs/promises keep in flight (default: 4)
${COMMON_HELP}`,
  options: { 'in-flight': { type: 'string' } },
  async run({ rounds, seconds, json, 'in-flight': inFlight = '4', ...where }) {
    const file = await dataset(where)
    const load = {
      path: file.path,
      fileBytes: file.fileBytes,
      seconds,
      inFlight: positive('--in-flight', inFlight),
    }
    const peers = Object.entries(PEERS).map(([peer, name]) => ({
      name,
      run: () => script('whole-file-process.mjs', { peer, load }),
    }))
    const results = await alternate(peers, rounds)
    const speed = (peer) => results[PEERS[peer]].median.readGigabytesPerSecond
    const figures = [
      figure('GB/s', speed('leases'), { min: 10 }),
      figure('GB/s / fs.readSync', speed('leases') / speed('readSync'), { min: 0.4 }),
      figure('GB/s / createReadStream, 64 KiB', speed('leases') / speed('stream64K'), { min: 5 }),
    ]
    const bench = `a whole file from the page cache, ${inFlight} reads of 1 MiB in flight, medians of ${rounds} x ${seconds} s`
    const columns = { readGigabytesPerSecond: 'GB/s', cpuSecondsPerGigabyte: 'CPU s/GB', wholeReads: 'whole reads' }
    report({ bench, file, columns, results, figures, doubts: doubts(results, rounds) }, json)
  },
})
