#!/usr/bin/env node
/**
 * `npm start`: measures this machine's disk, from a fresh clone. It checks the toolchain, installs, builds, then runs
 * `auraio bench` with its own arguments (`npm start -- --json`).
 *
 * It has no dependencies, because it runs before any are installed. Only the bench writes to standard output.
 */
import { build } from './build.mjs'
import { run } from './lib/run.mjs'
import { requireToolchain } from './lib/toolchain.mjs'

requireToolchain()
const built = await build()
// The build has said which tool failed.
if (built !== 0) process.exit(built)
const { code } = await run(process.execPath, ['dist/bin/auraio.js', 'bench', ...process.argv.slice(2)])
process.exitCode = code
