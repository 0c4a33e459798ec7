/**
 * Runs one program to its end: its output streams on while it runs, Ctrl-C reaches it, and when it is over nothing that it
 * started is left behind.
 */
import { spawn } from 'node:child_process'
import { root } from './root.mjs'

const POSIX = process.platform !== 'win32'

/**
 * @typedef {object} Outcome
 * @property {number} code the exit code; 128 + the number of the signal that ended it; 127 if it could not be started
 * @property {string} out what it wrote to standard output, where `keep` asked for it
 * @property {string} err the same for standard error
 * @property {boolean} timedOut whether it was ended for taking longer than `limitMs`
 */

/**
 * @param {string} program
 * @param {string[]} args
 * @param {object} [options]
 * @param {Record<string, string | undefined>} [options.env] on top of this process's own; `undefined` takes one away
 * @param {'inherit' | 'stderr'} [options.stdout] `'stderr'` keeps standard output clean for what the script itself has to say
 * @param {boolean} [options.keep] hand the output back as well as show it
 * @param {number} [options.limitMs] end it after this long
 * @returns {Promise<Outcome>}
 */
export function run(program, args, { env = {}, stdout = 'inherit', keep = false, limitMs } = {}) {
  const toStdout = stdout === 'stderr' ? process.stderr : process.stdout
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    // A group of its own, so that whatever it leaves running can be ended with it.
    detached: POSIX && keep,
    stdio: ['ignore', keep ? 'pipe' : stdout === 'stderr' ? 2 : 'inherit', keep ? 'pipe' : 'inherit'],
  })
  const endGroup = (/** @type {NodeJS.Signals} */ signal) => {
    if (child.pid === undefined) return
    try {
      if (POSIX && keep) process.kill(-child.pid, signal)
      else child.kill(signal)
    } catch (error) {
      // Nothing left to end; macOS says EPERM of a group that is all zombies.
      if (error.code !== 'ESRCH' && error.code !== 'EPERM') throw error
    }
  }

  const kept = { out: '', err: '' }
  child.stdout?.setEncoding('utf8').on('data', (text) => {
    kept.out += text
    toStdout.write(text)
  })
  child.stderr?.setEncoding('utf8').on('data', (text) => {
    kept.err += text
    process.stderr.write(text)
  })

  // The terminal sends Ctrl-C to a child of the same group by itself; only a group of its own has to be told.
  const onInterrupt = () => keep && endGroup('SIGINT')
  const onTerminate = () => endGroup('SIGTERM')
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onTerminate)

  let timedOut = false
  const timer = limitMs === undefined ? undefined : setTimeout(onLimit, limitMs)
  function onLimit() {
    timedOut = true
    process.stderr.write(`\n${program} ${args.join(' ')}: ended after ${limitMs / 1000} s\n`)
    endGroup('SIGKILL')
  }

  return new Promise((resolve) => {
    let settled = false
    const finish = (/** @type {number} */ code) => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      process.off('SIGINT', onInterrupt)
      process.off('SIGTERM', onTerminate)
      resolve({ code, ...kept, timedOut })
    }
    child.on('error', (error) => {
      process.stderr.write(`${program}: ${error.message}\n`)
      finish(127)
    })
    child.on('exit', (code, signal) => {
      // Anything still alive in the group would hold the pipes open, and 'close' would never come.
      if (POSIX && keep) endGroup('SIGKILL')
      if (!keep) finish(exitCode(code, signal))
    })
    child.on('close', (code, signal) => finish(exitCode(code, signal)))
  })
}

const SIGNAL_NUMBERS = { SIGHUP: 1, SIGINT: 2, SIGABRT: 6, SIGKILL: 9, SIGSEGV: 11, SIGTERM: 15 }

function exitCode(code, signal) {
  return code ?? 128 + (SIGNAL_NUMBERS[signal] ?? 0)
}
