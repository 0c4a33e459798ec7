#!/usr/bin/env node
/**
 * Builds the core, the binding and the TypeScript: `npm run build`, or `npm run build:debug` for a binding with debug
 * assertions. Everything that it has to say goes to standard error.
 *
 * Cargo knows best what is out of date, so it is always asked; that takes a moment when nothing is.
 */
import { install, tool } from './lib/npm.mjs'
import { isMain } from './lib/root.mjs'
import { run } from './lib/run.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

const BINDING = ['--manifest-path', 'crates/auraio-node/Cargo.toml', '--platform', '--output-dir', '.']
const BINDING_FILES = ['--js', 'binding.js', '--dts', 'binding.d.ts']

/**
 * Installs what is needed and builds.
 *
 * @param {{ debug?: boolean }} [options]
 * @returns {Promise<number>} 0, or the exit code of the first step that failed
 */
export async function build({ debug = false } = {}) {
  const installed = await install()
  if (installed !== 0) return installed
  const profile = debug ? [] : ['--release']
  const steps = [
    [tool('@napi-rs/cli', 'napi'), 'build', ...BINDING, ...BINDING_FILES, ...profile],
    [tool('typescript', 'tsc'), '--project', 'tsconfig.json'],
    ['scripts/esm.mjs'],
  ]
  for (const step of steps) {
    const { code } = await run(process.execPath, step, { stdout: 'stderr' })
    if (code !== 0) return code
  }
  return 0
}

if (isMain(import.meta.url)) {
  requireToolchain()
  process.exitCode = await build({ debug: process.argv.includes('--debug') })
}
