/** One measurement of benches/spawn.mjs. The argument is `{ memory, mebibytes, seconds }`. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { Engine } from 'auraio'
import { median } from '../../dist/bin/bench/units.js'

const LEASE_BYTES = 1024 ** 2
const WARM_UP = 5

const { memory, mebibytes, seconds } = JSON.parse(process.argv[2])

const engine = Engine.default
const held = []
for (let number = 0; memory !== 'none' && number < mebibytes; number++) {
  const lease = memory === 'leases' ? engine.acquire(LEASE_BYTES) : { buffer: Buffer.alloc(LEASE_BYTES) }
  lease.buffer.fill(number)
  held.push(lease)
}

const times = []
for (let round = 0; round < WARM_UP; round++) await one()
const begin = performance.now()
while (performance.now() - begin < seconds * 1000) times.push(await one())
const mappedMebibytes = engine.stats().pool.bytesMapped / 1024 ** 2
console.log(JSON.stringify({ spawnMs: median(times), mappedMebibytes, spawns: times.length }))
// the memory is still held, so nothing of it was given back meanwhile
if (held.some(({ buffer }, number) => buffer[0] !== number % 256)) throw new Error('memory has changed')

/** How long `spawn` itself holds the thread: the fork happens in it. */
async function one() {
  const start = performance.now()
  const child = spawn('/bin/true', { stdio: 'ignore' })
  const elapsed = performance.now() - start
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`the child ended with ${code}`)
  return elapsed
}
