/**
 * Question: how much do 64 pending reads of 16 MiB slow down other users of Node's thread pool and of the event loop? Each round
 * of a peer first measures dns.lookup, crypto.pbkdf2 (one iteration) and fs.stat without load, then under that load.
 */
import { COMMON_HELP, dataset, program } from './lib/program.mjs'
import { script } from './lib/processes.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const READS = 64
const READ_BYTES = 16 * 1024 ** 2
const PEERS = { auraio: 'auraio', promises: 'node:fs/promises' }
const PROBES = { lookup: 'dns.lookup', pbkdf2: 'crypto.pbkdf2', stat: 'fs.stat' }

const COLUMNS = {
  idleLookupUs: 'lookup idle us',
  loadedLookupUs: 'loaded',
  idlePbkdf2Us: 'pbkdf2 idle us',
  loadedPbkdf2Us: 'loaded',
  idleStatUs: 'stat idle us',
  loadedStatUs: 'loaded',
  idleDelayP99Ms: 'delay p99 idle ms',
  loadedDelayP99Ms: 'loaded',
  turnP99Ms: 'turn p99 ms',
  turnMaxMs: 'max',
  readGigabytesPerSecond: 'read GB/s',
}

await program({
  help: `Usage: node benches/event-loop.mjs [options]

Takes 1 GiB of memory for the buffers beside the page cache.

  --reads <n>        reads of 16 MiB that are pending (default: ${READS})
${COMMON_HELP}`,
  options: { reads: { type: 'string' } },
  async run({ rounds, seconds, json, reads = READS, ...where }) {
    const file = await dataset(where)
    const modes = file.directReason === undefined ? ['cached', 'O_DIRECT'] : ['cached']
    const peers = modes.flatMap((mode) =>
      Object.entries(PEERS).map(([peer, name]) => ({
        name: `${name}, ${mode}`,
        run: () =>
          script('event-loop-process.mjs', {
            peer,
            reads,
            seconds,
            readBytes: READ_BYTES,
            file,
            direct: mode === 'O_DIRECT',
          }),
      })),
    )
    const results = await alternate(peers, rounds)
    const figures = Object.entries(results).flatMap(([name, { median }]) => figuresOf(name, median))
    const bench = `the event loop while ${reads} reads of 16 MiB are pending, medians of ${rounds} x ${seconds} s idle and loaded`
    const notes = [
      'a probe is the median time of its call; delay: monitorEventLoopDelay at 1 ms; turn: from a read() to the end of its turn of the loop',
      ...(file.directReason === undefined ? [] : [`O_DIRECT was not measured: ${file.directReason}`]),
    ]
    report({ bench, file, notes, columns: COLUMNS, results, figures, doubts: doubts(results, rounds) }, json)
  },
})

/** The goals are for auraio; the peer's figures are for comparison. */
function figuresOf(name, median) {
  const ours = name.startsWith('auraio')
  const probes = Object.entries(PROBES).map(([key, call]) => {
    const suffix = `${key[0].toUpperCase()}${key.slice(1)}Us`
    const ratio = median[`loaded${suffix}`] / median[`idle${suffix}`]
    return figure(`${name}: ${call} loaded / idle`, ratio, ours ? { max: 1.5 } : {})
  })
  return [...probes, figure(`${name}: turn p99 ms`, median.turnP99Ms, ours ? { max: 1 } : {})]
}
