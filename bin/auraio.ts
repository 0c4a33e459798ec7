#!/usr/bin/env node
/**
 * The command `auraio`. It runs the subcommand, and turns a failure into one sentence and an exit code. Subcommands use only the
 * public API, so that their figures are those that a program would see.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { bench } from './bench/command.js'
import { CommandError, asUsageError } from './error.js'

const HELP = `Usage: auraio <command> [options]

Commands:
  bench          measure random reads on this machine, next to node:fs/promises or, with --sweep,
                 at depth after depth

Options:
  -h, --help     show this help; after a command, the help of that command
  -v, --version  show the version
`

void main(process.argv.slice(2))

async function main(args: string[]): Promise<void> {
  const command = args[0] !== undefined && !args[0].startsWith('-') ? args[0] : undefined
  try {
    if (command === 'bench') await bench(args.slice(1), version())
    else if (command !== undefined) throw new CommandError(`unknown command '${command}'`, 2)
    else root(args)
  } catch (error) {
    const name = command === 'bench' ? 'auraio bench' : 'auraio'
    const known = error instanceof CommandError
    const hint = known && error.exitCode === 2 ? ` (see ${name} --help)` : ''
    process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}${hint}\n`)
    process.exitCode = known ? error.exitCode : 1
  }
}

function root(args: string[]): void {
  const { help, version: wantsVersion } = parseRoot(args)
  if (help) process.stdout.write(HELP)
  else if (wantsVersion) process.stdout.write(`${version()}\n`)
  else throw new CommandError('a command is missing', 2)
}

function parseRoot(args: string[]): { help?: boolean; version?: boolean } {
  try {
    const options = { help: { type: 'boolean', short: 'h' }, version: { type: 'boolean', short: 'v' } } as const
    return parseArgs({ args, options }).values
  } catch (error) {
    throw asUsageError(error)
  }
}

/** The version of the package. package.json is two folders above the compiled file. */
function version(): string {
  const manifest = JSON.parse(readFileSync(join(__dirname, '../../package.json'), 'utf8')) as { version: string }
  return manifest.version
}
