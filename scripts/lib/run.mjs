/**
 * Runs one program to its end. Its output is shown while it runs, and Ctrl-C reaches it. If it fails, the last line says
 * which tool failed, with which exit code, and what to do. With `keep` or a time limit, processes that it leaves behind are
 * ended too.
 */
import { spawn } from 'node:child_process'
import { failureSentence } from './failure.mjs'
import { root } from './root.mjs'

const POSIX = process.platform !== 'win32'

/**
 * @typedef {object} Outcome
 * @property {number} code the exit code; 128 + the number of the signal that ended it; 127 if it could not be started
 * @property {string} out its standard output, with `keep`
 * @property {string} err its standard error, with `keep`
 * @property {string} [error] why it could not be started
 * @property {boolean} timedOut whether it was ended because it took longer than `limitMs`
 */

/**
 * @param {string} program
 * @param {string[]} args
 * @param {object} [options]
 * @param {Record<string, string | undefined>} [options.env] added to this process's environment; `undefined` removes a name
 * @param {'inherit' | 'stderr'} [options.stdout] `'stderr'` leaves standard output to the script itself
 * @param {boolean} [options.keep] return the output as well as show it
 * @param {number} [options.limitMs] end it after this time
 * @param {string} [options.name] the tool's name in the message about a failure; without it only a failed start is reported
 * @param {string} [options.advice] what to do when the tool fails
 * @returns {Promise<Outcome>}
 */
export async function run(program, args, { name, advice = 'read its output above', ...options } = {}) {
  const outcome = await runToEnd(program, args, options)
  if (outcome.code !== 0 && (name !== undefined || outcome.error !== undefined)) {
    process.stderr.write(`${failureSentence(name ?? program, outcome, advice)}\n`)
  }
  return outcome
}

/** @returns {Promise<Outcome>} */
function runToEnd(program, args, { env = {}, stdout = 'inherit', keep = false, limitMs }) {
  const toStdout = stdout === 'stderr' ? process.stderr : process.stdout
  const child = spawn(program, args, {
    cwd: root,
    env: { ...process.env, ...env },
    // A process group of its own, so that processes which it leaves behind can be ended with it.
    detached: POSIX && keep,
    stdio: ['ignore', keep ? 'pipe' : stdout === 'stderr' ? 2 : 'inherit', keep ? 'pipe' : 'inherit'],
  })
  const endGroup = (/** @type {NodeJS.Signals} */ signal) => {
    if (child.pid === undefined) return
    try {
      if (POSIX && keep) process.kill(-child.pid, signal)
      else child.kill(signal)
    } catch (error) {
      // Nothing is left to end. macOS answers EPERM for a group that consists of zombies.
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

  // The terminal sends Ctrl-C to all processes of its own group. A child in another group gets it from here.
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
    const finish = (/** @type {number} */ code, /** @type {string | undefined} */ error) => {
      if (settled) return
      settled = true
      clearTimeout(timer)
      process.off('SIGINT', onInterrupt)
      process.off('SIGTERM', onTerminate)
      resolve({ code, ...kept, error, timedOut })
    }
    child.on('error', (error) => finish(127, error.message))
    child.on('exit', (code, signal) => {
      // A process of the group that is still alive would hold the pipes open, and 'close' would never come.
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
