/**
 * `auraio bench --sweep`: reads with the in-flight limit fixed at one depth after another, and with the limit that an engine finds
 * without configuration. Each run has an engine of its own, so that its wishes end with the run. The order is shuffled for each
 * round, so that no depth always follows the same other depth.
 */
import { constants } from 'node:fs'
import { Engine } from '../../index.js'
import { CommandError } from '../error.js'
import { BLOCK_BYTES, allocateBlocks } from './blocks.js'
import type { BlockMemory } from './blocks.js'
import { O_DIRECT } from './direct.js'
import { stopOnSignal } from './interrupt.js'
import type { Interruption } from './interrupt.js'
import { machine } from './machine.js'
import { CALLERS } from './options.js'
import type { BenchOptions, SweepOptions } from './options.js'
import type { Progress } from './progress.js'
import { randomReads } from './reads.js'
import { openSweepFile } from './sweep-file.js'
import type { SweepFile } from './sweep-file.js'
import { formatSweep, summarise } from './sweep-report.js'
import type { Run, Runs, SweepReport } from './sweep-report.js'
import { formatSize } from './units.js'

/** The latency of one read in this many is taken in JavaScript. Where a limit is in force, most of it is the wait for the limit. */
const SAMPLE_EVERY = 4
/** A run begins with the control loop as the run before has left it. This much time, at most, passes before measuring begins. */
const WARM_UP_SECONDS_MAX = 1
/** The part of the progress bar that stands for making the file. */
const PREPARED = 0.1

export async function sweep(
  options: BenchOptions,
  { depths }: SweepOptions,
  version: string,
  progress: Progress,
): Promise<void> {
  const interruption = stopOnSignal()
  try {
    const file = await openSweepFile(options, (done) => {
      if (interruption.by !== undefined) throw nothingMeasured(interruption)
      progress.show(done * PREPARED, 'making the file')
    })
    try {
      const report = await measure(options, depths, file, interruption, version, progress)
      progress.clear()
      process.stdout.write(options.json ? `${JSON.stringify(report, null, 2)}\n` : formatSweep(report))
    } finally {
      await file.close()
    }
  } finally {
    progress.clear()
    if (interruption.by !== undefined) process.once('exit', () => (process.exitCode = interruption.by?.exitCode ?? 1))
  }
}

async function measure(
  options: BenchOptions,
  depths: readonly number[],
  file: SweepFile,
  interruption: Interruption,
  version: string,
  progress: Progress,
): Promise<SweepReport> {
  const { rounds, seconds } = options
  const rows = [...depths, 'tuned'] as const
  const runs: Runs = new Map(rows.map((row) => [row, []]))
  const memory = allocateBlocks(CALLERS)
  let done = 0
  for (let round = 0; round < rounds && interruption.by === undefined; round++) {
    for (const row of shuffled(rows)) {
      const what = `round ${round + 1} of ${rounds}, ${row === 'tuned' ? row : `depth ${row}`}`
      progress.show(PREPARED + ((1 - PREPARED) * done++) / (rounds * rows.length), what)
      const run = await oneRun(row, file, seconds, memory, interruption)
      if (run === undefined) break
      runs.get(row)?.push(run)
    }
  }
  const summary = summarise(runs)
  if (summary === undefined) throw nothingMeasured(interruption)
  const engine = new Engine()
  const { backend, backendReason } = engine
  await engine.close()
  return {
    version,
    backend,
    backendReason,
    machine: machine(),
    path: file.path,
    fileSystem: file.fileSystem,
    fileBytes: file.fileBytes,
    blockBytes: BLOCK_BYTES,
    callers: CALLERS,
    rounds,
    secondsPerRound: seconds,
    direct: file.directReason === undefined,
    checked: file.isChecked,
    interrupted: interruption.by?.name ?? null,
    notes: notesOn(file, seconds, backend),
    ...summary,
  }
}

/** The life of one engine: a warm-up, then the measured reads. `undefined` if it was interrupted. */
async function oneRun(
  row: number | 'tuned',
  { source, fileBytes, isChecked, directReason }: SweepFile,
  seconds: number,
  memory: BlockMemory,
  { signal }: Interruption,
): Promise<Run | undefined> {
  const isOver = (): boolean => signal.aborted
  const engine = row === 'tuned' ? new Engine() : new Engine({ policy: row })
  try {
    const flags = directReason === undefined ? constants.O_RDONLY | (O_DIRECT ?? 0) : constants.O_RDONLY
    const file = await engine.open(source, flags)
    const load = { fileBytes, depth: CALLERS, seconds, sampleEvery: SAMPLE_EVERY, isChecked, signal }
    await randomReads(file, { ...load, seconds: Math.min(WARM_UP_SECONDS_MAX, seconds) }, memory)
    if (isOver()) return undefined
    const measured = await randomReads(file, load, memory)
    if (isOver()) return undefined
    const lane = engine.stats().lanes.find(({ id }) => id === file.lane)
    const { operationsPerSecond, cpuUsPerOperation } = measured
    if (lane === undefined || lane.completed === 0) {
      return { operationsPerSecond, cpuUsPerOperation, p50Us: measured.p50Us, p99Us: measured.p99Us, limit: null }
    }
    const { completionP50Us, completionP99Us, inFlightLimit } = lane
    return {
      operationsPerSecond,
      cpuUsPerOperation,
      p50Us: completionP50Us,
      p99Us: completionP99Us,
      limit: inFlightLimit,
    }
  } finally {
    await engine.close()
  }
}

function notesOn({ directReason, isChecked, fileBytes, path }: SweepFile, seconds: number, backend: string): string[] {
  const notes: string[] = []
  if (directReason !== undefined) {
    notes.push(
      `${directReason}: reads go through the page cache, which may hold all ${formatSize(fileBytes)} of the file`,
    )
  }
  if (!isChecked) notes.push(`${path} was not made by auraio bench: what was read of it was not checked`)
  if (backend === 'node')
    notes.push('the backend node governs no depth: every row is the same, and p50 and p99 are those of callers')
  else if (seconds < 1)
    notes.push('p50 and p99 are of the last one to two seconds, so with shorter rounds of several rows together')
  return notes
}

function shuffled<T>(list: readonly T[]): T[] {
  const order = [...list]
  for (let at = order.length - 1; at > 0; at--) {
    const other = Math.floor(Math.random() * (at + 1))
    const moved = order[at]!
    order[at] = order[other]!
    order[other] = moved
  }
  return order
}

function nothingMeasured({ by }: Interruption): CommandError {
  return new CommandError(`interrupted by ${by?.name ?? 'a signal'}; nothing was measured, and nothing is left behind`)
}
