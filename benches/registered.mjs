/**
 * Question: how much do registered memory and files save an O_DIRECT read of 4 KiB, with 64 in flight? JavaScript makes the same
 * reads into leases, which the rings register by themselves, and into ordinary memory by an engine that registers nothing. fio's
 * io_uring engine does the same with and without registration, which shows how much the kernel itself saves.
 */
import { COMMON_HELP, CommandError, dataset, program } from './lib/program.mjs'
import { fioReader, fioVersion, nodeReader } from './lib/readers.mjs'
import { READ_COLUMNS, figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const DEPTH = 64
const SAMPLE_EVERY = 4

await program({
  help: `Usage: node benches/registered.mjs [options]

${COMMON_HELP}`,
  async run({ rounds, seconds, json, ...where }) {
    const fio = await fioVersion()
    const file = await dataset(where)
    if (file.directReason) throw new CommandError(`no direct reads in ${file.directory}: ${file.directReason}`)
    const { path, fileBytes } = file
    const load = { path, fileBytes, depth: DEPTH, seconds, sampleEvery: SAMPLE_EVERY, direct: true }
    const peers = [
      nodeReader({ name: 'auraio, registered', peer: 'auraio', load: { ...load, leased: true } }),
      nodeReader({ name: 'auraio, unregistered', peer: 'auraio', load, engine: { register: false } }),
      ...(fio
        ? [
            fioReader({ name: 'fio, registered', load, batch: 1, registered: true }),
            fioReader({ name: 'fio, unregistered', load, batch: 1 }),
          ]
        : []),
    ]
    const results = await alternate(peers, rounds)
    const { onRegistered, backend } = results['auraio, registered'].median
    const figures = [
      figure('CPU per operation, registered / unregistered', cpuRatio('auraio', results), { max: 0.75 }),
      ...(fio ? [figure('the same for fio', cpuRatio('fio', results))] : []),
    ]
    const bench = `O_DIRECT random reads of 4 KiB, ${DEPTH} in flight, medians of ${rounds} x ${seconds} s`
    const notes = [`backend ${backend}; ${(onRegistered * 100).toFixed(0)} % of the leased reads on registered memory`]
    report({ bench, file, fio, notes, columns: READ_COLUMNS, results, figures, doubts: doubts(results, rounds) }, json)
  },
})

function cpuRatio(peer, results) {
  const cpu = (which) => results[`${peer}, ${which}`].median.cpuUsPerOperation
  return cpu('registered') / cpu('unregistered')
}
