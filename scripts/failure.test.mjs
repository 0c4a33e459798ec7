import { execFileSync, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { failureSentence } from './lib/failure.mjs'
import { root } from './lib/root.mjs'

const napi = (/** @type {string} */ err, code = 1) =>
  failureSentence('napi build', { code, out: '', err }, 'read its error above')

test('a tool that failed by itself is named with its exit code and the advice', (t) => {
  t.is(
    failureSentence('tsc', { code: 2 }, 'correct the errors that it lists above'),
    'tsc failed with exit code 2: correct the errors that it lists above.',
  )
})

test('a tool that could not be started is said to be missing', (t) => {
  t.is(
    failureSentence('clippy', { code: 127, error: 'spawn cargo ENOENT' }, 'unused'),
    'clippy could not be started (spawn cargo ENOENT): install it, or put it on the PATH.',
  )
})

test('a tool that took too long is said to have been ended', (t) => {
  const sentence = failureSentence('ava', { code: 137, timedOut: true }, 'run `npx ava`')
  t.is(sentence, 'ava was ended, because it took too long: run `npx ava`.')
})

test('a missing linker is named, with the way to get one', (t) => {
  const sentence = napi('error: linker `cc` not found\n  |\n  = note: No such file or directory (os error 2)\n')
  t.regex(sentence, /^The linker `cc` is missing \(napi build ended with exit code 1\): install /)
})

test('a linker that failed is named with its own exit code', (t) => {
  const sentence = napi(
    'error: linking with `cc` failed: exit status: 3\n  = note: ld: cannot find -luring\n' +
      'error: could not compile `auraio-node` (lib) due to 1 previous error\n',
  )
  t.regex(sentence, /^The linker `cc` failed with exit code 3 \(napi build ended with exit code 1\): read what it says/)
})

test('rustc is named, and the crate that it could not compile', (t) => {
  const err =
    '\u001b[1m\u001b[91merror\u001b[0m: could not compile `auraio` (lib) due to 1 previous error\n' +
    'Internal Error: Build failed with exit code 101\n'
  const wanted = 'rustc could not compile auraio (napi build ended with exit code 1): correct the errors'
  t.true(napi(err).startsWith(wanted), napi(err))
})

test('the build script of a crate is named', (t) => {
  const sentence = napi('error: failed to run custom build command for `libc v0.2.1`\n')
  t.is(sentence, 'The build script of libc v0.2.1 failed (napi build ended with exit code 1): read its output above.')
})

test('cargo is named where it failed by itself, with its own exit code', (t) => {
  const sentence = napi('error: no matching package named `x` found\nInternal Error: Build failed with exit code 101\n')
  t.is(sentence, 'cargo failed with exit code 101 (napi build ended with exit code 1): read its error above.')
})

test('cargo is named where napi could not start it', (t) => {
  const sentence = napi('Internal Error: Build failed with error: spawn cargo ENOENT\n')
  t.regex(sentence, /^cargo could not be started \(spawn cargo ENOENT\) \(napi build ended .* https:\/\/rustup\.rs/)
})

test('a failed test whose output quotes a tool is not taken for a failure of that tool', (t) => {
  const out = "assertion failed: left: 'error: linker `cc` not found'\n"
  const sentence = failureSentence('cargo test', { code: 101, out, err: '' }, 'the failed tests are listed above')
  t.is(sentence, 'cargo test failed with exit code 101: the failed tests are listed above.')
})

const posix = process.platform === 'win32' ? test.skip : test

/** Runs a script with a cargo that fails in its own way, except that it answers `--version` and `metadata`. */
function buildWith(t, script) {
  const directory = mkdtempSync(join(tmpdir(), 'auraio-cargo-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const cargo = execFileSync('which', ['cargo'], { encoding: 'utf8' }).trim()
  const pass = `case "$1" in --version|metadata) exec "${cargo}" "$@";; esac`
  writeFileSync(join(directory, 'cargo'), `#!/bin/sh\n${pass}\n${script}\n`, { mode: 0o755 })
  const env = { ...process.env, PATH: `${directory}:${process.env.PATH}`, CARGO: undefined }
  return spawnSync(process.execPath, ['scripts/build.mjs'], { env, encoding: 'utf8', cwd: root })
}

posix('the last line of a build whose cargo fails names cargo, its exit code and what to do', (t) => {
  const { status, stdout, stderr } = buildWith(t, 'echo "error: the registry is not there" >&2; exit 101')
  t.is(status, 1)
  t.is(stdout, '')
  const wanted = 'cargo failed with exit code 101 (napi build ended with exit code 1): read its error above.'
  t.is(stderr.trim().split('\n').at(-1), wanted)
})

posix('the last line of a build that cannot link names the linker', (t) => {
  const { stderr } = buildWith(t, 'echo "error: linking with \\`cc\\` failed: exit status: 1" >&2; exit 101')
  t.regex(stderr.trim().split('\n').at(-1) ?? '', /^The linker `cc` failed with exit code 1 \(napi build ended with /)
})

/** The standard error of a call of `run` in a process of its own. */
function runs(program, options) {
  const script = `import { run } from './scripts/lib/run.mjs'
    await run(${program}, ['--eval', 'process.exit(2)'], ${JSON.stringify(options)})`
  return spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8', cwd: root }).stderr
}

test('a step that fails names its tool, the exit code and what to do', (t) => {
  const stderr = runs('process.execPath', { name: 'tsc', advice: 'correct the errors that it lists above' })
  t.is(stderr, 'tsc failed with exit code 2: correct the errors that it lists above.\n')
})

test('a step whose program does not exist says so', (t) => {
  const stderr = runs("'no-such-npm'", { name: 'npm ci', advice: 'unused' })
  t.is(stderr, 'npm ci could not be started (spawn no-such-npm ENOENT): install it, or put it on the PATH.\n')
})

test('a check whose tool is missing says which, and what to do', (t) => {
  const program = `import { runTool } from './scripts/lib/npm.mjs'
    process.exitCode = (await runTool('no-such-package', 'no-such-tool', [])).code`
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    encoding: 'utf8',
    cwd: root,
  })
  t.is(status, 127)
  t.is(
    stderr,
    'no-such-tool is missing (no package no-such-package in node_modules): remove node_modules and run `npm ci`.\n',
  )
})
