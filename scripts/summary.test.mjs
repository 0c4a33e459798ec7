import test from 'ava'
import { countCargo, countTap, summaryLine, total } from './lib/summary.mjs'

const OK = 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s'
const FAILED = 'test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.08s'
const EMPTY = 'test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s'

test('cargo: the result lines of all binaries and of the doc tests add up', (t) => {
  const out = `\nrunning 4 tests\ntest a ... ok\n${OK}\n\n${EMPTY}\n\n${OK}\nall doctests ran in 0.18s\n`
  t.deepEqual(countCargo({ code: 0, out, err: '' }), { passed: 6, failed: 0, skipped: 2 })
})

test('cargo: colours and carriage returns do not hide a result', (t) => {
  const out = 'test result: \u001b[32mok\u001b[0m. 5 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out\r\n'
  t.deepEqual(countCargo({ code: 0, out, err: '' }), { passed: 5, failed: 0, skipped: 0 })
})

test('cargo: a failed test counts once', (t) => {
  const err = 'error: test failed, to rerun pass `--test x`\nerror: 1 target failed:\n    `-p auraio --test x`\n'
  t.deepEqual(countCargo({ code: 101, out: `${OK}\n${FAILED}\n`, err }), { passed: 5, failed: 1, skipped: 1 })
})

test('cargo: a test binary that dies without a result line is a failure, beside one that has its line', (t) => {
  const err = 'error: 2 targets failed:\n    `-p auraio --test crash`\n    `-p auraio --test fail`\n'
  t.deepEqual(countCargo({ code: 101, out: `${OK}\n${FAILED}\n`, err }), { passed: 5, failed: 2, skipped: 1 })
})

test('cargo: a compile error is a failure', (t) => {
  t.deepEqual(countCargo({ code: 101, out: '', err: 'error[E0425]: cannot find' }), {
    passed: 0,
    failed: 1,
    skipped: 0,
  })
})

test('cargo: lines that a test prints are not taken for results', (t) => {
  const out = `  ${OK}\nnote: ${OK}\n${OK}\n`
  t.deepEqual(countCargo({ code: 0, out, err: '' }), { passed: 3, failed: 0, skipped: 1 })
})

test('TAP: passed, failed, skipped and to-do tests are told apart', (t) => {
  const out = [
    'TAP version 13',
    'ok 1 - a › b',
    'not ok 2 - a › c',
    '  ---',
    '    message: |-',
    '      ok 77 - inside a report',
    '  ...',
    'ok 3 - a › d # SKIP',
    'not ok 4 - a › e # TODO',
    'ok 5 - a title with # SKIP in it',
    '',
    '1..5',
    '# tests 4',
    '# pass 2',
    '# fail 1',
  ].join('\n')
  t.deepEqual(countTap({ code: 1, out }), { passed: 2, failed: 1, skipped: 2 })
})

test('TAP: a stream without its plan was cut off, which is a failure', (t) => {
  t.deepEqual(countTap({ code: 0, out: 'TAP version 13\nok 1 - a\n' }), { passed: 1, failed: 1, skipped: 0 })
})

test('TAP: tests that were planned and never reported are failures', (t) => {
  t.deepEqual(countTap({ code: 0, out: 'ok 1 - a\n1..3\n' }), { passed: 1, failed: 2, skipped: 0 })
})

test('TAP: a bad exit code with no failed test is a failure', (t) => {
  t.deepEqual(countTap({ code: 1, out: 'ok 1 - a\n1..1\n' }), { passed: 1, failed: 1, skipped: 0 })
})

test('a suite that ran nothing is a failure', (t) => {
  t.deepEqual(countTap({ code: 0, out: '1..0\n' }), { passed: 0, failed: 1, skipped: 0 })
  t.deepEqual(countCargo({ code: 0, out: EMPTY, err: '' }), { passed: 0, failed: 1, skipped: 0 })
})

test('the last line names skipped tests only if there are some', (t) => {
  const one = { passed: 2, failed: 0, skipped: 0 }
  t.is(summaryLine(one), '2 passed, 0 failed')
  t.is(summaryLine(total([one, { passed: 1, failed: 3, skipped: 4 }])), '3 passed, 3 failed, 4 skipped')
})
