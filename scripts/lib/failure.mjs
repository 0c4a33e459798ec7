/**
 * Says which tool failed, with which exit code, and what to do about it: one sentence, the last that a failed build prints.
 *
 * A tool may only pass on the failure of another: napi starts cargo, cargo starts rustc, rustc starts the linker. So the
 * output is searched for the innermost one. Output that names none of them is not guessed at: then the tool that was
 * started is named.
 */
import { LINKER_ADVICE } from './toolchain.mjs'

/** @typedef {{ code: number, out?: string, err?: string, error?: string, timedOut?: boolean }} Ended how a tool ended */

/**
 * @param {string} tool the tool that was started, as its user knows it
 * @param {Ended} outcome
 * @param {string} advice what to do when the tool itself failed
 */
export function failureSentence(tool, outcome, advice) {
  const { code, error, timedOut } = outcome
  if (error !== undefined) return `${tool} could not be started (${error}): install it, or put it on the PATH.`
  if (timedOut) return `${tool} was ended, because it took too long: ${advice}.`
  const inner = innerFailure(outcome)
  if (inner) return `${inner.said} (${tool} ended with exit code ${code}): ${inner.advice}.`
  return `${tool} failed with exit code ${code}: ${advice}.`
}

/** The innermost tool that cargo's or napi's output says has failed. @param {Ended} outcome */
function innerFailure({ out = '', err = '' }) {
  const text = stripColour(`${out}\n${err}`)
  const install = LINKER_ADVICE[process.platform] ?? 'install a C compiler'
  const noLinker = /^error: linker `([^`]+)` not found/m.exec(text)
  if (noLinker) return { said: `The linker \`${noLinker[1]}\` is missing`, advice: install }
  const linking = /^error: linking with `([^`]+)` failed: exit (?:code|status): (\d+)/m.exec(text)
  if (linking) {
    const said = `The linker \`${linking[1]}\` failed with exit code ${linking[2]}`
    return { said, advice: `read what it says above; if it lacks a library or the C runtime, ${install}` }
  }
  const script = /^error: failed to run custom build command for `([^`]+)`/m.exec(text)
  if (script) return { said: `The build script of ${script[1]} failed`, advice: 'read its output above' }
  const crate = /^error: could not compile `([^`]+)`/m.exec(text)
  if (crate) return { said: `rustc could not compile ${crate[1]}`, advice: 'correct the errors that it lists above' }
  const noCargo = /Build failed with error: (spawn .*)/.exec(text)
  if (noCargo) {
    const advice = 'install Rust from https://rustup.rs, then open a new terminal'
    return { said: `cargo could not be started (${noCargo[1]})`, advice }
  }
  const cargo = /Build failed with exit code (\d+)/.exec(text)
  if (cargo) return { said: `cargo failed with exit code ${cargo[1]}`, advice: 'read its error above' }
  return undefined
}

/** @param {string} text */
export function stripColour(text) {
  // eslint-disable-next-line no-control-regex -- the escape character is what is looked for
  return text.replace(/\u001b\[[0-9;]*m/g, '')
}
