#!/usr/bin/env node
/**
 * `npm test`: builds, runs the Rust suites (doc tests included) and the JavaScript ones, and ends with one line over all:
 * `N passed, N failed`, and `, N skipped` where some were.
 *
 * `npm test -- --debug` takes a binding with debug assertions; `--rust` or `--js` runs one half.
 */
import { build } from './build.mjs'
import { tool } from './lib/npm.mjs'
import { isMain } from './lib/root.mjs'
import { run } from './lib/run.mjs'
import { countCargo, countTap, summaryLine, total } from './lib/summary.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

/** A suite that takes longer than this hangs. */
const SUITE_LIMIT_MS = 15 * 60 * 1000

/**
 * Runs the suites, showing their output as it comes.
 *
 * @param {{ debug?: boolean, rust?: boolean, js?: boolean }} [options]
 * @returns {Promise<import('./lib/summary.mjs').Counts>}
 */
export async function test({ debug = false, rust = true, js = true } = {}) {
  const counts = []
  if (rust) {
    const args = ['test', '--workspace', '--no-fail-fast']
    counts.push(countCargo(await run('cargo', args, { keep: true, limitMs: SUITE_LIMIT_MS })))
  }
  if (js) counts.push(await testJavaScript(debug))
  return total(counts)
}

async function testJavaScript(debug) {
  if ((await build({ debug })) !== 0) return { passed: 0, failed: 1, skipped: 0 }
  const outcome = await run(process.execPath, [tool('ava', 'ava'), '--tap'], { keep: true, limitMs: SUITE_LIMIT_MS })
  if (!/^1\.\.\d+/m.test(outcome.out)) {
    process.stderr.write(
      'ava ended before its summary: a test hung, or took the runner down. `npx ava` names the pending ones.\n',
    )
  }
  return countTap(outcome)
}

if (isMain(import.meta.url)) {
  requireToolchain()
  const has = (/** @type {string} */ option) => process.argv.includes(option)
  const counts = await test({ debug: has('--debug'), rust: !has('--js'), js: !has('--rust') })
  process.stdout.write(`\n${summaryLine(counts)}\n`)
  process.exitCode = counts.failed > 0 ? 1 : 0
}
