/**
 * Question: how many instructions does an operation cost, from the call to the result? callgrind counts the program's own
 * instructions, so the answer is the same in every run and on a busy machine. A change that makes the short path longer shows
 * here before any clock can tell.
 *
 * The program is `crates/auraio/examples/instructions.rs`. Each mode runs at two lengths: what setting up costs is in both
 * counts, and falls out of their difference.
 */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const ROOT = join(import.meta.dirname, '..')
const PROGRAM = join(ROOT, 'target', 'release', 'examples', 'instructions')

/** The rounds of the two runs. In both, every list and table of the engine has grown to its size. */
const SHORT = 500
const LONG = 1500

/** `batch` is how many operations one call carries in the wide column, and `max` what one of them may cost there. */
const MODES = [
  { mode: 'nops', what: 'NOP by submit_batch', batch: 32, max: 200 },
  { mode: 'single', what: 'NOP by port.submit', batch: 32, max: 280 },
  { mode: 'reads', what: 'cached 4 KiB read by submit_batch', batch: 32, max: 330 },
  { mode: 'future', what: 'NOP as an awaited future', batch: 32, max: 1000 },
  { mode: 'futures', what: 'cached 4 KiB read as a future', batch: 64 },
  { mode: 'bare', what: 'NOP by the io-uring crate alone', batch: 32 },
]

/** What one call may cost beside its operations: flush, wait and reap. */
const CALL_MAX = 350

const HELP = `Usage: node benches/instructions.mjs [options] [mode...]

  --json      print one JSON object
  -h, --help  show this help

Modes: ${MODES.map(({ mode }) => mode).join(', ')}; all of them by default. Needs cargo and valgrind, and Linux with io_uring.
Exits with 1 if a figure is over its limit.`

/** A failure that one sentence explains. */
class Refused extends Error {}

function main() {
  const { values, positionals } = options()
  if (values.help) return console.log(HELP)
  const unknown = positionals.find((name) => !MODES.some(({ mode }) => mode === name))
  if (unknown !== undefined) throw new Refused(`'${unknown}' is no mode; --help lists them`)
  const version = needs('valgrind', ['--version'], 'it counts the instructions; install the package valgrind')
  needs('cargo', ['--version'], 'it builds the program; install Rust')
  run('cargo', ['build', '--release', '-p', 'auraio', '--example', 'instructions'], 'inherit')
  const asked = MODES.filter(({ mode }) => positionals.length === 0 || positionals.includes(mode))
  const found = asked.map((one) => measured(one))
  const over = found.some((one) => one.isOver || one.isCallOver)
  if (values.json) console.log(JSON.stringify({ valgrind: version, modes: found }, null, 2))
  else print(version, found)
  if (over) process.exitCode = 1
}

function options() {
  try {
    return parseArgs({
      options: { json: { type: 'boolean' }, help: { type: 'boolean', short: 'h' } },
      allowPositionals: true,
    })
  } catch (error) {
    throw new Refused(`${error.message}; --help lists the options`)
  }
}

/** The first line that the program prints about itself. */
function needs(name, args, why) {
  const { error, stdout } = spawnSync(name, args, { encoding: 'utf8' })
  if (error?.code === 'ENOENT') throw new Refused(`${name} is not installed: ${why}`)
  if (error) throw error
  return stdout.split('\n', 1)[0]
}

function run(name, args, stdio = 'pipe') {
  const { error, status, signal, stdout, stderr } = spawnSync(name, args, { cwd: ROOT, encoding: 'utf8', stdio })
  if (error) throw error
  if (status !== 0) {
    const why = signal === null ? `exited with ${status}` : `was ended by ${signal}`
    throw new Refused([`${[name, ...args].join(' ')} ${why}`, stderr ?? stdout ?? ''].join('\n').trimEnd())
  }
  return stderr
}

/** The instructions of one run of the program. */
function count(mode, rounds, batch) {
  const args = ['--tool=callgrind', '--callgrind-out-file=/dev/null', PROGRAM, mode, `${rounds}`, `${batch}`]
  const text = run('valgrind', args)
  const collected = /Collected : (\d+)/.exec(text)
  if (collected === null) throw new Refused(`valgrind did not say how many instructions it counted:\n${text}`)
  return Number(collected[1])
}

/** The instructions of one round. */
const round = (mode, batch) => (count(mode, LONG, batch) - count(mode, SHORT, batch)) / (LONG - SHORT)

/**
 * A round of `batch` operations costs `batch` times an operation's own work, plus the work of the call. A round of one tells the
 * two apart, except for futures that are awaited one after the other: each of them is a call of its own at any batch.
 */
function measured({ mode, what, batch, max }) {
  const [wide, single] = [round(mode, batch), round(mode, 1)]
  const own = (wide - single) / (batch - 1)
  const perCall = mode === 'future' ? undefined : single - own
  const perOperation = wide / batch
  return {
    mode,
    what,
    batch,
    perOperation,
    perOperationAlone: single,
    perCall,
    max,
    isOver: max !== undefined && perOperation > max,
    isCallOver: mode === 'nops' && perCall > CALL_MAX,
  }
}

function print(version, found) {
  const number = (value) => (value === undefined ? '-' : value.toFixed(0))
  const rows = found.map(({ mode, what, batch, perOperation, perOperationAlone, perCall, max }) => [
    mode,
    what,
    number(batch),
    number(perOperation),
    number(perOperationAlone),
    number(perCall),
    number(max),
  ])
  const head = ['mode', 'operation', 'batch', 'an operation', '1 a call', 'a call', 'limit']
  const widths = head.map((_, at) => Math.max(...[head, ...rows].map((row) => row[at].length)))
  const line = (row) => row.map((cell, at) => (at < 2 ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ')
  console.log(`instructions, user space, calling thread and driver; ${version}\n`)
  for (const row of [head, ...rows]) console.log(line(row).trimEnd())
  console.log(`\n"an operation" is at the batch beside it, "a call" is what one call costs beside its operations.`)
  for (const { mode, perOperation, perCall, max, isOver, isCallOver } of found) {
    if (isOver) console.log(`OVER  ${mode}: ${number(perOperation)} an operation, the limit is ${max}`)
    if (isCallOver) console.log(`OVER  ${mode}: ${number(perCall)} a call, the limit is ${CALL_MAX}`)
  }
  if (!found.some(({ isOver, isCallOver }) => isOver || isCallOver)) console.log('No figure is over its limit.')
}

try {
  main()
} catch (error) {
  console.error(`instructions: ${error instanceof Refused ? error.message : (error?.stack ?? error)}`)
  process.exitCode = 2
}
