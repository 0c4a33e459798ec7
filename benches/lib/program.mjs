/** The common parts of every bench: the options, one sentence for each foreseen failure, and a file that is always removed. */
import { constants, existsSync, rmSync, statSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname } from 'node:path'
import { parseArgs } from 'node:util'

/** The parts of `auraio bench` that the benches share with it: the blocks, the loop and the medians. */
const built = (name) =>
  import(`../../dist/bin/${name}.js`).catch((error) => {
    if (error.code !== 'ERR_MODULE_NOT_FOUND') throw error
    console.error('bench: dist/ is missing; npm run build makes it')
    process.exit(1)
  })
const { CommandError, asUsageError } = await built('error')
const { chooseSize, createDataset, fill, warm } = await built('bench/dataset')
const { whyNotDirect } = await built('bench/direct')
const { endOnSignal } = await built('bench/interrupt')
const { fileSystemOf, freeMemory, machine } = await built('bench/machine')
const { parseSize } = await built('bench/units')

export { CommandError, fileSystemOf, machine }

const COMMON = {
  dir: { type: 'string' },
  file: { type: 'string' },
  size: { type: 'string' },
  rounds: { type: 'string' },
  seconds: { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
}

export const COMMON_HELP = `  --dir <directory>  make the file in this directory, and remove it afterwards (default: the temporary directory)
  --file <path>      use this file, and keep it for later runs; it is made if it does not exist
  --size <size>      size of the file (default: 1GiB, or less if there is little room)
  --rounds <n>       rounds of each peer (default: 5)
  --seconds <n>      length of a round (default: 2)
  --json             print one JSON object
  -h, --help         show this help`

/**
 * Runs a bench, and prints a foreseen failure as one sentence.
 *
 * @param bench `options` for parseArgs beside the common ones, `help`, `defaults`, and `run(values)`
 */
export async function program({ help, options = {}, defaults = {}, run }) {
  try {
    const values = parse(options)
    if (values.help) {
      console.log(help)
      return
    }
    endOnSignal((signal) => `bench: interrupted by ${signal}\n`)
    await run({ rounds: 5, seconds: 2, ...defaults, ...values })
  } catch (error) {
    console.error(`bench: ${error instanceof CommandError ? error.message : (error?.stack ?? error)}`)
    process.exitCode = error instanceof CommandError ? error.exitCode : 1
  }
}

function parse(options) {
  let values
  try {
    ;({ values } = parseArgs({ options: { ...COMMON, ...options } }))
  } catch (error) {
    throw asUsageError(error)
  }
  for (const name of ['rounds', 'seconds', 'workers', 'seed', 'reads']) {
    if (values[name] !== undefined) values[name] = positive(`--${name}`, values[name])
  }
  if (values.size !== undefined && !((values.size = parseSize(values.size)) >= 1024 ** 2)) {
    throw new CommandError('--size must be a size of 1MiB or more, such as 512MiB or 4GiB', 2)
  }
  return values
}

export function positive(name, text) {
  const value = Number(text)
  if (value > 0 && Number.isFinite(value)) return value
  throw new CommandError(`${name} must be a number above 0, not '${text}'`, 2)
}

/** The file to read, filled, checked and in the page cache: `{ path, directory, fileSystem, fileBytes, directReason }`. */
export async function dataset({ dir = tmpdir(), file, size }) {
  const directory = file === undefined ? dir : dirname(file)
  const kept = file !== undefined && existsSync(file)
  const fileBytes = kept ? statSync(file).size : await chooseSize(directory, size, freeMemory())
  if (kept && size !== undefined && size !== fileBytes)
    throw new CommandError(`${file} exists with another size: remove it, or leave --size out`)
  const path = file ?? (await createDataset(directory)).path
  if (kept) await withFile(path, constants.O_RDONLY, (handle) => warm(handle, fileBytes))
  else await make(path, directory, fileBytes)
  const fileSystem = fileSystemOf(directory)
  return { path, directory, fileSystem, fileBytes, directReason: await whyNotDirect(path, fileSystem) }
}

/** Removes a file that was not written to its end, so that the next run does not take it for a whole one. */
async function make(path, directory, fileBytes) {
  const remove = () => rmSync(path, { force: true })
  process.once('exit', remove)
  await withFile(path, constants.O_RDWR | constants.O_CREAT | constants.O_EXCL, async (handle) => {
    await fill(handle, directory, fileBytes, () => {})
    await warm(handle, fileBytes)
  })
  process.removeListener('exit', remove)
}

async function withFile(path, flags, use) {
  const handle = await open(path, flags)
  try {
    await use(handle)
  } finally {
    await handle.close()
  }
}
