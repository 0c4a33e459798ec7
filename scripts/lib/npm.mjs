/**
 * The npm side of a build: installing what the lock file names, and finding the tools that it brought.
 */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { root } from './root.mjs'
import { run } from './run.mjs'

/** True when `node_modules` is missing, was left half-made, or is older than the lock file. */
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
  // A parent's --silent or --omit=dev must neither hide an error nor leave the tools out.
  const args = ['ci', '--include=dev', '--include=optional', '--loglevel=error', '--no-audit', '--no-fund']
  const [program, first] = npm()
  const { code } = await run(program, [...first, ...args], { stdout: 'stderr', env: { NODE_ENV: undefined } })
  if (code !== 0) process.stderr.write('npm ci failed: see above.\n')
  return code
}

/** npm as a program and its first arguments: the npm that runs us, if one does, since npm.cmd cannot be spawned on Windows. */
function npm() {
  const script = process.env.npm_execpath
  if (script?.endsWith('.js') && existsSync(script)) return [process.execPath, [script]]
  if (process.platform !== 'win32') return ['npm', []]
  return [process.env.ComSpec ?? 'cmd.exe', ['/d', '/s', '/c', 'npm']]
}

/**
 * The script behind a command of a development dependency, to be run with this very Node.
 *
 * @param {string} packageName
 * @param {string} command
 */
export function tool(packageName, command) {
  const directory = join(root, 'node_modules', ...packageName.split('/'))
  const { bin } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  return join(directory, typeof bin === 'string' ? bin : bin[command])
}

function modifiedMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs
}
