// The file systems that a contract is tried on: every backend that this machine has, and node:fs/promises, the oracle.
import fsp from 'node:fs/promises'
import { Engine } from 'auraio'

const BACKENDS = ['uring', 'threads', 'node']

/** `{ name, open, engine?, isOracle }` of each that is to be had here, and `{ name, skipped }` with the reason else. */
export function targets({ withOracle = true } = {}) {
  const list = BACKENDS.map((backend) => {
    try {
      const engine = new Engine({ backend })
      return { name: backend, engine, isOracle: false, open: (...args) => engine.open(...args) }
    } catch (error) {
      if (error.code !== 'ERR_AURAIO_BACKEND') throw error
      return { name: backend, skipped: error.message }
    }
  })
  if (withOracle) list.push({ name: 'node:fs/promises', isOracle: true, open: fsp.open })
  return list
}

/**
 * Declares one test for each target. `differs` says why the oracle is left out, in the test's name; `unable` why a backend
 * is, by its name.
 */
export function contract(test, title, body, { differs, unable = {} } = {}) {
  for (const target of all) {
    if (target.isOracle && differs !== undefined) continue
    const name = `${target.name}: ${title}${differs === undefined ? '' : ` [unlike node: ${differs}]`}`
    const reason = target.skipped ?? unable[target.name]
    if (reason !== undefined) test.skip(`${name} (${reason})`, body)
    else test(name, (t) => body(t, target))
  }
}

const all = targets()

/** True if this Node is at least so new. */
export function nodeAtLeast(major) {
  return Number(process.versions.node.split('.', 1)[0]) >= major
}
