#!/usr/bin/env node
/**
 * Builds the core, the binding and the TypeScript: `npm run build`, or `npm run build:debug` for a binding with debug
 * assertions. All its output goes to standard error. When a step fails, the last line says which tool failed, with which exit
 * code, and what to do.
 *
 * Cargo always runs, because only cargo knows what is out of date. If nothing is, that takes a moment.
 */
import { install, runTool } from './lib/npm.mjs'
import { isMain } from './lib/root.mjs'
import { run } from './lib/run.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

const BINDING = ['--manifest-path', 'crates/auraio-node/Cargo.toml', '--platform', '--output-dir', '.']
const BINDING_FILES = ['--js', 'binding.js', '--dts', 'binding.d.ts']

/**
 * Installs the development dependencies if necessary, then builds.
 *
 * @param {{ debug?: boolean }} [options]
 * @returns {Promise<number>} 0, or the exit code of the first step that failed
 */
export async function build({ debug = false } = {}) {
  const installed = await install()
  if (installed !== 0) return installed
  const profile = debug ? [] : ['--release']
  const steps = [
    () =>
      runTool('@napi-rs/cli', 'napi', ['build', ...BINDING, ...BINDING_FILES, ...profile], {
        stdout: 'stderr',
        // The output is searched for the tool that failed: napi, or cargo, rustc or the linker below it.
        keep: true,
        env: { CARGO_TERM_COLOR: process.stderr.isTTY ? 'always' : undefined },
        name: 'napi build',
        advice: 'read its error above',
      }),
    () =>
      runTool('typescript', 'tsc', ['--project', 'tsconfig.json'], {
        stdout: 'stderr',
        advice: 'correct the errors that it lists above',
      }),
    () =>
      run(process.execPath, ['scripts/esm.mjs'], {
        stdout: 'stderr',
        name: 'scripts/esm.mjs',
        advice: 'dist/index.js does not load; read the error above, correct it and build again',
      }),
  ]
  for (const step of steps) {
    const { code } = await step()
    if (code !== 0) return code
  }
  return 0
}

if (isMain(import.meta.url)) {
  requireToolchain()
  process.exitCode = await build({ debug: process.argv.includes('--debug') })
}
