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
  /** Size of the file in bytes; `undefined`: as large as makes sense there. */
  fileBytes: number | undefined
  /** Measured rounds of each peer. */
  rounds: number
  /** Length of a round. */
  seconds: number
  /** Reads kept in flight. */
  depth: number
}

export const HELP = `Usage: auraio bench [options]

Makes a file, reads 4 KiB blocks of it at random through auraio and through node:fs/promises in alternating rounds,
first from the page cache and then from the device (O_DIRECT), and prints the medians. Every read is checked. The file
is removed in every case.

Options:
  --size <size>      size of the file, such as 512MiB or 4GiB
                     (default: 1GiB, or a quarter of the free space or memory if that is less)
  --dir <directory>  where to make it (default: the system's temporary directory)
  --depth <n>        reads kept in flight, 1 to 4096 (default: 64)
  --rounds <n>       rounds of each, 1 to 1000 (default: 5)
  --seconds <n>      length of a round, 0.01 to 3600 (default: 1)
  --json             print one JSON object instead of the tables
  -h, --help         show this help
`

export const FILE_BYTES_MIN: number = 1024 ** 2

export function parseOptions(args: string[]): BenchOptions {
  const values = parse(args)
  return {
    help: values.help ?? false,
    json: values.json ?? false,
    directory: values.dir ?? tmpdir(),
    fileBytes: values.size === undefined ? undefined : sizeOf(values.size),
    rounds: numberOf('--rounds', values.rounds ?? '5', { min: 1, max: 1000, whole: true }),
    seconds: numberOf('--seconds', values.seconds ?? '1', { min: 0.01, max: 3600, whole: false }),
    depth: numberOf('--depth', values.depth ?? '64', { min: 1, max: 4096, whole: true }),
  }
}

interface RawOptions {
  help?: boolean
  json?: boolean
  dir?: string
  size?: string
  rounds?: string
  seconds?: string
  depth?: string
}

function parse(args: string[]): RawOptions {
  try {
    const options = {
      help: { type: 'boolean', short: 'h' },
      json: { type: 'boolean' },
      dir: { type: 'string' },
      size: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      depth: { type: 'string' },
    } as const
    return parseArgs({ args, options }).values
  } catch (error) {
    throw asUsageError(error)
  }
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
