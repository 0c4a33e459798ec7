/**
 * One round of the event-loop bench: `{ peer, reads, readBytes, seconds, direct, file: { path, fileBytes } }`.
 * The probes run one after the other, first without load, then while `reads` reads are always pending.
 */
import { pbkdf2 } from 'node:crypto'
import { lookup } from 'node:dns'
import { constants, stat } from 'node:fs'
import { open } from 'node:fs/promises'
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { promisify } from 'node:util'
import { allocateBlocks, BLOCK_BYTES, isStamped } from '../../dist/bin/bench/blocks.js'
import { median } from '../../dist/bin/bench/units.js'

const { peer, reads, readBytes, seconds, direct, file } = JSON.parse(process.argv[2])
const BLOCKS = readBytes / BLOCK_BYTES

const probes = {
  Lookup: () => promisify(lookup)('localhost'),
  Pbkdf2: () => promisify(pbkdf2)('password', 'salt', 1, 32, 'sha256'),
  Stat: () => promisify(stat)(file.path),
}

const openFile = peer === 'auraio' ? (await import('auraio')).open : open
const handle = await openFile(file.path, constants.O_RDONLY | (direct ? constants.O_DIRECT : 0))
const memory = allocateBlocks(reads * BLOCKS)
const turns = createHistogram()
let bytesRead = 0
let stopped = false

await probe(0) // the first of each loads code
const idle = await probe(seconds)
const start = performance.now()
const load = Promise.all(Array.from({ length: reads }, (_, at) => keepReading(at)))
const loaded = await Promise.race([probe(seconds), load.then(() => Promise.reject(new Error('the load ended early')))])
stopped = true
await load
const loadSeconds = (performance.now() - start) / 1000
await handle.close()

console.log(
  JSON.stringify({
    ...withPrefix('idle', idle),
    ...withPrefix('loaded', loaded),
    turnP99Ms: turns.percentile(99) / 1e6,
    turnMaxMs: turns.max / 1e6,
    readGigabytesPerSecond: bytesRead / 1e9 / loadSeconds,
  }),
)

/** Runs each probe at least once, and answers the medians and the delay of the event loop meanwhile. */
async function probe(forSeconds) {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const times = { Lookup: [], Pbkdf2: [], Stat: [] }
  const end = performance.now() + forSeconds * 1000
  do {
    for (const [name, call] of Object.entries(probes)) {
      const begin = performance.now()
      await call()
      times[name].push((performance.now() - begin) * 1000)
    }
    await nextTurn()
  } while (performance.now() < end)
  delay.disable()
  const medians = Object.entries(times).map(([name, values]) => [`${name}Us`, median(values)])
  return { ...Object.fromEntries(medians), DelayP99Ms: delay.percentile(99) / 1e6, Samples: times.Stat.length }
}

/** Keeps one read pending. Each reads the next part of the file. */
async function keepReading(at) {
  const offset = at * readBytes
  const parts = Math.max(1, Math.floor(file.fileBytes / readBytes))
  for (let part = at % parts; !stopped; part = (part + reads) % parts) {
    const begin = performance.now()
    setImmediate(() => turns.record(Math.max(1, Math.round((performance.now() - begin) * 1e6))))
    const answer = await handle.read(memory.bytes, offset, readBytes, part * readBytes)
    check(answer.bytesRead, at * BLOCKS, part * BLOCKS)
    bytesRead += answer.bytesRead
  }
}

/** Checks that the bytes read are the right blocks. A read may be short. */
function check(bytes, at, block) {
  const last = Math.floor(bytes / BLOCK_BYTES) - 1
  if (last < 0 || !isStamped(memory.words, at, block) || !isStamped(memory.words, at + last, block + last)) {
    throw new Error(`a read at block ${block} answered ${bytes} bytes, and they are not those of the blocks there`)
  }
}

function withPrefix(prefix, object) {
  return Object.fromEntries(Object.entries(object).map(([key, value]) => [prefix + key, value]))
}
