#!/usr/bin/env node
/**
 * Refuses a release in which versions differ: `node scripts/release-check.mjs v1.2.3`. The tag, package.json, the Cargo
 * workspace and each package in npm/ must name the same version, and CHANGELOG.md must have a section for it.
 */
import { readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { isMain, root } from './lib/root.mjs'

/**
 * Every version that the repository declares, by the file that declares it.
 *
 * @returns {Record<string, string | undefined>}
 */
export function versions() {
  const text = (/** @type {string} */ path) => readFileSync(join(root, path), 'utf8')
  const cargo = text('Cargo.toml')
  /** @type {Record<string, string | undefined>} */
  const found = {
    'package.json': JSON.parse(text('package.json')).version,
    'package-lock.json': JSON.parse(text('package-lock.json')).version,
    'Cargo.toml': cargo.match(/^\[workspace\.package\][^[]*?^version\s*=\s*"([^"]+)"/ms)?.[1],
  }
  // The crates of the workspace that others depend on: each dependency names a path here, and the version to be published.
  for (const [, crate, declared] of cargo.matchAll(/^(auraio[\w-]*)\s*=\s*\{.*version\s*=\s*"([^"]+)"/gm)) {
    found[`Cargo.toml, dependency ${crate}`] = declared
  }
  for (const platform of readdirSync(join(root, 'npm'))) {
    const path = `npm/${platform}/package.json`
    found[path] = JSON.parse(text(path)).version
  }
  return found
}

/**
 * @param {string} version
 * @returns {string[]} a sentence for each place with another version
 */
export function disagreements(version) {
  const sentences = Object.entries(versions())
    .filter(([, found]) => found !== version)
    .map(([where, found]) => `${where} says ${found}, not ${version}.`)
  const changelog = readFileSync(join(root, 'CHANGELOG.md'), 'utf8')
  if (!changelog.includes(`\n## ${version} `)) sentences.push(`CHANGELOG.md has no section for ${version}.`)
  return sentences
}

if (isMain(import.meta.url)) {
  const sentences = disagreements((process.argv[2] ?? '').replace(/^v/, ''))
  for (const sentence of sentences) process.stderr.write(`${sentence}\n`)
  process.exitCode = sentences.length > 0 ? 1 : 0
}
