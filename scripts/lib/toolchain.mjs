/**
 * Checks that the machine has what a build needs: Node, Rust and a linker. For each that is missing or too old it gives one
 * sentence, which says how to get it. It has no dependencies, because it runs before `npm ci` does.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { root } from './root.mjs'

/** The oldest Node that the development tools run on. The published package itself asks for less: see `engines`. */
export const NODE_MIN = '20.19'

/**
 * @param {string} found a version such as `v20.19.1`, `1.95.0` or `1.88.0-nightly`
 * @param {string} wanted the lowest version that is enough; parts that are left out may be anything
 */
export function isAtLeast(found, wanted) {
  const parts = (/** @type {string} */ version) => (version.match(/\d+(\.\d+)*/)?.[0] ?? '0').split('.').map(Number)
  const have = parts(found)
  const need = parts(wanted)
  for (let index = 0; index < need.length; index++) {
    const difference = (have[index] ?? 0) - need[index]
    if (difference !== 0) return difference > 0
  }
  return true
}

/** The `rust-version` that the workspace declares. */
export function rustMin(manifest = readFileSync(join(root, 'Cargo.toml'), 'utf8')) {
  return manifest.match(/^rust-version\s*=\s*"([^"]+)"/m)?.[1] ?? '1'
}

/**
 * A sentence for each tool that is missing, in the order in which to install them; none when nothing is missing.
 *
 * @param {{ nodeVersion?: string, builtBefore?: boolean }} [options]
 * @returns {string[]}
 */
export function missing({ nodeVersion = process.versions.node, builtBefore = isBuilt() } = {}) {
  const sentences = []
  if (!isAtLeast(nodeVersion, NODE_MIN)) {
    sentences.push(
      `Node ${nodeVersion} is too old to build auraio: install Node ${NODE_MIN} or newer from https://nodejs.org.`,
    )
  }
  const rust = rustSentence()
  if (rust) sentences.push(rust)
  else if (!builtBefore) {
    // The check of the linker takes a moment, and is not needed where a build has worked before.
    const linker = linkerSentence()
    if (linker) sentences.push(linker)
  }
  return sentences
}

/** Returns if nothing is missing. Otherwise prints what is missing, and ends the process with exit code 1. */
export function requireToolchain() {
  const sentences = missing()
  if (sentences.length === 0) return
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`)
  process.exit(1)
}

function rustSentence() {
  const wanted = rustMin()
  for (const tool of ['rustc', 'cargo']) {
    const answer = run(tool, ['--version'])
    if (answer.missing) {
      return `Rust is missing (no \`${tool}\` on the PATH): install Rust ${wanted} or newer from https://rustup.rs, then open a new terminal.`
    }
    if (answer.failed) {
      return `\`${tool} --version\` fails (${answer.text}): repair Rust with \`rustup update stable\`, or install it from https://rustup.rs.`
    }
    if (!isAtLeast(answer.text, wanted)) {
      return `${answer.text} is too old to build auraio: get Rust ${wanted} or newer with \`rustup update stable\` or from https://rustup.rs.`
    }
  }
  return undefined
}

/** How to get a linker, by platform. */
export const LINKER_ADVICE = {
  darwin: 'install the command line tools with `xcode-select --install`',
  win32: 'install the "Desktop development with C++" workload of the Visual Studio Build Tools',
  linux:
    'install a C compiler, such as `sudo apt install build-essential`, `sudo dnf install gcc` or `apk add build-base`',
}

function isBuilt() {
  return readdirSync(root).some((name) => name.startsWith('auraio.') && name.endsWith('.node'))
}

/** Links an empty program: only this also finds out that the C library or an SDK is missing. */
function linkerSentence() {
  const chosenByUser = Object.keys(process.env).some((name) => /^CARGO_TARGET_.*_LINKER$/.test(name))
  if (chosenByUser) return undefined
  const scratch = mkdtempSync(join(tmpdir(), 'auraio-linker-'))
  try {
    const source = join(scratch, 'empty.rs')
    writeFileSync(source, 'fn main() {}\n')
    const answer = run('rustc', ['-o', join(scratch, 'empty.exe'), source])
    if (!answer.failed) return undefined
    const advice = LINKER_ADVICE[process.platform] ?? 'install a C compiler'
    return `Rust cannot link a program here (${answer.text}): ${advice}.`
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** @returns {{ missing: boolean, failed: boolean, text: string }} `text` is the first line of the tool's output */
function run(tool, args) {
  try {
    const text = execFileSync(tool, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], cwd: root })
    return { missing: false, failed: false, text: firstLine(text) }
  } catch (error) {
    const text = firstLine(error.stderr || error.stdout || error.message)
    return { missing: error.code === 'ENOENT', failed: true, text }
  }
}

function firstLine(text) {
  return String(text)
    .trim()
    .split(/\r?\n/)[0]
    .replace(/^error: /, '')
}
