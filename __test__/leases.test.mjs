// Leases and aligned buffers, from acquire to release, on every backend; and the pool of an environment over a fake source of
// blocks that a test controls.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import test from 'ava'
import { Engine, Lease } from 'auraio'
import { contract, nodeAtLeast, targets } from './helpers/backends.mjs'
import { pattern, sameBytes, tempFile } from './helpers/temp.mjs'

const require = createRequire(import.meta.url)
const { LeasePool } = require('../dist/lib/memory/pool.js')
const { memoryOf } = require('../dist/lib/operations/native.js')

const NO_PIPES = { unable: { node: 'libuv’s threads cannot be called back from a pipe' } }
const UNALIGNED = { unable: { node: 'its memory is not aligned' } }

/** As `contract`, but without node:fs/promises, which has no leases. */
function onEach(title, body, options = {}) {
  contract(test.serial, title, body, { differs: 'it has none', ...options })
}

/** The address of a view, modulo 2 MiB. */
function addressOf(view) {
  return memoryOf({}).addressOf(view)
}

function codeOf(call) {
  try {
    call()
  } catch (error) {
    return error.code
  }
  return 'done'
}

onEach('a lease has exactly the size that was asked for, and can be read into', async (t, { engine }) => {
  const bytes = pattern(3 << 20)
  const path = tempFile(t)
  writeFileSync(path, bytes)
  const file = await engine.open(path, 'r+')
  for (const size of [1, 100, 4095, 4096, 4097, 65536, 100_000, 1 << 20, (1 << 20) + 1, 3 << 20]) {
    const lease = engine.acquire(size)
    t.true(lease instanceof Lease)
    t.is(lease.size, size)
    t.true(Buffer.isBuffer(lease.buffer))
    t.is(lease.buffer.length, size)
    t.is(lease.buffer, lease.buffer)
    const { bytesRead, buffer } = await file.read(lease.buffer, 0, size, 0)
    t.is(bytesRead, size)
    t.is(buffer, lease.buffer)
    sameBytes(t, lease.buffer, bytes.subarray(0, size))
    lease.buffer.fill(7)
    await file.write(lease.buffer, 0, size, 0)
    sameBytes(t, readFileSync(path).subarray(0, size), Buffer.alloc(size, 7))
    writeFileSync(path, bytes)
    lease.release()
  }
  await file.close()
})

onEach('leases held at the same time share no byte', (t, { engine }) => {
  const sizes = [1, 100, 4096, 4096, 4096, 5000, 65536, 65536, 1 << 20, 2 << 20]
  for (let round = 0; round < 3; round++) {
    const leases = sizes.map((size) => engine.acquire(size))
    leases.forEach(({ buffer }, at) => buffer.fill(at))
    leases.forEach(({ buffer }, at) => t.true(buffer.every((byte) => byte === at)))
    leases.forEach((lease) => lease.release())
  }
})

onEach(
  'a lease is aligned to 4096, or to the alignment asked for',
  (t, { engine }) => {
    for (const alignment of [undefined, 1, 512, 4096, 8192, 65536, 1 << 20, 2 << 20]) {
      for (const size of [1, 4096, 5000, 1 << 20, 5 << 20]) {
        const lease = engine.acquire(size, { alignment })
        t.is(addressOf(lease.buffer) % Math.max(alignment ?? 0, 4096), 0, `${size} bytes at ${alignment}`)
        t.is(lease.buffer.length, size)
        lease.release()
      }
    }
  },
  UNALIGNED,
)

onEach('after the release the methods of a lease throw', (t, { engine }) => {
  const lease = engine.acquire(4096)
  lease.release()
  const released = { name: 'Error', code: 'ERR_AURAIO_RELEASED', message: 'The lease has been released' }
  t.throws(() => lease.buffer, released)
  t.throws(() => lease.release(), released)
  t.is(lease.size, 4096)
  t.is(lease[Symbol.dispose](), undefined)
  const disposed = engine.acquire(4096)
  disposed[Symbol.dispose]()
  disposed[Symbol.dispose]()
  t.throws(() => disposed.buffer, released)
})

onEach('released memory is lent again, by a new lease', (t, { engine }) => {
  const first = engine.acquire(4096)
  const memory = first.buffer.buffer
  first.release()
  const second = engine.acquire(4096)
  t.is(second.buffer.buffer, memory)
  t.not(second, first)
  t.throws(() => first.buffer, { code: 'ERR_AURAIO_RELEASED' })
  second.release()
})

const withUsing = nodeAtLeast(24) ? test : (title, body) => test.skip(`${title} (no 'using' here)`, body)

withUsing('with `using` a lease is released at the end of its scope, or before', (t) => {
  const body = `
    let kept
    { using block = engine.acquire(4096); kept = block }
    { using block = engine.acquire(4096); block.release() }
    return kept`
  const kept = new Function('engine', body)(Engine.default)
  t.throws(() => kept.buffer, { code: 'ERR_AURAIO_RELEASED' })
})

onEach('an operation on the memory of a released lease rejects and changes nothing', async (t, { engine }) => {
  const path = tempFile(t)
  writeFileSync(path, 'before')
  const file = await engine.open(path, 'r+')
  const lease = engine.acquire(6)
  const kept = lease.buffer
  kept.fill('x')
  lease.release()
  const other = Buffer.alloc(6)
  const operations = {
    read: () => file.read(kept, 0, 6, 0),
    'read of a part': () => file.read(kept.subarray(2), 0, 4, 0),
    'read at the own position': () => file.read(kept),
    write: () => file.write(kept, 0, 6, 0),
    readv: () => file.readv([other, kept], 0),
    writev: () => file.writev([other, kept], 0),
    readFile: () => file.readFile({ buffer: kept }),
    writeFile: () => file.writeFile(kept),
  }
  for (const [name, begin] of Object.entries(operations)) {
    await t.throwsAsync(begin, { code: 'ERR_AURAIO_RELEASED' }, name)
  }
  t.is(readFileSync(path, 'utf8'), 'before')
  t.is((await file.read(other)).bytesRead, 6) // the own position has not moved, nor is anybody waiting at it
  await file.close()
})

onEach(
  'memory that is released in flight is lent to nobody before the operation has completed',
  async (t, { engine }) => {
    const path = tempFile(t, 'fifo')
    execFileSync('mkfifo', [path])
    const file = await engine.open(path, 'r+')
    const single = engine.acquire(100)
    const parts = [engine.acquire(10), engine.acquire(10)]
    const memories = [single, ...parts].map(({ buffer }) => buffer.buffer)
    const held = single.buffer
    const reading = file.read(held)
    single.release()
    t.throws(() => single.buffer, { code: 'ERR_AURAIO_RELEASED' })
    const acquireMany = () => Array.from({ length: 300 }, () => engine.acquire(4096))
    const others = acquireMany()
    t.false(others.some(({ buffer }) => memories.includes(buffer.buffer)))
    await file.write('hello')
    const { bytesRead } = await reading
    t.is(held.toString('utf8', 0, bytesRead), 'hello')
    const next = engine.acquire(100)
    t.is(next.buffer.buffer, memories[0], 'it comes home with the completion')
    next.release()

    const views = parts.map(({ buffer }) => buffer)
    const vectored = file.readv(views)
    parts.forEach((lease) => lease.release())
    const more = acquireMany()
    t.false(more.some(({ buffer }) => memories.slice(1).includes(buffer.buffer)))
    await file.write('0123456789abc')
    t.is((await vectored).bytesRead, 13)
    t.is(Buffer.concat(views).toString('utf8', 0, 13), '0123456789abc')
    for (const lease of [...others, ...more]) lease.release()
    await file.close()
  },
  NO_PIPES,
)

onEach('many reads into leases that are released before they complete all get their bytes', async (t, { engine }) => {
  const blocks = 256
  const bytes = pattern(blocks * 4096)
  const path = tempFile(t)
  writeFileSync(path, bytes)
  const file = await engine.open(path)
  const one = async (at) => {
    for (let round = 0; round < 8; round++) {
      const block = (at * 31 + round * 17) % blocks
      const lease = engine.acquire(4096)
      const view = lease.buffer
      const reading = file.read(view, 0, 4096, block * 4096).then(() => {
        // this runs before anybody else can get the memory and use it
        return view.equals(bytes.subarray(block * 4096, block * 4096 + 4096))
      })
      lease.release()
      if (!(await reading)) return false
    }
    return true
  }
  t.deepEqual([...new Set(await Promise.all(Array.from({ length: 64 }, (_, at) => one(at))))], [true])
  await file.close()
})

onEach('the memory of a lease cannot be transferred', async (t, { engine }) => {
  const lease = engine.acquire(4096)
  lease.buffer.fill('kept')
  const memory = lease.buffer.buffer
  for (const name of ['transfer', 'transferToFixedLength']) {
    if (name in ArrayBuffer.prototype) t.throws(() => memory[name](), { code: 'ERR_AURAIO_UNTRANSFERABLE' })
  }
  try {
    structuredClone(memory, { transfer: [memory] })
    t.false(nodeAtLeast(22)) // Node 20 copies, without a word
  } catch (error) {
    t.is(error.name, 'DataCloneError')
  }
  t.is(lease.buffer.toString('utf8', 0, 4), 'kept')
  lease.release()
})

const SIZES = [
  [0, 'ERR_OUT_OF_RANGE'],
  [-1, 'ERR_OUT_OF_RANGE'],
  [NaN, 'ERR_OUT_OF_RANGE'],
  [1.5, 'ERR_OUT_OF_RANGE'],
  [Infinity, 'ERR_OUT_OF_RANGE'],
  [2 ** 53, 'ERR_OUT_OF_RANGE'],
  ['4096', 'ERR_INVALID_ARG_TYPE'],
  [4096n, 'ERR_INVALID_ARG_TYPE'],
  [undefined, 'ERR_INVALID_ARG_TYPE'],
  [null, 'ERR_INVALID_ARG_TYPE'],
  [{}, 'ERR_INVALID_ARG_TYPE'],
]

const OPTIONS = [
  [{ alignment: 0 }, 'ERR_OUT_OF_RANGE'],
  [{ alignment: -4096 }, 'ERR_OUT_OF_RANGE'],
  [{ alignment: 2 ** 22 }, 'ERR_OUT_OF_RANGE'],
  [{ alignment: NaN }, 'ERR_OUT_OF_RANGE'],
  [{ alignment: 3 }, 'ERR_INVALID_ARG_VALUE'],
  [{ alignment: 4096.5 }, 'ERR_INVALID_ARG_VALUE'],
  [{ alignment: 5000 }, 'ERR_INVALID_ARG_VALUE'],
  [{ alignment: '4096' }, 'ERR_INVALID_ARG_TYPE'],
  [{ alignment: null }, 'ERR_INVALID_ARG_TYPE'],
  [4096, 'ERR_INVALID_ARG_TYPE'],
  [null, 'ERR_INVALID_ARG_TYPE'],
  [[], 'ERR_INVALID_ARG_TYPE'],
]

onEach('impossible sizes and alignments are refused, and no memory is lent', async (t, { engine }) => {
  const before = engine.stats().pool.bytesInUse
  for (const [size, code] of [...SIZES, [2 ** 30 + 1, 'ERR_OUT_OF_RANGE']]) {
    t.is(
      codeOf(() => engine.acquire(size)),
      code,
      `acquire(${String(size)})`,
    )
    await t.throwsAsync(engine.acquireAsync(size), { code }, `acquireAsync(${String(size)})`)
  }
  for (const [size, code] of SIZES)
    t.is(
      codeOf(() => engine.allocate(size)),
      code,
      `allocate(${String(size)})`,
    )
  for (const [options, code] of OPTIONS) {
    t.is(
      codeOf(() => engine.acquire(4096, options)),
      code,
      `acquire(4096, ${JSON.stringify(options)})`,
    )
    t.is(
      codeOf(() => engine.allocate(4096, options)),
      code,
      `allocate(4096, ${JSON.stringify(options)})`,
    )
    await t.throwsAsync(engine.acquireAsync(4096, options), { code })
  }
  await t.throwsAsync(engine.acquireAsync(4096, { signal: 'now' }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.is(engine.stats().pool.bytesInUse, before)
})

onEach('acquireAsync gives a lease, unless its signal was aborted', async (t, { engine }) => {
  const lease = await engine.acquireAsync(5000, { alignment: 8192 })
  t.is(lease.buffer.length, 5000)
  lease.release()
  const reason = new Error('enough')
  const error = await t.throwsAsync(engine.acquireAsync(5000, { signal: AbortSignal.abort(reason) }), {
    code: 'ABORT_ERR',
    name: 'AbortError',
  })
  t.is(error.cause, reason)
})

onEach('allocate gives a zeroed Buffer that the caller may keep and transfer', (t, { engine }) => {
  for (const size of [1, 4096, 100_000, 5 << 20]) {
    const buffer = engine.allocate(size)
    t.is(buffer.length, size)
    t.true(buffer.every((byte) => byte === 0))
    buffer.fill(9)
    const moved = structuredClone(buffer, { transfer: [buffer.buffer] })
    t.is(buffer.length, 0)
    t.is(moved.length, size)
    t.true(moved.every((byte) => byte === 9))
  }
})

onEach(
  'allocate gives aligned Buffers',
  (t, { engine }) => {
    for (const alignment of [undefined, 512, 4096, 65536, 2 << 20]) {
      for (const size of [1, 4096, 100_000]) {
        const buffer = engine.allocate(size, { alignment })
        t.is(addressOf(buffer) % Math.max(alignment ?? 0, 4096), 0, `${size} bytes at ${alignment}`)
      }
    }
  },
  UNALIGNED,
)

for (const { name, skipped } of targets({ withOracle: false })) {
  const on = skipped === undefined ? test.serial : test.skip
  on(`${name}: a closed engine lends no memory, and leases made before stay valid`, async (t) => {
    const engine = new Engine({ backend: name })
    const lease = engine.acquire(4096)
    await engine.close()
    const closed = { code: 'ERR_AURAIO_ENGINE_CLOSED' }
    t.throws(() => engine.acquire(4096), closed)
    t.throws(() => engine.allocate(4096), closed)
    await t.throwsAsync(engine.acquireAsync(4096), closed)
    lease.buffer.fill(1)
    lease.release()
    t.is(typeof engine.stats().pool.bytesMapped, 'number')
  })
}

test.serial('options of the pool are checked like other options', (t) => {
  for (const [pool, code] of [
    [5, 'ERR_INVALID_ARG_TYPE'],
    [null, 'ERR_INVALID_ARG_TYPE'],
    [{ bytesMax: '1' }, 'ERR_INVALID_ARG_TYPE'],
    [{ bytesMax: 0 }, 'ERR_OUT_OF_RANGE'],
    [{ bytesMax: 1.5e9 + 0.5 }, 'ERR_OUT_OF_RANGE'],
    [{ bytesMax: 2 ** 53 }, 'ERR_OUT_OF_RANGE'],
    [{ debug: 1 }, 'ERR_INVALID_ARG_TYPE'],
  ]) {
    t.is(
      codeOf(() => new Engine({ pool })),
      code,
      JSON.stringify(pool),
    )
  }
})

onEach('stats count the bytes that are lent and the bytes that are kept', (t, { engine }) => {
  const before = engine.stats().pool
  const leases = Array.from({ length: 10 }, () => engine.acquire(32768))
  leases.forEach((lease) => lease.release())
  const after = engine.stats().pool
  for (const value of Object.values(after)) t.true(Number.isFinite(value) && value >= 0)
  t.true(after.bytesCachedThreads >= before.bytesCachedThreads)
  t.true(after.bytesCachedThreads >= 10 * 32768)
  const again = Array.from({ length: 10 }, () => engine.acquire(32768))
  t.true(engine.stats().pool.hitsThread >= after.hitsThread + 10)
  again.forEach((lease) => lease.release())
})

/** A source with a ceiling, like the process's pool. `comes` stands for a release by another thread. */
function source({ bytesMax = Infinity, takesBack = true } = {}) {
  let lent = 0
  return {
    waiting: new Int32Array(1),
    taken: [],
    lend(bytes) {
      if (lent + bytes > bytesMax) return -12
      lent += bytes
      return Buffer.from(new ArrayBuffer(bytes))
    },
    takeBack(memory) {
      if (!takesBack) return false
      this.taken.push(memory)
      lent -= memory.byteLength
      return true
    },
    stats: () => ({ bytesInUse: lent, bytesCachedThreads: 0, hitsThread: 0 }),
  }
}

/** A fake slot table whose port waits for memory. */
function slots() {
  const asked = []
  return {
    asked,
    acquireBlock(bytes, alignment) {
      return new Promise((resolve, reject) => asked.push({ bytes, alignment, resolve, reject, canceled: false }))
    },
    ticket: () => asked.at(-1),
    cancel: (ticket) => (ticket.canceled = true),
  }
}

test.serial('at the ceiling, free memory of other classes is given back first', (t) => {
  const from = source({ bytesMax: 64 << 10 })
  const pool = new LeasePool(from)
  const small = Array.from({ length: 16 }, () => pool.acquire(4096, 4096))
  t.throws(() => pool.acquire(65536, 4096), { code: 'ERR_AURAIO_POOL_EXHAUSTED' })
  small.forEach((lease) => lease.release())
  const large = pool.acquire(65536, 4096)
  t.is(from.taken.length, 16)
  t.throws(() => pool.acquire(1, 4096), { code: 'ERR_AURAIO_POOL_EXHAUSTED' })
  large.release()
  pool.acquire(1, 4096).release()
})

test.serial('free lists are bounded, and memory that does not fit goes back to the pool', (t) => {
  const from = source()
  const pool = new LeasePool(from)
  for (const [size, limit] of [
    [4096, 256],
    [65536, 16],
    [1 << 20, 8],
    [(1 << 20) + 1, 4],
  ]) {
    from.taken = []
    const leases = Array.from({ length: limit + 3 }, () => pool.acquire(size, 4096))
    leases.forEach((lease) => lease.release())
    t.is(from.taken.length, 3, `${size}`)
  }
})

test.serial('a large block is lent again for a request that it fits', (t) => {
  const from = source()
  const pool = new LeasePool(from)
  const sizes = [3 << 20, 2 << 20, 5 << 20]
  const [three] = sizes.map((size) => pool.acquire(size, 4096)).map((lease) => (lease.release(), lease))
  t.throws(() => three.buffer)
  const fits = pool.acquire(4 << 20, 4096)
  t.is(fits.buffer.buffer.byteLength, 5 << 20)
  const aligned = pool.acquire(2 << 20, 2 << 20)
  t.is(aligned.buffer.buffer.byteLength, 2 << 20)
  t.is(pool.stats().bytesInUse, (5 << 20) + (2 << 20))
})

test.serial(
  'while anybody in the process waits for memory, released memory and free memory go back to the pool at once',
  (t) => {
    const from = source()
    const pool = new LeasePool(from)
    const [first, second, third] = Array.from({ length: 3 }, () => pool.acquire(4096, 4096))
    first.release()
    t.is(from.taken.length, 0)
    from.waiting[0] = 1
    second.release()
    t.is(from.taken.length, 2)
    from.waiting[0] = 0
    third.release()
    t.is(from.taken.length, 2)
  },
)

test.serial('waiting acquisitions are served in order, by releases here or in other threads', async (t) => {
  const pool = new LeasePool(source({ bytesMax: 8192 }))
  const line = slots()
  const [one, two] = [pool.acquire(4096, 4096), pool.acquire(4096, 4096)]
  const order = []
  const wait = async (name, size) => {
    const lease = await pool.acquireLater(line, size, 4096)
    order.push([name, lease.size])
    return lease
  }
  const first = wait('first', 100)
  const big = wait('big', 8192)
  const third = wait('third', 4096)
  t.deepEqual(
    line.asked.map(({ bytes, alignment }) => [bytes, alignment]),
    [
      [4096, 4096],
      [8192, 8192],
      [4096, 4096],
    ],
  )
  const kept = one.buffer.buffer
  one.release()
  const lease = await first
  t.is(lease.buffer.buffer, kept)
  t.true(line.asked[0].canceled)
  line.asked[0].reject(new Error('canceled')) // which nobody waits for any more
  line.asked[1].resolve(Buffer.from(new ArrayBuffer(8192))) // another thread has released
  t.is((await big).buffer.length, 8192)
  two.release()
  await third
  t.deepEqual(order, [
    ['first', 100],
    ['big', 8192],
    ['third', 4096],
  ])
})

test.serial('memory that comes after its acquisition was served is kept for the next', async (t) => {
  const from = source({ bytesMax: 4096 })
  const pool = new LeasePool(from)
  const line = slots()
  const held = pool.acquire(4096, 4096)
  const waiting = pool.acquireLater(line, 4096, 4096)
  held.release()
  const lease = await waiting
  const late = Buffer.from(new ArrayBuffer(4096))
  line.asked[0].resolve(late)
  await new Promise(setImmediate)
  t.is(pool.acquire(4096, 4096).buffer.buffer, late.buffer)
  t.not(lease.buffer.buffer, late.buffer)
})

test.serial('an aborted acquisition stops waiting, and the next in line moves up', async (t) => {
  const pool = new LeasePool(source({ bytesMax: 4096 }))
  const line = slots()
  const held = pool.acquire(4096, 4096)
  const controller = new AbortController()
  const stopped = pool.acquireLater(line, 4096, 4096, controller.signal)
  const next = pool.acquireLater(line, 4096, 4096)
  controller.abort()
  await t.throwsAsync(stopped, { name: 'AbortError', code: 'ABORT_ERR' })
  t.true(line.asked[0].canceled)
  held.release()
  t.is((await next).size, 4096)
})

test.serial('an acquisition that can never be served rejects', async (t) => {
  const pool = new LeasePool(source({ bytesMax: 0 }))
  const line = slots()
  const waiting = pool.acquireLater(line, 4096, 4096)
  line.asked[0].reject(Object.assign(new Error('no'), { code: 'ERR_AURAIO_POOL_EXHAUSTED' }))
  await t.throwsAsync(waiting, { code: 'ERR_AURAIO_POOL_EXHAUSTED' })
})
