// Registered buffers and files of the user: which are accepted, which are refused, and which memory and file an operation uses.
import { execFileSync } from 'node:child_process'
import { closeSync, fstatSync, openSync, readFileSync, readdirSync, readlinkSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import test from 'ava'
import { Engine } from 'auraio'
import { contract, nodeAtLeast, targets } from './helpers/backends.mjs'
import { pattern, sameBytes, tempDirectory, tempFile } from './helpers/temp.mjs'

const NO_PIPES = 'libuv’s threads cannot be called back from a pipe'
const NO_ADOPTING = { unable: { node: 'node:fs duplicates no descriptors' } }

/** As `contract`, each with an engine of its own, and without node:fs/promises, which cannot register. */
function onEach(title, body, options = {}) {
  const own = async (t, { name }) => {
    const engine = new Engine({ backend: name })
    t.teardown(() => engine.close())
    await body(t, engine)
  }
  contract(test.serial, title, own, { differs: 'it registers nothing', ...options })
}

function codeOf(call) {
  try {
    call()
  } catch (error) {
    return error.code
  }
  return 'done'
}

/** How many descriptors this process has open. */
function descriptors() {
  return readdirSync('/proc/self/fd').length
}

/** A file with a known beginning. */
function fileWith(t, text, name) {
  const path = tempFile(t, name)
  writeFileSync(path, text)
  return path
}

const textAt = async (file) => {
  const buffer = Buffer.alloc(100)
  const { bytesRead } = await file.read(buffer, 0, 100, 0)
  return buffer.toString('utf8', 0, bytesRead)
}

onEach('operations on registered buffers, parts and vectors have the same results', async (t, engine) => {
  const bytes = pattern(1 << 20)
  const path = fileWith(t, bytes)
  const file = await engine.open(path, 'r+')
  const arena = Buffer.alloc(1 << 20)
  const [first, second] = [
    arena.subarray(0, 1 << 18),
    new Uint32Array(arena.buffer, arena.byteOffset + (1 << 19), 5000),
  ]
  engine.registerBuffers([first, second])
  for (let round = 0; round < 2; round++) {
    await file.read(arena, 0, 1 << 20, 0) // registered and not, in one
    sameBytes(t, arena, bytes)
    arena.fill(0)
    await file.read(first, 100, 5000, 4096)
    sameBytes(t, first.subarray(100, 5100), bytes.subarray(4096, 9096))
    await file.readv([first, second], 8192)
    sameBytes(t, first, bytes.subarray(8192, 8192 + (1 << 18)))
    const view = Buffer.from(second.buffer, second.byteOffset, second.byteLength)
    sameBytes(t, view, bytes.subarray(8192 + (1 << 18), 8192 + (1 << 18) + 20_000))
    await file.write(first, 0, 4096, 1 << 20)
    sameBytes(t, readFileSync(path).subarray(1 << 20), bytes.subarray(8192, 8192 + 4096))
    await file.truncate(1 << 20)
    if (round === 0) await engine.unregisterBuffers()
  }
  await file.close()
})

contract(
  test.serial,
  'operations on registered memory and files name them to the kernel by number',
  async (t, { name }) => {
    const engine = new Engine({ backend: name })
    const file = await engine.open(fileWith(t, pattern(1 << 16)))
    const buffer = engine.allocate(1 << 16)
    engine.registerBuffers([buffer])
    const count = (key) => engine.stats().rings.reduce((sum, ring) => sum + ring[key], 0)
    engine.registerFiles([file])
    for (let at = 0; at < 8; at++) await file.read(buffer, 0, 4096, 0)
    t.is(count('fixedFiles'), 8)
    // none, if this user may lock no memory
    const expected = engine.backendReason.includes(';') ? [0, 8] : [8]
    t.true(expected.includes(count('fixedBuffers')), String(count('fixedBuffers')))
    await engine.close()
  },
  { differs: 'it registers nothing', unable: { threads: 'there is no table', node: 'there is no table' } },
)

onEach('buffers that cannot be registered are refused, and nothing changes', (t, engine) => {
  const fine = Buffer.alloc(4096)
  const moved = new Uint8Array(64)
  structuredClone(moved, { transfer: [moved.buffer] })
  const lease = engine.acquire(4096)
  const registered = Buffer.alloc(8192)
  engine.registerBuffers([registered])
  const frozen = new Uint8Array(Object.freeze(new ArrayBuffer(64)))
  const rows = [
    ['no list', fine, 'ERR_INVALID_ARG_TYPE'],
    ['undefined', undefined, 'ERR_INVALID_ARG_TYPE'],
    ['a number', [5], 'ERR_INVALID_ARG_TYPE'],
    ['an ArrayBuffer', [new ArrayBuffer(64)], 'ERR_INVALID_ARG_TYPE'],
    ['a hole', [fine, undefined], 'ERR_INVALID_ARG_TYPE'],
    ['detached', [moved], 'ERR_INVALID_STATE'],
    ['shared', [new Uint8Array(new SharedArrayBuffer(64))], 'ERR_INVALID_ARG_VALUE'],
    ['resizable', [new Uint8Array(new ArrayBuffer(64, { maxByteLength: 128 }))], 'ERR_INVALID_ARG_VALUE'],
    ['empty', [new Uint8Array(0)], 'ERR_OUT_OF_RANGE'],
    ['frozen', [frozen], 'ERR_INVALID_ARG_VALUE'],
    ['of a lease', [lease.buffer], 'ERR_INVALID_ARG_VALUE'],
    ['twice in the list', [fine, fine], 'ERR_INVALID_ARG_VALUE'],
    ['overlapping in the list', [fine.subarray(0, 100), fine.subarray(99)], 'ERR_INVALID_ARG_VALUE'],
    ['registered', [registered], 'ERR_INVALID_ARG_VALUE'],
    ['overlapping what is registered', [registered.subarray(10, 20)], 'ERR_INVALID_ARG_VALUE'],
  ]
  for (const [name, views, code] of rows) {
    t.is(
      codeOf(() => engine.registerBuffers(views)),
      code,
      name,
    )
    const after = Array.isArray(views) && !views.includes(fine) ? [fine, ...views] : views
    t.is(
      codeOf(() => engine.registerBuffers(after)),
      code,
      `${name}, after one that is fine`,
    )
  }
  engine.registerBuffers([fine.subarray(0, 100), fine.subarray(100)]) // so nothing of it was registered
  engine.registerBuffers([])
  lease.release()
})

onEach('no more than 16384 buffers can be registered', async (t, engine) => {
  const arena = Buffer.alloc(16385 * 16)
  const views = Array.from({ length: 16385 }, (_, at) => arena.subarray(at * 16, at * 16 + 16))
  t.throws(() => engine.registerBuffers(views), { code: 'ERR_AURAIO_TOO_MANY_BUFFERS' })
  const few = views.slice(0, 64)
  engine.registerBuffers(few)
  t.throws(() => engine.registerBuffers(views.slice(64)), { code: 'ERR_AURAIO_TOO_MANY_BUFFERS' })
  await engine.unregisterBuffers(few)
  engine.registerBuffers(few)
})

onEach('a buffer can be unregistered once, by the engine that registered it', async (t, engine) => {
  const [one, two] = [Buffer.alloc(4096), Buffer.alloc(4096)]
  engine.registerBuffers([one])
  const unknown = { code: 'ERR_INVALID_ARG_VALUE' }
  await t.throwsAsync(engine.unregisterBuffers([two]), unknown)
  await t.throwsAsync(engine.unregisterBuffers([one, two]), unknown)
  await t.throwsAsync(engine.unregisterBuffers([one.subarray(1)]), unknown)
  await t.throwsAsync(engine.unregisterBuffers(one), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.throwsAsync(engine.unregisterBuffers(['one']), { code: 'ERR_INVALID_ARG_TYPE' })
  const other = new Engine({ backend: engine.backend, queueDepth: 7 })
  await t.throwsAsync(other.unregisterBuffers([one]), unknown)
  await other.close()
  await engine.unregisterBuffers([one])
  await t.throwsAsync(engine.unregisterBuffers([one]), unknown)
  await engine.unregisterBuffers()
  engine.registerBuffers([one, two])
})

onEach('the memory of a registered buffer cannot be transferred', (t, engine) => {
  const buffer = engine.allocate(4096)
  buffer.fill('kept')
  engine.registerBuffers([buffer])
  for (const name of ['transfer', 'transferToFixedLength']) {
    if (name in ArrayBuffer.prototype) t.throws(() => buffer.buffer[name]())
  }
  try {
    structuredClone(buffer, { transfer: [buffer.buffer] })
    t.false(nodeAtLeast(22)) // Node 20 copies, without a word
  } catch (error) {
    t.is(error.name, 'DataCloneError')
  }
  t.is(buffer.toString('utf8', 0, 4), 'kept')
})

onEach('registered WebAssembly memory can grow after it was unregistered', async (t, engine) => {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 4 })
  const view = new Uint8Array(memory.buffer)
  engine.registerBuffers([view])
  const file = await engine.open(fileWith(t, 'hello'))
  await file.read(view, 0, 5, 0)
  t.is(Buffer.from(view).toString('utf8', 0, 5), 'hello')
  await engine.unregisterBuffers([view])
  memory.grow(1)
  t.is(memory.buffer.byteLength, 2 * 65536)
  await file.close()
})

onEach(
  'unregistering waits for the operations that use the buffer',
  async (t, engine) => {
    const path = tempFile(t, 'fifo')
    execFileSync('mkfifo', [path])
    const file = await engine.open(path, 'r+')
    const buffer = Buffer.alloc(4096)
    engine.registerBuffers([buffer])
    const events = []
    const reading = file.read(buffer).then(({ bytesRead }) => events.push(`read ${bytesRead}`))
    const vectored = file
      .readv([buffer.subarray(100, 110)])
      .then((result) => events.push(`read ${result.bytesRead} more`))
    const unregistered = engine.unregisterBuffers([buffer]).then(() => events.push('unregistered'))
    t.throws(() => engine.registerBuffers([buffer]), { code: 'ERR_INVALID_ARG_VALUE' })
    await t.throwsAsync(engine.unregisterBuffers([buffer]), { code: 'ERR_INVALID_ARG_VALUE' })
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
    t.deepEqual(events, [])
    await file.write('hello')
    await Promise.race([reading, vectored])
    for (let turn = 0; turn < 3; turn++) await new Promise(setImmediate)
    t.is(events.length, 1)
    await file.write('again')
    await Promise.all([reading, vectored, unregistered])
    t.is(events.at(-1), 'unregistered')
    engine.registerBuffers([buffer])
    await file.close()
  },
  { unable: { node: NO_PIPES } },
)

onEach('closing the engine unregisters its buffers and files', async (t, engine) => {
  const buffer = Buffer.alloc(4096)
  engine.registerBuffers([buffer])
  await engine.close()
  t.throws(() => engine.registerBuffers([buffer]), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
  t.throws(() => engine.registerFiles([0]), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
  await engine.unregisterBuffers()
  const next = new Engine({ backend: engine.backend })
  next.registerBuffers([buffer])
  await next.close()
})

onEach(
  'a registered descriptor is duplicated, so the number may be closed and reused',
  async (t, engine) => {
    const directory = tempDirectory(t)
    for (const name of ['ours', 'theirs']) writeFileSync(`${directory}/${name}`, name)
    const fd = openSync(`${directory}/ours`, 'r+')
    const [file] = engine.registerFiles([fd])
    t.not(file.fd, fd)
    t.is(readlinkSync(`/proc/self/fd/${file.fd}`), `${directory}/ours`)
    const reads = Array.from({ length: 32 }, () => textAt(file))
    closeSync(fd)
    const reused = openSync(`${directory}/theirs`)
    t.is(reused, fd, 'the number is another file’s now')
    reads.push(...Array.from({ length: 32 }, () => textAt(file)))
    t.deepEqual([...new Set(await Promise.all(reads))], ['ours'])
    await file.write('OURS', 0)
    t.is(readFileSync(`${directory}/ours`, 'utf8'), 'OURS')
    await file.close()
    t.is(fstatSync(reused).size, 6)
    closeSync(reused)
  },
  NO_ADOPTING,
)

onEach(
  'sockets can be registered',
  async (t, engine) => {
    const server = createServer((socket) => socket.end('from the server'))
    await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
    const socket = connect(server.address().port, '127.0.0.1')
    socket.pause()
    await new Promise((resolve) => socket.once('connect', resolve))
    const [file] = engine.registerFiles([socket._handle.fd])
    t.is(await file.readFile('utf8'), 'from the server')
    await engine.unregisterFiles()
    socket.destroy()
    server.close()
  },
  NO_ADOPTING,
)

onEach('registering a handle of the engine gives that handle, which stays open', async (t, engine) => {
  const file = await engine.open(fileWith(t, 'own'))
  t.deepEqual(engine.registerFiles([file, file.fd, file]), [file, file, file])
  await engine.unregisterFiles()
  await engine.unregisterFiles([file])
  t.is(await textAt(file), 'own')
  await file.close()
})

onEach(
  'unregistering files closes their duplicates, all or some',
  async (t, engine) => {
    const path = fileWith(t, 'x')
    const fds = Array.from({ length: 3 }, () => openSync(path))
    const files = engine.registerFiles(fds)
    let closes = 0
    for (const file of files) file.on('close', () => closes++)
    const numbers = files.map((file) => file.fd)
    await engine.unregisterFiles([files[0]])
    t.deepEqual(
      files.map((file) => file.fd === -1),
      [true, false, false],
    )
    await t.throwsAsync(engine.unregisterFiles([files[0]]), { code: 'EBADF' })
    await engine.unregisterFiles()
    t.is(closes, 3)
    for (const number of numbers) t.throws(() => readlinkSync(`/proc/self/fd/${number}`), { code: 'ENOENT' })
    for (const fd of fds) closeSync(fd)
  },
  NO_ADOPTING,
)

onEach('a list with a bad descriptor is refused, and nothing registered', async (t, engine) => {
  const fd = openSync(fileWith(t, 'x'))
  const gone = await engine.open(fileWith(t, 'z', 'z'))
  await gone.close()
  const other = new Engine({ backend: engine.backend, queueDepth: 7 })
  const foreign = await other.open(fileWith(t, 'w', 'w'))
  const closed = openSync(fileWith(t, 'y', 'y'))
  closeSync(closed)
  const before = descriptors()
  const rows = [
    ['no list', fd, 'ERR_INVALID_ARG_TYPE'],
    ['a string', ['1'], 'ERR_INVALID_ARG_TYPE'],
    ['null', [null], 'ERR_INVALID_ARG_TYPE'],
    ['a fraction', [1.5], 'ERR_OUT_OF_RANGE'],
    ['NaN', [NaN], 'ERR_OUT_OF_RANGE'],
    ['negative', [-1], 'ERR_OUT_OF_RANGE'],
    ['2^31', [2 ** 31], 'ERR_OUT_OF_RANGE'],
    ['closed', [closed], 'EBADF'],
    ['never opened', [1_000_000], 'EBADF'],
    ['a closed handle', [gone], 'EBADF'],
    ['another engine’s', [foreign], 'ERR_INVALID_ARG_VALUE'],
  ]
  for (const [name, files, code] of rows) {
    t.is(
      codeOf(() => engine.registerFiles(files)),
      code,
      name,
    )
    if (engine.backend !== 'node' && Array.isArray(files))
      t.is(
        codeOf(() => engine.registerFiles([fd, ...files])),
        code,
        name,
      )
  }
  await engine.unregisterFiles() // what was duplicated on the way is closed
  await t.throwsAsync(engine.unregisterFiles([foreign]), { code: 'ERR_INVALID_ARG_VALUE' })
  await t.throwsAsync(engine.unregisterFiles([5]), { code: 'ERR_INVALID_ARG_TYPE' })
  await t.throwsAsync(engine.unregisterFiles(foreign), { code: 'ERR_INVALID_ARG_TYPE' })
  t.is(
    codeOf(() => engine.updateFile(foreign, fd)),
    'ERR_INVALID_ARG_VALUE',
  )
  t.is(
    codeOf(() => engine.updateFile(gone, fd)),
    'EBADF',
  )
  t.is(
    codeOf(() => engine.updateFile(fd, fd)),
    'ERR_INVALID_ARG_TYPE',
  )
  await engine.drain()
  t.is(descriptors(), before)
  await other.close()
  closeSync(fd)
})

onEach(
  'updateFile: operations that have begun finish on the old file, later ones go to the new one',
  async (t, engine) => {
    const directory = tempDirectory(t)
    const [old, fresh] = ['old', 'new'].map((name) => `${directory}/${name}`)
    writeFileSync(old, '')
    writeFileSync(fresh, '')
    const file = await engine.open(old, 'r+')
    const oldFd = file.fd
    const fd = openSync(fresh, 'r+')
    // at the file's own position, so that they wait in line, most of them still in JavaScript
    const before = Array.from({ length: 20 }, () => file.write('old.'))
    engine.updateFile(file, fd)
    t.is(readlinkSync(`/proc/self/fd/${file.fd}`), fresh)
    const after = Array.from({ length: 20 }, () => file.write('new.'))
    closeSync(fd)
    await Promise.all([...before, ...after])
    t.is(readFileSync(old, 'utf8'), 'old.'.repeat(20))
    t.is(readFileSync(fresh, 'utf8'), 'new.'.repeat(20))
    await engine.drain()
    t.throws(() => readlinkSync(`/proc/self/fd/${oldFd}`), { code: 'ENOENT' })
    await engine.unregisterFiles() // it is the engine's own handle
    t.is((await file.stat()).size, 80)
    await file.close()

    const [adopted] = engine.registerFiles([openSync(old)])
    const own = await engine.open(fresh)
    engine.updateFile(adopted, own)
    await own.close()
    t.is(await textAt(adopted), 'new.'.repeat(20))
    await engine.unregisterFiles()
    t.is(adopted.fd, -1)
  },
  NO_ADOPTING,
)

onEach(
  'on a backend that cannot duplicate a descriptor, registering it throws',
  async (t, engine) => {
    const fd = openSync(fileWith(t, 'x'))
    const own = await engine.open(fileWith(t, 'y', 'y'))
    t.throws(() => engine.registerFiles([fd]), { code: 'ERR_AURAIO_FOREIGN_DESCRIPTOR' })
    t.throws(() => engine.updateFile(own, fd), { code: 'ERR_AURAIO_FOREIGN_DESCRIPTOR' })
    closeSync(fd)
    await own.close()
  },
  { unable: { uring: 'it can', threads: 'it can' } },
)

test.serial('files and buffers can be registered with many engines at once', async (t) => {
  const path = fileWith(t, 'shared')
  const names = targets({ withOracle: false }).filter(({ skipped, name }) => skipped === undefined && name !== 'node')
  const fd = openSync(path)
  const engines = names.flatMap(({ name }) => [new Engine({ backend: name }), new Engine({ backend: name })])
  const texts = await Promise.all(
    engines.map(async (engine) => {
      const [file] = engine.registerFiles([fd])
      const buffer = Buffer.alloc(8192)
      engine.registerBuffers([buffer])
      const { bytesRead } = await file.read(buffer, 0, 8192, 0)
      return buffer.toString('utf8', 0, bytesRead)
    }),
  )
  t.deepEqual([...new Set(texts)], names.length > 0 ? ['shared'] : [])
  await Promise.all(engines.map((engine) => engine.close()))
  closeSync(fd)
})
