// The targets that a contract runs on: every backend that is available here, and node:fs/promises, the oracle.
import fsp from 'node:fs/promises'
import { Engine } from 'auraio'

const BACKENDS = ['uring', 'threads', 'node']

/** Each target: `{ name, open, stat, lstat, engine?, isOracle }` if it is available here, else `{ name, skipped }` with the reason. */
export function targets({ withOracle = true } = {}) {
  const list = BACKENDS.map((backend) => {
    try {
      const engine = new Engine({ backend })
      const [open, stat, lstat] = ['open', 'stat', 'lstat'].map(
        (name) =>
          (...args) =>
            engine[name](...args),
      )
      return { name: backend, engine, isOracle: false, open, stat, lstat }
    } catch (error) {
      if (error.code !== 'ERR_AURAIO_BACKEND') throw error
      return { name: backend, skipped: error.message }
    }
  })
  if (withOracle) {
    const { open, stat, lstat } = fsp
    list.push({ name: 'node:fs/promises', isOracle: true, open, stat, lstat })
  }
  return list
}

/**
 * Declares one test for each target. `differs` leaves the oracle out; its text, the reason, becomes a part of the test's name.
 * `unable` leaves backends out: it has a reason for each, by name.
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

/** True if this is Node `major` or newer. */
export function nodeAtLeast(major) {
  return Number(process.versions.node.split('.', 1)[0]) >= major
}
