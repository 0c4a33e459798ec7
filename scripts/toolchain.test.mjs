import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import test from 'ava'
import { isInstallNeeded } from './lib/npm.mjs'
import { root } from './lib/root.mjs'
import { isAtLeast, missing, rustMin } from './lib/toolchain.mjs'

test('versions compare by number, part by part', (t) => {
  t.true(isAtLeast('v20.19.0', '20.19'))
  t.true(isAtLeast('rustc 1.95.0 (59807616e 2026-04-14)', '1.88'))
  t.true(isAtLeast('1.100.0', '1.88'))
  t.true(isAtLeast('2', '1.88'))
  t.false(isAtLeast('20.9.0', '20.19'))
  t.false(isAtLeast('rustc 1.9.0', '1.88'))
  t.false(isAtLeast('', '1.88'))
})

test('the wanted version of Rust is the one that the workspace declares', (t) => {
  t.is(rustMin('[workspace.package]\nrust-version = "1.77.2"\n'), '1.77.2')
  t.regex(rustMin(), /^1\.\d+/)
})

test('nothing is missing where these tests run', (t) => {
  t.deepEqual(missing(), [])
})

test('an old Node gets one sentence', (t) => {
  const sentences = missing({ nodeVersion: '18.20.0' })
  t.is(sentences.length, 1)
  t.regex(sentences[0], /^Node 18\.20\.0 is too old .* install Node 20\.19 or newer/)
})

const posix = process.platform === 'win32' ? test.skip : test

/** Runs a program in Node. The PATH has only the given tools: each is a shell script, or the real tool for `null`. */
function runWith(t, tools, args) {
  const directory = mkdtempSync(join(tmpdir(), 'auraio-path-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  for (const [name, script] of Object.entries(tools)) {
    const path = join(directory, name)
    if (script === null) symlinkSync(execFileSync('which', [name], { encoding: 'utf8' }).trim(), path)
    else writeFileSync(path, `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  }
  return spawnSync(process.execPath, args, { env: { ...process.env, PATH: directory }, encoding: 'utf8', cwd: root })
}

function startWith(t, tools) {
  return runWith(t, tools, ['scripts/start.mjs'])
}

posix('without Rust, start prints one sentence on standard error and exits with 1', (t) => {
  const { status, stdout, stderr } = startWith(t, {})
  t.is(status, 1)
  t.is(stdout, '')
  t.regex(stderr, /^Rust is missing \(no `rustc` on the PATH\): install Rust \S+ or newer from https:\/\/rustup\.rs/)
  t.is(stderr.trim().split('\n').length, 1)
})

posix('an old Rust gets one sentence, which names both versions', (t) => {
  const { status, stderr } = startWith(t, {
    rustc: 'echo "rustc 1.63.0 (4b91a6ea7 2022-08-08)"',
    cargo: 'echo "cargo 1.63.0"',
  })
  t.is(status, 1)
  t.regex(stderr, /^rustc 1\.63\.0 .* is too old to build auraio: get Rust \S+ or newer/)
  t.is(stderr.trim().split('\n').length, 1)
})

posix('rustc without cargo gets a sentence that names cargo', (t) => {
  const { status, stderr } = startWith(t, { rustc: 'echo "rustc 99.0.0"' })
  t.is(status, 1)
  t.regex(stderr, /no `cargo` on the PATH/)
})

posix('for a Rust that does not run, the sentence repeats its error', (t) => {
  const { status, stderr } = startWith(t, { rustc: 'echo "error: toolchain is not installed" >&2; exit 1' })
  t.is(status, 1)
  t.regex(stderr, /^`rustc --version` fails \(toolchain is not installed\)/)
})

posix('Rust without a linker gets one sentence with the error of rustc and what to install', (t) => {
  const program = `import { missing } from './scripts/lib/toolchain.mjs'
    process.stdout.write(missing({ builtBefore: false }).join('\\n'))`
  const { stdout } = runWith(t, { rustc: null, cargo: null }, ['--input-type=module', '--eval', program])
  t.regex(stdout, /^Rust cannot link a program here \(linker `\S+` not found\): install /)
  t.is(stdout.split('\n').length, 1)
})

test('an install is needed when there is none, or when the lock file is newer', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'auraio-install-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  const lock = join(directory, 'package-lock.json')
  const marker = join(directory, 'node_modules', '.package-lock.json')
  writeFileSync(lock, '{}')
  t.true(isInstallNeeded(directory))
  mkdirSync(join(directory, 'node_modules'))
  t.true(isInstallNeeded(directory), 'an empty node_modules is not an install')
  writeFileSync(marker, '{}')
  utimesSync(lock, 1000, 1000)
  utimesSync(marker, 2000, 2000)
  t.false(isInstallNeeded(directory))
  utimesSync(lock, 3000, 3000)
  t.true(isInstallNeeded(directory))
})
