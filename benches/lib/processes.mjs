/** Runs each measurement in a process of its own, so that no peer warms up the JIT, the heap or the threads of another. */
import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'

const running = new Set()
process.once('exit', () => running.forEach((child) => child.kill('SIGKILL')))

/** Runs a program and answers its standard output. If it fails, the error has its standard error. */
export async function output(command, args, env = {}) {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  running.add(child)
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? code))
  })
  try {
    const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), ended])
    if (code === 0) return stdout
    throw Object.assign(new Error(`${command} ${args[0]} ended with ${code}: ${stderr.trim()}`), { code })
  } finally {
    running.delete(child)
  }
}

/** Runs a script of this folder with one object as its argument, and answers the object that it prints. */
export async function script(name, input, { node = process.execPath, flags = [], env } = {}) {
  const path = fileURLToPath(new URL(name, import.meta.url))
  return JSON.parse(await output(node, [...flags, path, JSON.stringify(input)], env))
}
