#!/usr/bin/env node
/**
 * `npm run check`: what continuous integration runs. Formats, lints, documentation and types, with warnings as errors, then
 * both test suites. Every step runs even if one before it failed; a step that fails counts as one failure in the last line.
 */
import { build } from './build.mjs'
import { install, tool } from './lib/npm.mjs'
import { run } from './lib/run.mjs'
import { summaryLine } from './lib/summary.mjs'
import { requireToolchain } from './lib/toolchain.mjs'
import { test } from './test.mjs'

requireToolchain()
/** @type {string[]} */
const failed = []

let counts = { passed: 0, failed: 0, skipped: 0 }

await step('npm ci', install)
// Without the tools there is nothing that the other steps could find out.
if (failed.length === 0) {
  await step('rustfmt', () => cargo('fmt', '--all', '--check'))
  await step('clippy', () => cargo('clippy', '--workspace', '--all-targets', '--', '-D', 'warnings'))
  // The tests of the crate turn its simulated kernel on; its users build it without.
  await step('clippy without the simulator', () => cargo('clippy', '-p', 'auraio', '--', '-D', 'warnings'))
  await step('rustdoc', () =>
    cargo('doc', '--workspace', '--no-deps', '--features', 'auraio/sim', { RUSTDOCFLAGS: '-D warnings' }),
  )
  await step('prettier', () => node('prettier', 'prettier', '--check', '.'))
  // The types of the binding, and of the package as its users see it, are made by the build.
  await step('build', build)
  await step('eslint', () => node('eslint', 'eslint', '--max-warnings', '0', '.'))
  await step('tsc', () => node('typescript', 'tsc', '--noEmit', '--project', 'tsconfig.test.json'))
  heading('tests')
  counts = await test()
}

if (failed.length > 0) process.stdout.write(`\nfailed: ${failed.join(', ')}\n`)
counts.failed += failed.length
process.stdout.write(`\n${summaryLine(counts)}\n`)
process.exitCode = counts.failed > 0 ? 1 : 0

/**
 * @param {string} name
 * @param {() => Promise<number>} work answers an exit code
 */
async function step(name, work) {
  heading(name)
  try {
    if ((await work()) === 0) return
  } catch (error) {
    process.stderr.write(`${error.stack}\n`)
  }
  failed.push(name)
}

function heading(name) {
  process.stdout.write(`\n== ${name}\n`)
}

/** @param {...(string | Record<string, string>)} args the arguments, and last, if at all, what to add to the environment */
async function cargo(...args) {
  const env = typeof args.at(-1) === 'object' ? args.pop() : {}
  return (await run('cargo', args, { env })).code
}

async function node(packageName, command, ...args) {
  return (await run(process.execPath, [tool(packageName, command), ...args])).code
}
