// Engines: the choice of the backend, options, statistics and closing.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { once } from 'node:events'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'
import { Worker } from 'node:worker_threads'
import test from 'ava'
import { Engine, FileHandle, open } from 'auraio'
import { nodeAtLeast, targets } from './helpers/backends.mjs'
import { pattern, tempFile } from './helpers/temp.mjs'

const available = targets({ withOracle: false }).filter((target) => target.engine !== undefined)
const names = available.map((target) => target.name)

/** The output of a child that makes an engine with this environment and these options. */
function inChild(variable, options) {
  const script = `
    const { Engine } = require('auraio')
    try {
      const { backend, backendReason } = new Engine(${options})
      console.log(JSON.stringify({ backend, backendReason }))
    } catch (error) {
      console.log(JSON.stringify({ name: error.name, code: error.code, message: error.message }))
    }`
  const output = execFileSync(process.execPath, ['-e', script], {
    cwd: new URL('..', import.meta.url),
    env: { ...process.env, AURAIO_BACKEND: variable },
  })
  return JSON.parse(output)
}

test('import and require give the same objects', (t) => {
  const required = createRequire(import.meta.url)('auraio')
  t.is(required.open, open)
  t.is(required.Engine, Engine)
  t.is(required.FileHandle, FileHandle)
  t.is(required.Engine.default, Engine.default)
})

test('an engine says its backend and the reason', (t) => {
  for (const { engine, name } of available) {
    t.is(engine.backend, name)
    t.regex(engine.backendReason, /\S/)
  }
  const engine = new Engine()
  t.true(['uring', 'threads', 'node'].includes(engine.backend))
  t.regex(engine.backendReason, /\S/)
})

test('AURAIO_BACKEND chooses the backend, unless the option does', (t) => {
  for (const name of names) t.is(inChild(name, '{}').backend, name)
  t.is(inChild('uring', '{ backend: "node" }').backend, 'node')
  t.is(inChild('bogus', '{ backend: "node" }').backend, 'node')
  t.is(inChild('', '{ backend: undefined }').backend, inChild('auto', '{}').backend)
  t.deepEqual(inChild('bogus', '{}'), {
    name: 'TypeError',
    code: 'ERR_INVALID_ARG_VALUE',
    message: "The argument 'AURAIO_BACKEND' must be one of: 'auto', 'uring', 'threads', 'node'. Received 'bogus'",
  })
})

test('a forced backend that is not available throws an error with the reason', (t) => {
  for (const target of targets({ withOracle: false })) {
    if (target.skipped === undefined) continue
    const error = t.throws(() => new Engine({ backend: target.name }), { code: 'ERR_AURAIO_BACKEND' })
    t.regex(error.message, new RegExp(`^The backend '${target.name}' is not to be had here: .+`))
  }
  t.pass()
})

test('options out of range are refused', (t) => {
  for (const [options, code, name] of [
    [{ backend: 'bogus' }, 'ERR_INVALID_ARG_VALUE', 'TypeError'],
    [{ backend: 5 }, 'ERR_INVALID_ARG_VALUE', 'TypeError'],
    [{ routing: 'bogus' }, 'ERR_INVALID_ARG_VALUE', 'TypeError'],
    [{ queueDepth: 0 }, 'ERR_OUT_OF_RANGE', 'RangeError'],
    [{ queueDepth: 32769 }, 'ERR_OUT_OF_RANGE', 'RangeError'],
    [{ queueDepth: 1.5 }, 'ERR_OUT_OF_RANGE', 'RangeError'],
    [{ queueDepth: '64' }, 'ERR_INVALID_ARG_TYPE', 'TypeError'],
    [{ submitBatch: 0 }, 'ERR_OUT_OF_RANGE', 'RangeError'],
    [{ submitBatch: 1025 }, 'ERR_OUT_OF_RANGE', 'RangeError'],
    [{ submitBatch: null }, 'ERR_INVALID_ARG_TYPE', 'TypeError'],
    [{ register: null }, 'ERR_INVALID_ARG_TYPE', 'TypeError'],
    [{ register: 1 }, 'ERR_INVALID_ARG_TYPE', 'TypeError'],
    [null, 'ERR_INVALID_ARG_TYPE', 'TypeError'],
    ['uring', 'ERR_INVALID_ARG_TYPE', 'TypeError'],
  ]) {
    t.throws(() => new Engine(options), { code, name })
  }
  t.throws(() => new Engine({ queueDepth: 0 }), {
    message: 'The value of "options.queueDepth" is out of range. It must be >= 1 && <= 32768. Received 0',
  })
})

for (const { name } of available) {
  test(`${name}: options at their limits work, and a load larger than the queue depth waits`, async (t) => {
    const path = tempFile(t)
    const bytes = pattern(64 * 512)
    writeFileSync(path, bytes)
    for (const options of [
      { queueDepth: 1, submitBatch: 1, routing: 'core', register: false },
      { queueDepth: 2, submitBatch: 1024, routing: 'thread' },
    ]) {
      const engine = new Engine({ backend: name, ...options })
      const file = await engine.open(path)
      const copy = Buffer.alloc(bytes.length)
      await Promise.all(Array.from({ length: 64 }, (_, at) => file.read(copy, at * 512, 512, at * 512)))
      t.deepEqual(copy, bytes)
      await engine.close()
    }
  })

  // serial: engines share rings, so operations of other tests would be counted too
  test.serial(`${name}: stats are plain numbers and add up`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(64 * 512))
    const engine = new Engine({ backend: name })
    const file = await engine.open(path)
    await Promise.all(Array.from({ length: 64 }, (_, at) => file.read(Buffer.alloc(512), 0, 512, at * 512)))
    const stats = engine.stats()
    t.is(stats.backend, name)
    t.is(Object.getPrototypeOf(stats), Object.prototype)
    t.true(stats.rings.length > 0)
    let completed = 0
    for (const ring of stats.rings) {
      for (const field of ['cpu', 'numaNode', 'submitted', 'completed', 'enters', 'inFlight', 'queued']) {
        t.true(Number.isSafeInteger(ring[field]), field)
      }
      t.is(ring.inFlight, 0)
      t.is(ring.queued, 0)
      completed += ring.completed
    }
    t.true(completed >= 64)
    await engine.close()
    t.true(engine.stats().rings.reduce((sum, ring) => sum + ring.completed, 0) >= completed)
  })

  test(`${name}: drain waits for operations in flight`, async (t) => {
    const path = tempFile(t)
    const engine = new Engine({ backend: name })
    const file = await engine.open(path, 'w')
    let settled = 0
    for (let at = 0; at < 100; at++) file.write(Buffer.alloc(100, at), 0, 100, at * 100).then(() => settled++)
    await engine.drain()
    t.is(settled, 100)
    t.is(readFileSync(path).length, 10_000)
    await engine.drain()
    await engine.close()
  })

  test(`${name}: close finishes operations that have begun, closes handles, and refuses new ones`, async (t) => {
    const path = tempFile(t)
    const engine = new Engine({ backend: name })
    const file = await engine.open(path, 'w+')
    let closes = 0
    file.on('close', () => closes++)
    const writing = file.writeFile([Buffer.alloc(100_000, 1), Buffer.alloc(100_000, 2)])
    const opening = engine.open(path)
    const closed = engine.close()
    t.is(engine.close(), closed)
    await t.throwsAsync(engine.open(path), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
    await t.throwsAsync(file.read(), { code: 'EBADF', message: 'file closed' })
    await closed
    await writing
    const late = await opening
    t.is(late.fd, -1)
    t.is(file.fd, -1)
    t.is(closes, 1)
    t.is(readFileSync(path).length, 200_000)
    await file.close()
    await engine.close()
  })

  test(`${name}: an engine is disposable`, async (t) => {
    const engine = new Engine({ backend: name })
    await engine[Symbol.asyncDispose]()
    await t.throwsAsync(engine.open('/dev/null'), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
  })

  test(`${name}: a process with nothing in flight ends by itself`, (t) => {
    const script = `
      const { Engine } = require('auraio')
      const engine = new Engine({ backend: ${JSON.stringify(name)} })
      engine.open('/dev/null').then((file) => file.read()).then(({ bytesRead }) => console.log(bytesRead))`
    const output = execFileSync(process.execPath, ['-e', script], {
      cwd: new URL('..', import.meta.url),
      stdio: 'pipe',
    })
    t.is(output.toString(), '0\n')
  })

  test(`${name}: Workers have engines of their own`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, 'shared')
    const script = `
      const { parentPort, workerData } = require('node:worker_threads')
      const { Engine } = require(workerData.main)
      const engine = new Engine({ backend: workerData.name })
      engine.open(workerData.path).then(async (file) => parentPort.postMessage(await file.readFile('utf8')))`
    const main = fileURLToPath(new URL('../dist/index.js', import.meta.url))
    const workers = Array.from(
      { length: 4 },
      () => new Worker(script, { eval: true, workerData: { main, name, path }, execArgv: [] }),
    )
    const exits = workers.map((worker) => once(worker, 'exit'))
    for (const [text] of await Promise.all(workers.map((worker) => once(worker, 'message')))) t.is(text, 'shared')
    for (const [code] of await Promise.all(exits)) t.is(code, 0)
  })
}

test("direct must be a boolean or 'strict'", async (t) => {
  for (const direct of [1, null, {}]) {
    await t.throwsAsync(open('/dev/null', 'r', { direct }), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  await t.throwsAsync(open('/dev/null', 'r', { direct: 'yes' }), {
    code: 'ERR_INVALID_ARG_VALUE',
    message: "The property 'options.direct' must be a boolean or 'strict'. Received 'yes'",
  })
})

const permission = nodeAtLeast(24) ? test : test.skip
permission('open and stat ask the permission model, which a native engine would pass by', (t) => {
  const root = fileURLToPath(new URL('..', import.meta.url))
  const script = `
    const { lstat, open, stat } = require('auraio')
    const print = ({ code, permission, resource }) => console.log(code, permission, resource)
    for (const [path, flags] of [['/etc/hostname', 'r'], ['index.ts', 'a'], [Buffer.from('/etc/hostname'), 'r+']]) {
      open(path, flags).catch(print)
    }
    stat('/etc/hostname').catch(print).then(() => lstat('/etc/hostname')).catch(print)
    stat('index.ts').then((stats) => stats.isFile() || print(stats))
    open('index.ts').then((file) => file.close())`
  const allowed = ['--permission', '--allow-addons', `--allow-fs-read=${root}`]
  const output = execFileSync(process.execPath, [...allowed, '-e', script], { cwd: root, stdio: 'pipe' })
  t.is(
    output.toString(),
    [
      'ERR_ACCESS_DENIED FileSystemRead /etc/hostname',
      `ERR_ACCESS_DENIED FileSystemWrite ${root}index.ts`,
      ...Array.from({ length: 3 }, () => 'ERR_ACCESS_DENIED FileSystemRead /etc/hostname'),
      '',
    ].join('\n'),
  )
})

test.serial('a closed default engine is replaced at the next use', async (t) => {
  const first = Engine.default
  t.is(Engine.default, first)
  await first.close()
  t.not(Engine.default, first)
  const file = await open('/dev/null')
  await file.close()
})

test('a misspelt option of an engine is an error that names it', (t) => {
  for (const name of ['backendd', 'queuedepth', 'guardP99ms', 'constructor']) {
    const error = t.throws(() => new Engine({ [name]: undefined }), { code: 'ERR_INVALID_ARG_VALUE' })
    t.true(error.message.includes(`options.${name}`), error.message)
  }
})
