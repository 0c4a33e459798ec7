#!/usr/bin/env node
/**
 * `npm start`: from a fresh clone to figures of this machine's disk. It checks the toolchain, installs, builds, then runs
 * `auraio bench` with the arguments it was given (`npm start -- --json`).
 *
 * It has no dependencies, since it runs before there are any. Standard output belongs to the bench alone.
 */
import { build } from './build.mjs'
import { run } from './lib/run.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

requireToolchain()
const built = await build()
if (built !== 0) {
  process.stderr.write('The build failed: see above.\n')
  process.exit(built)
}
const { code } = await run(process.execPath, ['dist/bin/auraio.js', 'bench', ...process.argv.slice(2)])
process.exitCode = code
