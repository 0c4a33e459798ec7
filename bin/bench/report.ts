/** Prints the results for people to read. The JSON output is the object itself. */
import type { Machine } from './machine.js'
import { FIGURES, PEERS } from './peers.js'
import type { Comparison, Figures } from './peers.js'
import { formatNumber, formatSize } from './units.js'

export interface Report {
  version: string
  backend: string
  backendReason: string
  machine: Machine
  directory: string
  fileSystem: string
  fileBytes: number
  blockBytes: number
  depth: number
  rounds: number
  secondsPerRound: number
  /** What to bear in mind when reading the numbers. */
  notes: string[]
  cached: Comparison
  /** `null` if there are no direct reads. `directReason` says why then. */
  direct: Comparison | null
  directReason: string | null
}

const HEADINGS: Record<keyof Figures, string> = {
  operationsPerSecond: 'operations/s',
  cpuUsPerOperation: 'CPU us/op',
  p50Us: 'p50 us',
  p99Us: 'p99 us',
}
const LABEL_WIDTH = 20
const COLUMN_WIDTH = 14

export function formatReport(report: Report): string {
  const { machine } = report
  const cores = `${machine.cores} ${machine.cores === 1 ? 'core' : 'cores'}`
  const lines = [
    `auraio ${report.version}: random reads of ${formatSize(report.blockBytes)}, ${report.depth} in flight, ` +
      `medians of ${report.rounds} x ${report.secondsPerRound} s`,
    '',
    `backend   ${report.backend}: ${report.backendReason}`,
    `machine   ${machine.cpu}, ${cores}, ${formatSize(machine.memoryBytes)}, ${machine.kernel}, Node ${machine.node}`,
    `file      ${formatSize(report.fileBytes)} in ${report.directory} (${report.fileSystem})`,
    ...report.notes.map((note) => `note      ${note}`),
    '',
    ...table('cached', report.cached),
    '',
    ...(report.direct === null
      ? [`O_DIRECT was not measured: ${report.directReason ?? 'unknown reason'}.`]
      : table('O_DIRECT', report.direct)),
  ]
  return `${lines.join('\n')}\n`
}

function table(title: string, comparison: Comparison): string[] {
  const row = (label: string, cells: string[]): string =>
    label.padEnd(LABEL_WIDTH) + cells.map((cell) => cell.padStart(COLUMN_WIDTH)).join('')
  return [
    row(
      title,
      FIGURES.map((name) => HEADINGS[name]),
    ),
    ...PEERS.map((peer) =>
      row(
        `  ${peer}`,
        FIGURES.map((name) => formatNumber(comparison.median[peer][name])),
      ),
    ),
    row(
      '  ratio',
      FIGURES.map((name) => `${formatNumber(comparison.ratio[name])}x`),
    ),
  ]
}
