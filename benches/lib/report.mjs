/** Prints the result of a bench: the machine, the medians, and whether they reach the goals. */
import { formatNumber, formatSize } from '../../dist/bin/bench/units.js'
import { machine } from './program.mjs'

export const READ_COLUMNS = {
  operationsPerSecond: 'operations/s',
  cpuUsPerOperation: 'CPU us/op',
  p50Us: 'p50 us',
  p99Us: 'p99 us',
  p999Us: 'p99.9 us',
}

/** A figure with its goal, which is `min` or `max`. Without a goal it is only printed. */
export function figure(what, value, { min, max } = {}) {
  const asked = (min !== undefined || max !== undefined) && Number.isFinite(value)
  const reached = asked ? value >= (min ?? -Infinity) && value <= (max ?? Infinity) : undefined
  return { what, value, min, max, reached }
}

/** @param measured `{ bench, file?, columns, results, figures, notes?, doubts? }`; with doubts, no figure is judged */
export function report(measured, asJson) {
  const { doubts = [], figures } = measured
  const decided = doubts.length === 0 ? figures : figures.map((one) => ({ ...one, reached: undefined }))
  const result = { ...measured, doubts, figures: decided }
  // the columns belong to the table, not to the measurements
  if (asJson) console.log(JSON.stringify({ machine: machine(), ...result, columns: undefined }, null, 2))
  else console.log(lines(result).join('\n'))
}

function lines({ bench, file, columns, results, figures, doubts, notes = [] }) {
  const { cpu, cores, memoryBytes, kernel, node } = machine()
  const keys = Object.keys(columns)
  const rows = Object.entries(results).map(([name, { median }]) => [name, ...keys.map((key) => cell(median[key]))])
  return [
    bench,
    '',
    `machine   ${cpu}, ${cores} cores, ${formatSize(memoryBytes)}, ${kernel}, Node ${node}`,
    ...(file ? [`file      ${formatSize(file.fileBytes)} in ${file.directory} (${file.fileSystem})`] : []),
    ...notes.map((note) => `note      ${note}`),
    ...doubts.map((doubt) => `DOUBT     ${doubt}`),
    '',
    ...table([['', ...Object.values(columns)], ...rows]),
    '',
    ...table([['', 'found', 'wanted', ''], ...figures.map(figureRow)]),
    ...(doubts.length === 0 ? [] : ['', 'Nothing is decided by this run: see the doubts above.']),
  ]
}

function cell(value) {
  return typeof value === 'number' ? formatNumber(value) : String(value ?? '-')
}

function figureRow({ what, value, min, max, reached }) {
  const wanted = min === undefined ? (max === undefined ? '' : `<= ${cell(max)}`) : `>= ${cell(min)}`
  const verdict = reached ? 'reached' : 'NOT reached'
  return [what, cell(value), wanted, reached === undefined ? '' : verdict]
}

/** Aligns the first column to the left, the others to the right. */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)))
  return rows.map((row) =>
    row
      .map((text, column) => (column === 0 ? text.padEnd(widths[0]) : text.padStart(widths[column])))
      .join('  ')
      .trimEnd(),
  )
}
