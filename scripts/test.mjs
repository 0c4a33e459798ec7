#!/usr/bin/env node
/**
 * `npm test`: builds, then runs the Rust suites (doc tests included) and the JavaScript ones. Its last line counts the tests
 * of all suites: `N passed, N failed`, and `, N skipped` if some were skipped. When a tool fails, a line before it says which,
 * with which exit code, and what to do.
 *
 * `npm test -- --debug` builds a binding with debug assertions; `--rust` or `--js` runs one half.
 */
import { build } from './build.mjs'
import { runTool } from './lib/npm.mjs'
import { isMain } from './lib/root.mjs'
import { run } from './lib/run.mjs'
import { countCargo, countTap, summaryLine, total } from './lib/summary.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

/** A suite that takes longer than this is taken to hang, and is ended. */
const SUITE_LIMIT_MS = 15 * 60 * 1000

/**
 * Runs the suites, and shows their output while they run.
 *
 * @param {{ debug?: boolean, rust?: boolean, js?: boolean }} [options]
 * @returns {Promise<import('./lib/summary.mjs').Counts>}
 */
export async function test({ debug = false, rust = true, js = true } = {}) {
  const counts = []
  if (rust) {
    const outcome = await run('cargo', ['test', '--workspace', '--no-fail-fast'], {
      keep: true,
      limitMs: SUITE_LIMIT_MS,
      name: 'cargo test',
      advice: 'the failed tests are listed above; `cargo test -p auraio NAME` runs one again',
    })
    counts.push(countCargo(outcome))
  }
  if (js) counts.push(await testJavaScript(debug))
  return total(counts)
}

async function testJavaScript(debug) {
  if ((await build({ debug })) !== 0) return { passed: 0, failed: 1, skipped: 0 }
  const outcome = await runTool('ava', 'ava', ['--tap'], {
    keep: true,
    limitMs: SUITE_LIMIT_MS,
    advice: 'the failed tests are listed above as `not ok`; `npx ava FILE` runs one file again',
  })
  if (!/^1\.\.\d+/m.test(outcome.out)) {
    process.stderr.write(
      'ava ended before its summary: a test hung, or ended the process. Run `npx ava` to see which tests were pending.\n',
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
