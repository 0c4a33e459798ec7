/** The options of `auraio bench`. */
import { tmpdir } from 'node:os'
import { parseArgs } from 'node:util'
import { CommandError, asUsageError } from '../error.js'
import { parseSize } from './units.js'

export interface BenchOptions {
  help: boolean
  json: boolean
  /** Where the file is made. */
  directory: string
  /** Size of the file in bytes; `undefined` means a size that suits the machine. */
  fileBytes: number | undefined
  /** How many rounds of each peer are measured. */
  rounds: number
  /** Length of a round in seconds. */
  seconds: number
  /** How many reads are kept in flight. */
  depth: number
  /** Set if fixed depths are to be compared with the depth that the engine finds. */
  sweep: SweepOptions | undefined
}

export interface SweepOptions {
  /** The file to read; `undefined` means one that is made in the directory. */
  path: string | undefined
  /** The fixed depths, the smallest first. */
  depths: number[]
}

/** How many callers a sweep has. It cannot show a deeper queue than this. */
export const CALLERS = 256

const DEPTHS_DEFAULT = '1,2,4,8,16,32,64,128,256'

export const HELP: string = `Usage: auraio bench [options]
       auraio bench --sweep [options]

Makes a file, reads 4 KiB blocks of it at random through auraio and through node:fs/promises in alternating rounds,
first from the page cache and then from the device (O_DIRECT), and prints the medians. Every read is checked. The file
is removed in every case.

With --sweep: random reads of 4 KiB past the page cache by ${CALLERS} callers, with the in-flight limit fixed at one depth after the
other and with the one that auraio finds by itself, in random order; and where the knee is: the smallest depth within
3 % of the most operations a second. Ctrl-C prints what there is by then.

Options:
  --size <size>      size of the file, such as 512MiB or 4GiB
                     (default: 1GiB, or a quarter of the free space or memory if that is less)
  --dir <directory>  where to make it (default: the system's temporary directory)
  --depth <n>        reads kept in flight, 1 to 4096 (default: 64); not with --sweep
  --rounds <n>       rounds of each, 1 to 1000 (default: 5; with --sweep: 3)
  --seconds <n>      length of a round, 0.01 to 3600 (default: 1)
  --depths <list>    with --sweep: the depths, 1 to ${CALLERS} (default: ${DEPTHS_DEFAULT})
  --file <path>      with --sweep: the file to read, which is kept; made if it is not there
  --json             print one JSON object instead of the tables
  -h, --help         show this help
`

export const FILE_BYTES_MIN: number = 1024 ** 2

export function parseOptions(args: string[]): BenchOptions {
  const values = parse(args)
  const isSweep = values.sweep ?? false
  refuseMixtures(values, isSweep)
  return {
    help: values.help ?? false,
    json: values.json ?? false,
    directory: values.dir ?? tmpdir(),
    fileBytes: values.size === undefined ? undefined : sizeOf(values.size),
    rounds: numberOf('--rounds', values.rounds ?? (isSweep ? '3' : '5'), { min: 1, max: 1000, whole: true }),
    seconds: numberOf('--seconds', values.seconds ?? '1', { min: 0.01, max: 3600, whole: false }),
    depth: numberOf('--depth', values.depth ?? '64', { min: 1, max: 4096, whole: true }),
    sweep: isSweep ? { path: values.file, depths: depthsOf(values.depths ?? DEPTHS_DEFAULT) } : undefined,
  }
}

const OPTIONS = {
  help: { type: 'boolean', short: 'h' },
  json: { type: 'boolean' },
  sweep: { type: 'boolean' },
  dir: { type: 'string' },
  file: { type: 'string' },
  size: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  depth: { type: 'string' },
  depths: { type: 'string' },
} as const

interface RawOptions {
  help?: boolean
  json?: boolean
  sweep?: boolean
  dir?: string
  file?: string
  size?: string
  rounds?: string
  seconds?: string
  depth?: string
  depths?: string
}

function parse(args: string[]): RawOptions {
  try {
    return parseArgs({ args, options: OPTIONS }).values
  } catch (error) {
    throw asUsageError(error)
  }
}

function refuseMixtures(values: RawOptions, isSweep: boolean): void {
  const wrong = isSweep
    ? values.depth !== undefined && '--depth is not for --sweep, which takes --depths'
    : (values.file ?? values.depths) !== undefined && '--file and --depths are for --sweep alone'
  if (wrong !== false) throw new CommandError(wrong, 2)
  if (values.file !== undefined && values.dir !== undefined) {
    throw new CommandError('--file and --dir exclude each other', 2)
  }
}

/** Each depth once, the smallest first. */
function depthsOf(text: string): number[] {
  const range = { min: 1, max: CALLERS, whole: true }
  return [...new Set(text.split(',').map((depth) => numberOf('each of --depths', depth, range)))].sort((a, b) => a - b)
}

function sizeOf(text: string): number {
  const bytes = parseSize(text)
  if (bytes >= FILE_BYTES_MIN && Number.isSafeInteger(bytes)) return bytes
  throw new CommandError(`--size must be a size of 1MiB or more, such as 512MiB or 4GiB, not '${text}'`, 2)
}

function numberOf(name: string, text: string, range: { min: number; max: number; whole: boolean }): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (value >= range.min && value <= range.max && (!range.whole || Number.isInteger(value))) return value
  const kind = range.whole ? 'a whole number' : 'a number'
  throw new CommandError(`${name} must be ${kind} from ${range.min} to ${range.max}, not '${text}'`, 2)
}
