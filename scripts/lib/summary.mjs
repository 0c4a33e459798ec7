/**
 * Counts tests from the output of the runners: cargo's `test result:` lines and ava's TAP.
 *
 * A suite that ended without a result counts as at least one failure, whether it crashed, did not compile or took too long.
 * Otherwise a run could pass because its tests never ran.
 */
import { stripColour } from './failure.mjs'

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

/**
 * Counts of `cargo test --no-fail-fast`.
 *
 * A test binary that dies prints no result line, but cargo lists it among the failed targets. Each failed target without a
 * result line counts as one failure.
 *
 * @param {{ code: number, out: string, err: string }} outcome
 * @returns {Counts}
 */
export function countCargo({ code, out, err }) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  let failedLines = 0
  for (const line of lines(out)) {
    const result = /^test result: (ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored;/.exec(line)
    if (!result) continue
    counts.passed += Number(result[2])
    counts.failed += Number(result[3])
    counts.skipped += Number(result[4])
    if (result[1] === 'FAILED') failedLines += 1
  }
  const failedTargets = Number(/^error: (\d+) targets? failed:$/m.exec(stripColour(err))?.[1] ?? 0)
  counts.failed += Math.max(0, failedTargets - failedLines)
  return believed(counts, code)
}

/**
 * Counts of a TAP stream, version 13. Only lines at the left margin are results; indented lines belong to a test's report. A
 * stream without its plan (`1..N`) was cut off, which is a failure.
 *
 * @param {{ code: number, out: string }} outcome
 * @returns {Counts}
 */
export function countTap({ code, out }) {
  const counts = { passed: 0, failed: 0, skipped: 0 }
  let planned
  let seen = 0
  for (const line of lines(out)) {
    const plan = /^1\.\.(\d+)/.exec(line)
    if (plan) planned = Number(plan[1])
    const result = /^(not )?ok \d+/.exec(line)
    if (!result) continue
    seen += 1
    if (/ # (SKIP|TODO)$/.test(line)) counts.skipped += 1
    else if (result[1]) counts.failed += 1
    else counts.passed += 1
  }
  if (planned === undefined) counts.failed += 1
  else counts.failed += Math.max(0, planned - seen)
  return believed(counts, code)
}

/** @param {Counts[]} all @returns {Counts} */
export function total(all) {
  const sum = { passed: 0, failed: 0, skipped: 0 }
  for (const counts of all) {
    sum.passed += counts.passed
    sum.failed += counts.failed
    sum.skipped += counts.skipped
  }
  return sum
}

/** The line that ends every run: `N passed, N failed`, and `, N skipped` where some were. @param {Counts} counts */
export function summaryLine({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`
}

/** A suite that ended badly, or that ran no test at all, has at least one failure. */
function believed(counts, code) {
  const ranNothing = counts.passed + counts.failed + counts.skipped === 0
  if ((code !== 0 || ranNothing) && counts.failed === 0) return { ...counts, failed: 1 }
  return counts
}

function lines(text) {
  return stripColour(text).split(/\r?\n/)
}
