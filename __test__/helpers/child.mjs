// Starts processes for a test, and skips the test if the machine lacks something that it needs.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { accessSync, constants } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { tempDirectory } from './temp.mjs'

/** The repository: scripts run here, so that they can require 'auraio' by name. */
export const ROOT = fileURLToPath(new URL('../..', import.meta.url))

/** A process that runs longer than this is taken to hang. It is killed, and the signal fails the test. */
const GUARD_MS = 60_000

/** The beginning of every script. */
const PRELUDE = `
  const fs = require('node:fs')
  const { Engine } = require('auraio')
  const { daily } = require('./__test__/helpers/daily.cjs')
  const tell = (message) => process.send(message)
  const asked = () => new Promise((resolve) => process.once('message', resolve))
  const turn = () => new Promise(setImmediate)
  const codeOf = (promise) => promise.then(() => 'done', (error) => error.code)
  const args = process.argv.slice(1)
  const main = async () => {`

/**
 * Runs a script (the body of an async function: `tell` sends a message here, `asked` awaits one) behind a command that
 * arranges its environment.
 *
 * @param {import('ava').ExecutionContext} t
 * @param {string} script
 * @param {{ wrap?: string[], args?: string[], env?: Record<string, string>, node?: string[] }} [options]
 */
export function start(t, script, { wrap = [], args = [], env = {}, node = [] } = {}) {
  const code = `${PRELUDE}${script}\n}\nmain()`
  const [command, ...rest] = [...wrap, process.execPath, ...node, '-e', code, ...args]
  const child = spawn(command, rest, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
  })
  const messages = []
  let output = ''
  child.on('message', (message) => messages.push(message))
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding('utf8').on('data', (text) => (output += text))
  const guard = setTimeout(() => child.kill('SIGKILL'), GUARD_MS)
  t.teardown(() => child.kill('SIGKILL')) // no longer there, if all went well
  const ended = once(child, 'close').then(([code, signal]) => {
    clearTimeout(guard)
    return { code, signal, messages, output }
  })
  let taken = 0
  return {
    pid: child.pid,
    ended,
    /** The next message. If the process ends before it, an error with the process's output. */
    async next() {
      const at = taken++
      if (messages.length <= at) {
        await Promise.race([once(child, 'message'), ended])
        if (messages.length <= at) throw new Error(`the process ended before its message, with this output: ${output}`)
      }
      return messages[at]
    },
    send: (message) => child.send(message),
  }
}

/** Runs a script to its end, checks that it ended with code 0, and answers its messages. */
export async function run(t, script, options) {
  const { code, signal, messages, output } = await start(t, script, options).ended
  t.is(signal, null, `killed: ${output}; after ${JSON.stringify(messages)}`)
  t.is(code, 0, output)
  return messages
}

/** Runs a script as the user nobody, with limits in the form of prlimit(1). */
export function asNobody(...limits) {
  return [...withLimits(...limits), 'setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
}

export function withLimits(...limits) {
  return limits.length === 0 ? [] : ['prlimit', ...limits]
}

/** Runs these shell commands and then a script, in a mount namespace that ends with the process. */
export function withMounts(commands) {
  return ['unshare', '--mount', '--propagation', 'private', 'sh', '-ec', `${commands}\nexec "$@"`, 'sh']
}

/** Each answers undefined if the machine has it, else why it does not. */
export const needs = {
  linux: () => (process.platform === 'linux' ? undefined : 'Linux only'),
  root: () => (process.getuid?.() === 0 ? undefined : 'must be root'),
  command: (name) => () => (works('sh', ['-c', `command -v ${name}`]) ? undefined : `no ${name}`),
  mounts: () => (works('unshare', ['--mount', 'mount', '-t', 'tmpfs', 'none', '/mnt']) ? undefined : 'may not mount'),
  writable: (path) => () => {
    try {
      accessSync(path, constants.W_OK)
      return undefined
    } catch (error) {
      return `${path}: ${error.code}`
    }
  },
  variable: (name, why) => () => (process.env[name] === '1' ? undefined : `${why}; ${name}=1 lets it`),
}

function works(command, args) {
  try {
    execFileSync(command, args, { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

/** `test` if the machine has all of this; else a skip that says what is missing. */
export function where(test, ...conditions) {
  for (const condition of [needs.linux, ...conditions]) {
    const reason = condition()
    if (reason !== undefined) return (title, body) => test.skip(`${title} (${reason})`, body)
  }
  return test
}

/** A directory for the test that every user may use. */
export function sharedDirectory(t) {
  const directory = tempDirectory(t)
  execFileSync('chmod', ['0777', directory])
  return directory
}

/** Compiles a C helper to a library; answers its path. */
export function compile(t, name) {
  const source = fileURLToPath(new URL(name, import.meta.url))
  const library = `${tempDirectory(t)}/${name}.so`
  execFileSync('cc', ['-shared', '-fPIC', '-O1', '-o', library, source])
  return library
}
