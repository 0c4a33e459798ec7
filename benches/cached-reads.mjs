/**
 * Question: how fast does one JavaScript thread read 4 KiB blocks from the page cache, with promises and 64 reads in flight?
 * The peers are node:fs/promises, fs.readSync (which blocks the thread) and fio's io_uring engine.
 */
import { COMMON_HELP, CommandError, dataset, program } from './lib/program.mjs'
import { output } from './lib/processes.mjs'
import { fioReader, fioVersion, nodeReader } from './lib/readers.mjs'
import { READ_COLUMNS, figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const DEPTH = 64
const FIO_BATCH = 32
const SAMPLE_EVERY = 16

await program({
  help: `Usage: node benches/cached-reads.mjs [options]

  --node <path>      measure auraio, node:fs/promises and fs.readSync on this Node binary too; may be repeated
${COMMON_HELP}`,
  options: { node: { type: 'string', multiple: true } },
  async run({ rounds, seconds, json, node: others = [], ...where }) {
    const nodes = await Promise.all([process.execPath, ...others].map(withVersion))
    const fio = await fioVersion()
    const file = await dataset(where)
    const load = {
      path: file.path,
      fileBytes: file.fileBytes,
      depth: DEPTH,
      seconds,
      sampleEvery: SAMPLE_EVERY,
      direct: false,
    }
    const peers = nodes.flatMap(({ node, version }) => [
      nodeReader({ name: `auraio, Node ${version}`, peer: 'auraio', load, node }),
      nodeReader({ name: `node:fs/promises, Node ${version}`, peer: 'promises', load, node }),
      nodeReader({ name: `fs.readSync, Node ${version}`, peer: 'readSync', load, node }),
    ])
    peers.push(nodeReader({ name: 'the loop of the bench alone', peer: 'nothing', load }))
    if (fio !== undefined) peers.push(fioReader({ name: 'fio', load, batch: FIO_BATCH }))
    const results = await alternate(peers, rounds)
    const figures = nodes.flatMap(({ version }) => figuresOf(version, results))
    const bench = `cached random reads of 4 KiB, ${DEPTH} in flight, medians of ${rounds} x ${seconds} s`
    const backend = results[`auraio, Node ${nodes[0].version}`].median.backend
    report(
      {
        bench,
        file,
        fio,
        notes: [`backend ${backend}`],
        columns: READ_COLUMNS,
        results,
        figures,
        doubts: doubts(results, rounds),
      },
      json,
    )
  },
})

async function withVersion(node) {
  const version = await output(node, ['-p', 'process.versions.node']).catch(() => {
    throw new CommandError(`--node ${node} is not a Node binary: give the path of one`, 2)
  })
  return { node, version: version.trim() }
}

/** The goals depend on the version of Node: newer ones have a faster node:fs/promises. */
function figuresOf(version, results) {
  const major = parseInt(version, 10)
  const of = (name) => results[name]?.median ?? {}
  const ours = of(`auraio, Node ${version}`)
  const promises = of(`node:fs/promises, Node ${version}`)
  const speed = (name) => ours.operationsPerSecond / of(name).operationsPerSecond
  return [
    figure(`operations/s / node:fs/promises, Node ${version}`, speed(`node:fs/promises, Node ${version}`), {
      min: major <= 20 ? 5 : major >= 26 ? 2.4 : undefined,
    }),
    figure(
      `CPU per operation / node:fs/promises, Node ${version}`,
      ours.cpuUsPerOperation / promises.cpuUsPerOperation,
      {
        max: major <= 20 ? 1 / 6 : undefined,
      },
    ),
    figure(`operations/s / fs.readSync, Node ${version} (stretch)`, speed(`fs.readSync, Node ${version}`), { min: 1 }),
    figure(`operations/s / fio, Node ${version}`, speed('fio'), { min: 0.9 }),
  ]
}
