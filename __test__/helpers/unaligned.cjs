// Operations of a program that ignores alignment, on a direct handle. A Buffer holds what the file must contain.
'use strict'
const { readFileSync, statSync } = require('node:fs')

const SIZE = 200_000
const FLAG = 0o40000 // O_DIRECT on x86; elsewhere the flags are not looked at

/** Random numbers from a seed: a linear congruential generator, of which only the upper bits are used. */
function numbers(seed) {
  let state = seed
  return (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * limit)
  }
}

/** Makes writes and reads of any alignment, some of them at once. Answers `EXPECTED` if all went well. */
async function unaligned(engine, path, { seed = 1, rounds = 30, mode = 0o600 } = {}) {
  const below = numbers(seed)
  const model = Buffer.alloc(SIZE)
  let size = 0
  let wrong = 0
  const file = await engine.open(path, 'w+', { mode, direct: true })
  for (let round = 0; round < rounds; round++) {
    // The ranges lie side by side, so that neighbours share sectors and blocks.
    let at = below(SIZE / 2)
    const writes = []
    while (writes.length < 6) {
      const length = 1 + below([10, 700, 5000, 15_000][below(4)])
      const bytes = Buffer.alloc(length, 1 + below(255))
      bytes.copy(model, at)
      writes.push(file.write(bytes, 0, length, at))
      at += length
    }
    size = Math.max(size, at)
    await Promise.all(writes)
    if (round % 5 === 0) await file.datasync()
    if (round % 7 === 3) {
      size = below(size)
      model.fill(0, size)
      await file.truncate(size)
    }
    const position = below(SIZE)
    const { buffer } = await file.read({ length: 1 + below(20_000), position })
    const end = Math.min(position + buffer.length, size)
    if (!buffer.equals(model.subarray(position, Math.max(position, end)))) wrong++
    if (statSync(path).size !== size) wrong++
  }
  const flags = /flags:\t(\d+)/.exec(flagsOf(file.fd))?.[1]
  const stays = flags === undefined || process.arch !== 'x64' || (Number.parseInt(flags, 8) & FLAG) !== 0
  await file.close()
  return { wrong, stays, same: readFileSync(path).equals(model.subarray(0, size)) }
}

/** Answers nothing if there is no /proc. */
function flagsOf(fd) {
  try {
    return readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8')
  } catch {
    return ''
  }
}

const EXPECTED = { wrong: 0, stays: true, same: true }

module.exports = { unaligned, EXPECTED }
