/** The results of a sweep: medians, the knee, and the table for people to read. The JSON output is the object itself. */
import type { Machine } from './machine.js'
import { formatNumber, formatSize, median } from './units.js'

/** The figures of one run. Percentiles are those of completion latency. */
export interface Run {
  operationsPerSecond: number
  cpuUsPerOperation: number
  p50Us: number
  p99Us: number
  /** The in-flight limit at the end of the run; `null` if the file has no lane. */
  limit: number | null
}

/** The runs of each depth, and of `'tuned'`: the depth that the engine finds. */
export type Runs = Map<number | 'tuned', Run[]>

export interface Row extends Run {
  depth: number | 'tuned'
  runs: Run[]
}

export interface Summary {
  rows: Row[]
  /** The smallest depth whose IOPS are within 3 % of the best; `null` if no fixed depth was measured. */
  kneeDepth: number | null
  /** The depth with the most IOPS; `null` likewise. */
  bestDepth: number | null
  /** The figures of the tuned row divided by those of the others; `null` if one of the rows is missing. */
  tuned: { operationsOverBest: number; operationsOverKnee: number; p99OverKnee: number } | null
}

export interface SweepReport extends Summary {
  version: string
  backend: string
  backendReason: string
  machine: Machine
  path: string
  fileSystem: string
  fileBytes: number
  blockBytes: number
  callers: number
  rounds: number
  secondsPerRound: number
  /** True if reads go past the page cache. */
  direct: boolean
  /** True if every block that was read was checked. */
  checked: boolean
  /** The signal that ended the sweep early, if one did. */
  interrupted: string | null
  /** What to bear in mind when reading the numbers. */
  notes: string[]
}

/** A depth with less than this part of the best IOPS is below the knee. */
const KNEE = 0.97

/** `undefined` if nothing was measured. */
export function summarise(runs: Runs): Summary | undefined {
  const rows = [...runs].filter(([, list]) => list.length > 0).map(([depth, list]) => rowOf(depth, list))
  if (rows.length === 0) return undefined
  const fixed = rows.filter(({ depth }) => depth !== 'tuned')
  const most = Math.max(...fixed.map(({ operationsPerSecond }) => operationsPerSecond))
  const best = fixed.find(({ operationsPerSecond }) => operationsPerSecond === most)
  const knee = fixed.find(({ operationsPerSecond }) => operationsPerSecond >= KNEE * most)
  const tuned = rows.find(({ depth }) => depth === 'tuned')
  return {
    rows,
    kneeDepth: depthOf(knee),
    bestDepth: depthOf(best),
    tuned:
      tuned === undefined || knee === undefined
        ? null
        : {
            operationsOverBest: tuned.operationsPerSecond / most,
            operationsOverKnee: tuned.operationsPerSecond / knee.operationsPerSecond,
            p99OverKnee: tuned.p99Us / knee.p99Us,
          },
  }
}

function depthOf(row: Row | undefined): number | null {
  return row === undefined ? null : (row.depth as number)
}

function rowOf(depth: number | 'tuned', runs: Run[]): Row {
  const limits = runs.map(({ limit }) => limit).filter((limit) => limit !== null)
  return {
    depth,
    operationsPerSecond: median(runs.map((run) => run.operationsPerSecond)),
    cpuUsPerOperation: median(runs.map((run) => run.cpuUsPerOperation)),
    p50Us: median(runs.map((run) => run.p50Us)),
    p99Us: median(runs.map((run) => run.p99Us)),
    limit: limits.length === 0 ? null : median(limits),
    runs,
  }
}

const COLUMNS = ['IOPS', 'p50 us', 'p99 us', 'CPU us/op'] as const
const LABEL_WIDTH = 8
const COLUMN_WIDTH = 12

export function formatSweep(report: SweepReport): string {
  const { machine } = report
  const cores = `${machine.cores} ${machine.cores === 1 ? 'core' : 'cores'}`
  const way = report.direct ? 'past the page cache' : 'through the page cache'
  const ended =
    report.interrupted === null
      ? []
      : [`note      interrupted by ${report.interrupted}: this is what there was by then`]
  const lines = [
    `auraio ${report.version}: random reads of ${formatSize(report.blockBytes)} ${way} by ${report.callers} callers, ` +
      `medians of up to ${report.rounds} x ${report.secondsPerRound} s`,
    '',
    `backend   ${report.backend}: ${report.backendReason}`,
    `machine   ${machine.cpu}, ${cores}, ${formatSize(machine.memoryBytes)}, ${machine.kernel}, Node ${machine.node}`,
    `file      ${formatSize(report.fileBytes)}: ${report.path} (${report.fileSystem})`,
    ...[...report.notes.map((note) => `note      ${note}`), ...ended],
    '',
    cells('depth', COLUMNS),
    ...report.rows.map((row) => lineOf(row, report)),
    ...verdict(report),
  ]
  return `${lines.join('\n')}\n`
}

function lineOf(row: Row, { kneeDepth, bestDepth }: Summary): string {
  const { depth, operationsPerSecond, p50Us, p99Us, cpuUsPerOperation, limit } = row
  const marks = [depth === kneeDepth && 'knee', depth === bestDepth && 'best'].filter(Boolean)
  if (depth === 'tuned' && limit !== null) marks.push(`limit ${limit}`)
  const figures = [operationsPerSecond, p50Us, p99Us, cpuUsPerOperation].map(formatNumber)
  return `${cells(String(depth), figures)}${marks.length === 0 ? '' : `   ${marks.join(', ')}`}`
}

function cells(label: string, texts: readonly string[]): string {
  return label.padStart(LABEL_WIDTH) + texts.map((text) => text.padStart(COLUMN_WIDTH)).join('')
}

function verdict({ tuned }: Summary): string[] {
  if (tuned === null) return []
  const { operationsOverBest, operationsOverKnee, p99OverKnee } = tuned
  const [best, knee, p99] = [operationsOverBest, operationsOverKnee, p99OverKnee].map(formatNumber)
  return ['', `tuned: ${best}x the IOPS of the best depth, ${knee}x those of the knee, at ${p99}x its p99`]
}
