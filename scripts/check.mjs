#!/usr/bin/env node
/**
 * `npm run check`: the checks that continuous integration runs. They are formats, lints, documentation and types, with
 * warnings as errors, then both test suites. Every step runs even if one before it failed. The last line counts the tests;
 * each failed step counts as one failure. The lines before it say which tools failed, and what to do.
 */
import { build } from './build.mjs'
import { install, runTool } from './lib/npm.mjs'
import { run } from './lib/run.mjs'
import { summaryLine } from './lib/summary.mjs'
import { requireToolchain } from './lib/toolchain.mjs'
import { test } from './test.mjs'

requireToolchain()
/** @type {string[]} */
const failed = []

let counts = { passed: 0, failed: 0, skipped: 0 }

await step('npm ci', install)
// The other steps need the tools that this one installs.
if (failed.length === 0) {
  const listed = 'correct what it lists above'
  const rustfmt = 'run `cargo fmt --all`; if rustfmt is missing, `rustup component add rustfmt`'
  await step('rustfmt', () => cargo(['fmt', '--all', '--check'], 'rustfmt', rustfmt))
  const clippy = `${listed}; if clippy is missing, \`rustup component add clippy\``
  await step('clippy', () =>
    cargo(['clippy', '--workspace', '--all-targets', '--', '-D', 'warnings'], 'clippy', clippy),
  )
  // The tests of the crate turn its simulated kernel on; its users build it without.
  await step('clippy without the simulator', () =>
    cargo(['clippy', '-p', 'auraio', '--', '-D', 'warnings'], 'clippy', clippy),
  )
  const warnings = { RUSTDOCFLAGS: '-D warnings' }
  const documented = ['doc', '--workspace', '--no-deps', '--features', 'auraio/sim']
  await step('rustdoc', () => cargo(documented, 'rustdoc', listed, warnings))
  await step('prettier', () => node('prettier', 'prettier', ['--check', '.'], 'run `npx prettier --write .`'))
  // The build makes the types of the binding, and those of the package as its users see it. The next two steps need them.
  await step('build', build)
  await step('eslint', () => node('eslint', 'eslint', ['--max-warnings', '0', '.'], listed))
  await step('tsc', () => node('typescript', 'tsc', ['--noEmit', '--project', 'tsconfig.test.json'], listed))
  heading('tests')
  counts = await test()
}

if (failed.length > 0) {
  process.stdout.write(`\nfailed: ${failed.join(', ')} (each says above, at the end of its step, what to do)\n`)
}
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

async function cargo(args, name, advice, env = {}) {
  return (await run('cargo', args, { env, name, advice })).code
}

async function node(packageName, command, args, advice) {
  return (await runTool(packageName, command, args, { advice })).code
}
