/** `auraio bench`: makes the file, measures auraio and node:fs/promises in turns, and prints the results. */
import { Engine } from '../../index.js'
import { BLOCK_BYTES } from './blocks.js'
import { chooseSize } from './dataset.js'
import { openFiles } from './files.js'
import { endOnSignal } from './interrupt.js'
import { fileSystemOf, freeMemory, machine } from './machine.js'
import { HELP, parseOptions } from './options.js'
import type { BenchOptions } from './options.js'
import { compare } from './peers.js'
import { Progress } from './progress.js'
import { formatReport } from './report.js'
import type { Report } from './report.js'
import { sweep } from './sweep.js'
import { formatSize } from './units.js'

/** The latency of one read in this many is taken. Taking it costs time that shows beside a cached read, but not a direct one. */
const SAMPLE_EVERY = { cached: 16, direct: 4 } as const
/** The part of the progress bar that stands for making the file. The rounds share the rest. */
const PREPARED = 0.2

export async function bench(args: string[], version: string): Promise<void> {
  const options = parseOptions(args)
  if (options.help) {
    process.stdout.write(HELP)
    return
  }
  const progress = new Progress(process.stderr)
  if (options.sweep !== undefined) return sweep(options, options.sweep, version, progress)
  endOnSignal((signal) => {
    progress.clear()
    return `auraio bench: interrupted by ${signal}; nothing is left behind\n`
  })
  try {
    const report = await measure(options, version, progress)
    progress.clear()
    process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : formatReport(report))
  } catch (error) {
    progress.clear()
    throw error
  }
}

async function measure(options: BenchOptions, version: string, progress: Progress): Promise<Report> {
  const { directory, depth, rounds, seconds } = options
  const memory = freeMemory()
  const fileBytes = await chooseSize(directory, options.fileBytes, memory)
  const fileSystem = fileSystemOf(directory)
  const files = await openFiles(directory, fileBytes, fileSystem, (done) =>
    progress.show(done * PREPARED, `making a file of ${formatSize(fileBytes)} in ${directory}`),
  )
  const modes = files.direct === undefined ? 1 : 2
  const show = (mode: number, name: string) => (round: number, peer: string) =>
    progress.show(
      PREPARED + ((1 - PREPARED) * (mode + round / rounds)) / modes,
      `${name}, round ${Math.floor(round) + 1} of ${rounds}, ${peer}`,
    )
  try {
    const load = { fileBytes, depth, seconds }
    const cachedLoad = { ...load, sampleEvery: SAMPLE_EVERY.cached }
    const cached = await compare(files.cached, cachedLoad, rounds, show(0, 'cached'))
    const directLoad = { ...load, sampleEvery: SAMPLE_EVERY.direct }
    const direct = files.direct && (await compare(files.direct, directLoad, rounds, show(1, 'O_DIRECT')))
    return {
      version,
      backend: Engine.default.backend,
      backendReason: Engine.default.backendReason,
      machine: machine(),
      directory,
      fileSystem,
      fileBytes,
      blockBytes: BLOCK_BYTES,
      depth,
      rounds,
      secondsPerRound: seconds,
      notes: fileBytes > memory / 2 ? [tightMemory(fileBytes, memory)] : [],
      cached,
      direct: direct ?? null,
      directReason: files.directReason ?? null,
    }
  } finally {
    await files.close()
  }
}

function tightMemory(fileBytes: number, memory: number): string {
  const sizes = `${formatSize(fileBytes)} of ${formatSize(memory)}`
  return `the file takes more than half of the free memory (${sizes}), so "cached" reads may have met the device`
}
