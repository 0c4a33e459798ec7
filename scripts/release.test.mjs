import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import test from 'ava'
import { root } from './lib/root.mjs'
import { disagreements, versions } from './release-check.mjs'

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

test('package.json, the lock file, the Cargo workspace and the platform packages name one version', (t) => {
  for (const [where, version] of Object.entries(versions())) t.is(version, manifest.version, where)
})

test('the crates that are published are among those whose version is compared', (t) => {
  const where = Object.keys(versions())
  for (const crate of ['auraio', 'auraio-control']) t.true(where.includes(`Cargo.toml, dependency ${crate}`), crate)
})

test('a tag of another version is refused, with a sentence for each place that differs', (t) => {
  const sentences = disagreements('99.0.0')
  t.is(sentences.length, Object.keys(versions()).length + 1)
  t.true(sentences.includes(`package.json says ${manifest.version}, not 99.0.0.`))
  t.true(sentences.includes('CHANGELOG.md has no section for 99.0.0.'))
})

test('every target has its platform package, and none is left over', (t) => {
  const expected = {
    'aarch64-apple-darwin': 'darwin-arm64',
    'aarch64-unknown-linux-gnu': 'linux-arm64-gnu',
    'x86_64-apple-darwin': 'darwin-x64',
    'x86_64-pc-windows-msvc': 'win32-x64-msvc',
    'x86_64-unknown-linux-gnu': 'linux-x64-gnu',
    'x86_64-unknown-linux-musl': 'linux-x64-musl',
  }
  t.deepEqual([...manifest.napi.targets].sort(), Object.keys(expected))
  t.deepEqual(readdirSync(join(root, 'npm')).sort(), Object.values(expected).sort())
})

test('the lock file names no registry, and pins every package, those of other platforms too', (t) => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '') continue
    t.is(entry.resolved, undefined, path)
    t.regex(entry.version ?? '', /^\d+\.\d+\.\d+/, path)
    t.regex(entry.integrity ?? '', /^sha512-/, path)
  }
})
