// Control options, as far as every backend must accept them: options, wrong options, and operations with a class.
import { writeFileSync } from 'node:fs'
import test from 'ava'
import { Engine } from 'auraio'
import { contract } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempFile } from '../helpers/temp.mjs'

const OURS = { differs: 'it governs no depth' }
const TYPE = 'ERR_INVALID_ARG_TYPE'
const VALUE = 'ERR_INVALID_ARG_VALUE'
const RANGE = 'ERR_OUT_OF_RANGE'

const NO_GUARD = [
  [0, RANGE],
  [-1, RANGE],
  [NaN, RANGE],
  [Infinity, RANGE],
  [60_000.5, RANGE],
  ['2', TYPE],
  [null, TYPE],
  [2n, TYPE],
]
const NO_POLICY = [
  [0, RANGE],
  [-1, RANGE],
  [1.5, RANGE],
  [NaN, RANGE],
  [Infinity, RANGE],
  [65_537, RANGE],
  ['bogus', VALUE],
  ['', VALUE],
  [null, TYPE],
  [{}, TYPE],
]
const NO_PRIORITY = [
  ['urgent', VALUE],
  ['', VALUE],
  [1, TYPE],
  [null, TYPE],
  [{}, TYPE],
]
const NO_BOUND = [
  [0, RANGE],
  [-1, RANGE],
  [1.5, RANGE],
  [NaN, RANGE],
  [Infinity, RANGE],
  [65, RANGE],
  ['2', TYPE],
  [null, TYPE],
]
const NO_OPTIONS = [
  ...NO_GUARD.map(([guardP99Ms, code]) => [{ guardP99Ms }, code]),
  ...NO_POLICY.map(([policy, code]) => [{ policy }, code]),
  ...NO_PRIORITY.map(([priority, code]) => [{ priority }, code]),
  ...NO_BOUND.map(([inFlightMin, code]) => [{ inFlightMin, queueDepth: 64 }, code]),
  ...NO_BOUND.map(([inFlightMax, code]) => [{ inFlightMax, queueDepth: 64 }, code]),
  [{ inFlightMin: 9, inFlightMax: 8 }, RANGE],
]

contract(
  test,
  'an engine refuses impossible control options',
  (t, { name }) => {
    for (const [options, code] of NO_OPTIONS) t.throws(() => new Engine({ backend: name, ...options }), { code })
    t.throws(() => new Engine({ backend: name, inFlightMin: 9, inFlightMax: 8 }), {
      message:
        'The value of "options.inFlightMin" is out of range. It must be <= options.inFlightMax, which is 8. Received 9',
    })
  },
  OURS,
)

contract(
  test,
  'control options read back as they were set, and can be changed one by one',
  async (t, { name }) => {
    const plain = new Engine({ backend: name })
    t.is(plain.guardP99Ms, undefined)
    t.deepEqual(
      [plain.policy, plain.priority, plain.inFlightMin, plain.inFlightMax],
      ['knee', 'normal', undefined, undefined],
    )
    const limits = { guardP99Ms: 60_000, policy: 65_536, inFlightMin: 1, inFlightMax: 32_768, queueDepth: 32_768 }
    const engine = new Engine({ backend: name, priority: 'low', ...limits })
    t.deepEqual([engine.guardP99Ms, engine.policy, engine.inFlightMin], [60_000, 65_536, 1])
    engine.guardP99Ms = 0.001
    engine.policy = 'aimd'
    engine.priority = 'high'
    engine.setInFlight({ min: 4 })
    t.deepEqual([engine.guardP99Ms, engine.policy, engine.priority], [0.001, 'aimd', 'high'])
    t.deepEqual([engine.inFlightMin, engine.inFlightMax], [4, 32_768])
    engine.setInFlight({ min: 8, max: 8 })
    engine.guardP99Ms = undefined
    t.deepEqual([engine.guardP99Ms, engine.inFlightMin, engine.inFlightMax], [undefined, 8, 8])
    await Promise.all([engine.close(), plain.close()])
  },
  OURS,
)

contract(
  test,
  'a setter refuses an impossible value, and nothing changes',
  async (t, { name }) => {
    const engine = new Engine({ backend: name, queueDepth: 64, inFlightMin: 2, inFlightMax: 32, guardP99Ms: 5 })
    const set = (property, value) => () => {
      engine[property] = value
    }
    for (const [value, code] of NO_GUARD) t.throws(set('guardP99Ms', value), { code })
    for (const [value, code] of NO_POLICY) t.throws(set('policy', value), { code })
    for (const [value, code] of NO_PRIORITY) t.throws(set('priority', value), { code })
    for (const [min, code] of NO_BOUND) t.throws(() => engine.setInFlight({ min }), { code })
    for (const [max, code] of NO_BOUND) t.throws(() => engine.setInFlight({ max }), { code })
    t.throws(() => engine.setInFlight({ min: 33 }), { code: RANGE })
    t.throws(() => engine.setInFlight({ max: 1 }), { code: RANGE })
    t.throws(() => engine.setInFlight(), { code: TYPE })
    t.throws(() => engine.setInFlight(4), { code: TYPE })
    t.deepEqual([engine.guardP99Ms, engine.policy, engine.priority], [5, 'knee', 'normal'])
    t.deepEqual([engine.inFlightMin, engine.inFlightMax], [2, 32])
    await engine.close()
    for (const [property, value] of Object.entries({ guardP99Ms: 1, policy: 4, priority: 'low' })) {
      t.throws(set(property, value), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
    }
    t.throws(() => engine.setInFlight({ max: 4 }), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
  },
  OURS,
)

contract(
  test,
  'a handle has its own class and guard, or those of its engine',
  async (t, { name }) => {
    const path = tempFile(t)
    writeFileSync(path, 'x')
    const engine = new Engine({ backend: name, priority: 'low', guardP99Ms: 7 })
    const inherits = await engine.open(path)
    const asks = await engine.open(path, 'r', { priority: 'high', guardP99Ms: 2 })
    t.deepEqual([inherits.priority, inherits.guardP99Ms], ['low', undefined])
    t.deepEqual([asks.priority, asks.guardP99Ms], ['high', 2])
    asks.priority = 'normal'
    asks.guardP99Ms = undefined
    engine.priority = 'high'
    t.deepEqual([asks.priority, asks.guardP99Ms, inherits.priority], ['normal', undefined, 'low'])
    t.is((await engine.open(path)).priority, 'high')
    for (const [value, code] of NO_GUARD) {
      t.throws(() => (asks.guardP99Ms = value), { code })
      await t.throwsAsync(engine.open(path, 'r', { guardP99Ms: value }), { code })
    }
    for (const [value, code] of NO_PRIORITY) {
      t.throws(() => (asks.priority = value), { code })
      await t.throwsAsync(engine.open(path, 'r', { priority: value }), { code })
    }
    await asks.close()
    t.throws(() => (asks.guardP99Ms = 3), { code: 'EBADF', message: 'file closed' })
    t.throws(() => (asks.priority = 'low'), { code: 'EBADF', message: 'file closed' })
    t.deepEqual([asks.priority, asks.lane], ['normal', undefined])
    await engine.close()
  },
  OURS,
)

contract(
  test,
  'operations of every class transfer their bytes',
  async (t, { open }) => {
    const bytes = pattern(3 * 5 * 4096)
    const path = tempFile(t)
    const file = await open(path, 'w+', { priority: 'low' })
    const part = (at) => bytes.subarray(at * 4096, (at + 1) * 4096)
    let at = 0
    for (const priority of ['high', 'normal', 'low']) {
      await file.write(part(at), { position: at++ * 4096, priority })
      await file.write(part(at).toString('latin1'), at++ * 4096, 'latin1', { priority })
      await file.writev([part(at)], at++ * 4096, { priority })
      await file.write(part(at), 0, 4096, at++ * 4096)
      file.priority = priority
      await file.write(part(at), 0, 4096, at++ * 4096)
    }
    const into = Buffer.alloc(bytes.length)
    const target = (index) => into.subarray(index * 4096, (index + 1) * 4096)
    const classes = ['high', 'normal', 'low', undefined]
    await Promise.all(
      Array.from({ length: at }, (_, index) => {
        const options = { position: index * 4096, priority: classes[index % 4] }
        if (index % 3 === 0) return file.read(target(index), options)
        if (index % 3 === 1) return file.read({ buffer: target(index), ...options })
        return file.readv([target(index)], index * 4096, { priority: options.priority })
      }),
    )
    sameBytes(t, into, bytes)
    const fresh = await file.read({ length: 100, position: 4000, priority: 'high' })
    sameBytes(t, fresh.buffer, bytes.subarray(4000, 4100))
    const whole = await open(path)
    sameBytes(t, await whole.readFile({ priority: 'high' }), bytes)
    await (await open(path, 'w')).writeFile(bytes, { priority: 'low', flush: true })
    sameBytes(t, await (await open(path)).readFile({ priority: 'low' }), bytes)
  },
  OURS,
)

contract(
  test,
  'an operation with an unknown class rejects, and nothing is done',
  async (t, { open }) => {
    const path = tempFile(t)
    const file = await open(path, 'w+')
    const buffer = Buffer.alloc(1)
    for (const [priority, code] of NO_PRIORITY) {
      for (const call of [
        () => file.read(buffer, { priority }),
        () => file.read({ buffer, priority }),
        () => file.read({ length: 5, priority }),
        () => file.readv([buffer], 0, { priority }),
        () => file.readFile({ priority }),
        () => file.write(buffer, { priority }),
        () => file.write('x', 0, 'utf8', { priority }),
        () => file.writev([buffer], 0, { priority }),
        () => file.writeFile('x', { priority }),
        () => file.appendFile('x', { priority }),
      ]) {
        await t.throwsAsync(call(), { code })
      }
    }
    await t.throwsAsync(file.readv([buffer], 0, 'high'), { code: TYPE })
    await t.throwsAsync(file.write('x', 0, 'utf8', 'high'), { code: TYPE })
    t.is((await file.stat()).size, 0)
  },
  OURS,
)

contract(
  test,
  'a lane that does not exist has no histogram',
  async (t, { name, engine, open }) => {
    const file = await open('/dev/null')
    t.is(file.lane, undefined)
    for (const [options, code] of [
      [{ lane: file.lane }, TYPE],
      [{ lane: '0' }, TYPE],
      [{ lane: -1 }, RANGE],
      [{ lane: 0.5 }, RANGE],
      [{ lane: 1023 }, VALUE],
      [{ lane: 70_000 }, VALUE],
      [{ lane: Number.MAX_SAFE_INTEGER }, VALUE],
      [{ lane: 0, kind: 'bogus' }, VALUE],
      [undefined, TYPE],
      [0, TYPE],
    ]) {
      t.throws(() => engine.histogram(options), { code }, `${name}: ${JSON.stringify(options)}`)
    }
  },
  OURS,
)
