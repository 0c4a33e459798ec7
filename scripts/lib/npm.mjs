/**
 * The npm side of a build: installs the packages that the lock file names, and runs the tools among them.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './root.mjs'
import { run } from './run.mjs'

/** True when `node_modules` is missing, incomplete, or older than the lock file. */
export function isInstallNeeded(directory = root) {
  const installed = modifiedMs(join(directory, 'node_modules', '.package-lock.json'))
  const locked = modifiedMs(join(directory, 'package-lock.json'))
  return installed === undefined || (locked !== undefined && locked > installed)
}

/**
 * Runs `npm ci` when it is needed.
 *
 * @returns {Promise<number>} npm's exit code
 */
export async function install() {
  if (!isInstallNeeded()) return 0
  process.stderr.write('Installing the development dependencies (npm ci)\n')
  // The script may run under `npm --silent` or `--omit=dev`. This npm must still show errors and install the tools.
  const args = ['ci', '--include=dev', '--include=optional', '--loglevel=error', '--no-audit', '--no-fund']
  const [program, first] = npm()
  const { code } = await run(program, [...first, ...args], {
    stdout: 'stderr',
    env: { NODE_ENV: undefined },
    name: 'npm ci',
    advice: 'read its error above; if it cannot reach the registry, check the network and `npm config get registry`',
  })
  return code
}

/**
 * npm as a program and its first arguments. If npm runs this script, it is that npm: on Windows npm.cmd cannot be spawned.
 */
function npm() {
  const script = process.env.npm_execpath
  if (script?.endsWith('.js') && existsSync(script)) return [process.execPath, [script]]
  if (process.platform !== 'win32') return ['npm', []]
  return [process.env.ComSpec ?? 'cmd.exe', ['/d', '/s', '/c', 'npm']]
}

/**
 * Runs a command of a development dependency with this very Node.
 *
 * @param {string} packageName
 * @param {string} command
 * @param {string[]} args
 * @param {Parameters<typeof run>[2]} [options] `name` is the command unless it is given
 * @returns {Promise<import('./run.mjs').Outcome>} with code 127 if the package is not installed
 */
export async function runTool(packageName, command, args, options = {}) {
  const directory = join(root, 'node_modules', ...packageName.split('/'))
  const manifest = join(directory, 'package.json')
  if (!existsSync(manifest)) {
    process.stderr.write(
      `${command} is missing (no package ${packageName} in node_modules): remove node_modules and run \`npm ci\`.\n`,
    )
    return { code: 127, out: '', err: '', timedOut: false }
  }
  const { bin } = JSON.parse(readFileSync(manifest, 'utf8'))
  const script = join(directory, typeof bin === 'string' ? bin : bin[command])
  return run(process.execPath, [script, ...args], { name: command, ...options })
}

function modifiedMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}
