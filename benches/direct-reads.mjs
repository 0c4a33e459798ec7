/**
 * Question: how close do O_DIRECT reads of 4 KiB come to the speed of the device, with 64 in flight and with one? The peers are
 * fio's io_uring engine at the same depths, and node:fs/promises with 4, 16 and 64 threads.
 */
import { COMMON_HELP, CommandError, dataset, positive, program } from './lib/program.mjs'
import { fioReader, fioVersion, nodeReader } from './lib/readers.mjs'
import { READ_COLUMNS, figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const DEPTH = 64
const SAMPLE_EVERY = 4
const THREADS = [4, 16, 64]

await program({
  help: `Usage: node benches/direct-reads.mjs [options]

  --submit-batch <n,n>  measure auraio with each of these submit batches (default: the engine's own)
  --fio-batch <n>       fio's iodepth_batch_submit (default: 1, its own)
${COMMON_HELP}`,
  options: { 'submit-batch': { type: 'string' }, 'fio-batch': { type: 'string' } },
  async run({ rounds, seconds, json, 'submit-batch': batches, 'fio-batch': fioBatch = '1', ...where }) {
    const batch = positive('--fio-batch', fioBatch)
    const ours = (batches?.split(',') ?? [undefined]).map((text) => oursWith(text && positive('--submit-batch', text)))
    const fio = await fioVersion()
    const file = await dataset(where)
    if (file.directReason) throw new CommandError(`no direct reads in ${file.directory}: ${file.directReason}`)
    const load = {
      path: file.path,
      fileBytes: file.fileBytes,
      depth: DEPTH,
      seconds,
      sampleEvery: SAMPLE_EVERY,
      direct: true,
    }
    const single = { ...load, depth: 1, sampleEvery: 1 }
    const peers = [
      ...ours.map(({ name, engine }) => nodeReader({ name, peer: 'auraio', load, engine })),
      ...(fio ? [fioReader({ name: 'fio', load, batch })] : []),
      ...THREADS.map((threads) =>
        nodeReader({
          name: promisesWith(threads),
          peer: 'promises',
          load,
          env: { UV_THREADPOOL_SIZE: String(threads) },
        }),
      ),
      nodeReader({ name: '1 in flight: auraio', peer: 'auraio', load: single }),
      nodeReader({ name: '1 in flight: node:fs/promises', peer: 'promises', load: single }),
      ...(fio ? [fioReader({ name: '1 in flight: fio', load: single, batch: 1 })] : []),
    ]
    const results = await alternate(peers, rounds)
    const figures = [...ours.flatMap(({ name }) => figuresOf(name, results)), singleFigure(results)]
    const bench = `O_DIRECT random reads of 4 KiB, ${DEPTH} and 1 in flight, medians of ${rounds} x ${seconds} s`
    const notes = [`backend ${results[ours[0].name].median.backend}`]
    report({ bench, file, fio, notes, columns: READ_COLUMNS, results, figures, doubts: doubts(results, rounds) }, json)
  },
})

function oursWith(submitBatch) {
  if (submitBatch === undefined) return { name: 'auraio', engine: undefined }
  return { name: `auraio, submit batch ${submitBatch}`, engine: { submitBatch } }
}

function promisesWith(threads) {
  return `node:fs/promises, ${threads} threads`
}

/** The best setting of node:fs/promises is the one that costs the least CPU. */
function figuresOf(name, results) {
  const ours = results[name].median
  const best = Math.min(...THREADS.map((threads) => results[promisesWith(threads)].median.cpuUsPerOperation))
  const fio = results.fio?.median.operationsPerSecond
  return [
    figure(`${name}: operations/s / fio`, ours.operationsPerSecond / fio, { min: 0.97 }),
    figure(`${name}: CPU per operation / best node:fs/promises`, ours.cpuUsPerOperation / best, { max: 0.25 }),
  ]
}

function singleFigure(results) {
  const ours = results['1 in flight: auraio'].median.p50Us
  return figure('1 in flight: p50 / node:fs/promises', ours / results['1 in flight: node:fs/promises'].median.p50Us, {
    max: 0.8,
  })
}
