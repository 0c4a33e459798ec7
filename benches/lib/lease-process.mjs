/**
 * One measurement of one way to get memory. The argument is `{ peer, bytes, seconds }`, or `{ peer: 'growth', bytes, leases }`.
 */
import { Engine } from 'auraio'

const { peer, bytes, seconds, leases } = JSON.parse(process.argv[2])
const engine = Engine.default
const BATCH = 1000

/** Each does its work `count` times. It answers a sum, so that the compiler cannot leave the work out. */
const peers = {
  lease(count) {
    let total = 0
    for (let at = 0; at < count; at++) {
      const block = engine.acquire(bytes)
      total += block.buffer.length
      block.release()
    }
    return total
  },
  mixed: mixed(),
  allocUnsafeSlow(count) {
    let total = 0
    for (let at = 0; at < count; at++) total += Buffer.allocUnsafeSlow(bytes).length
    return total
  },
  alloc(count) {
    let total = 0
    for (let at = 0; at < count; at++) total += Buffer.alloc(bytes).length
    return total
  },
  allocate(count) {
    let total = 0
    for (let at = 0; at < count; at++) total += engine.allocate(bytes).length
    return total
  },
}

console.log(JSON.stringify(peer === 'growth' ? growth() : measure(peers[peer])))
await engine.close()

/** Holds 64 leases at a time, as a program with 64 reads in flight does. */
function mixed() {
  const held = Array.from({ length: 64 }, () => engine.acquire(bytes))
  let turn = 0
  return (count) => {
    let total = 0
    for (let at = 0; at < count; at++) {
      const place = turn++ & 63
      held[place].release()
      const block = engine.acquire(bytes << ((turn >> 2) & 3))
      total += block.buffer.length
      held[place] = block
    }
    return total
  }
}

function measure(work) {
  for (const end = performance.now() + 300; performance.now() < end;) work(BATCH)
  const cpuStart = process.cpuUsage()
  const start = performance.now()
  const end = start + seconds * 1000
  let operations = 0
  while (performance.now() < end) {
    if (work(BATCH) < BATCH) throw new Error('no bytes')
    operations += BATCH
  }
  const elapsedMs = performance.now() - start
  const { user, system } = process.cpuUsage(cpuStart)
  return {
    operations,
    operationsPerSecond: operations / (elapsedMs / 1000),
    nsPerOperation: (elapsedMs * 1e6) / operations,
    cpuNsPerOperation: ((user + system) * 1000) / operations,
  }
}

/** How much the heap has grown after this many leases, when all of them are released. */
function growth() {
  peers.lease(100_000)
  gc()
  const before = process.memoryUsage()
  peers.lease(leases)
  gc()
  const after = process.memoryUsage()
  return {
    backend: engine.backend,
    heapBytes: after.heapUsed - before.heapUsed,
    externalBytes: after.external + after.arrayBuffers - before.external - before.arrayBuffers,
    rssBytes: after.rss - before.rss,
  }
}
