// A test in the manner of fsx: random operations on a file, and a Buffer that holds what the file must contain. Up to 64
// operations are in flight at once, on disjoint ranges, so that any order gives the same file.
//
// With O_DIRECT the results must be the same, whatever the alignment.
//
// AURAIO_SEED repeats a run, AURAIO_FSX_OPS makes it longer, AURAIO_TEST_DIR puts the file on another file system.
import { readFileSync } from 'node:fs'
import test from 'ava'
import { targets } from './helpers/backends.mjs'
import { random } from './helpers/random.mjs'
import { tempFile } from './helpers/temp.mjs'

const OPERATIONS = Number(process.env.AURAIO_FSX_OPS ?? 4000)
const SEED = Number(process.env.AURAIO_SEED ?? Math.floor(Math.random() * 2 ** 32))
const SIZE_MAX = 1 << 20
const IN_FLIGHT_MAX = 64

for (const target of targets()) {
  for (const { flags, operations, direct } of [
    { flags: 'w+', operations: OPERATIONS, direct: false },
    { flags: 'a+', operations: OPERATIONS / 4, direct: false },
    { flags: 'w+', operations: OPERATIONS / 4, direct: true },
    { flags: 'a+', operations: OPERATIONS / 8, direct: true },
  ]) {
    if (target.isOracle && direct) continue
    const how = `opened with '${flags}'${direct ? ', direct' : ''}`
    const name = `${target.name}: ${operations} random operations, ${how}, seed ${SEED}`
    if (target.skipped !== undefined) {
      test.skip(`${name} (${target.skipped})`, () => undefined)
    } else {
      test(name, (t) => check(t, target, flags, operations, direct))
    }
  }
}

async function check(t, target, flags, operations, direct) {
  t.log(`AURAIO_SEED=${SEED}`)
  const path = tempFile(t)
  const open = (how) => target.open(path, how, ...(target.isOracle ? [] : [{ direct }]))
  let file
  try {
    file = await open(flags)
  } catch (error) {
    if (!direct || !['EINVAL', 'ERR_AURAIO_DIRECT'].includes(error.code)) throw error
    return t.pass('no O_DIRECT here')
  }
  const run = {
    random: random(SEED),
    file,
    appends: flags.startsWith('a'),
    oracle: target.isOracle,
    /** The first `size` bytes of it are what the file must contain. */
    model: Buffer.alloc(SIZE_MAX),
    size: 0,
    /** The file's own position. */
    cursor: 0,
    done: 0,
  }
  while (run.done < operations) {
    const round = run.random.between(0, 9)
    if (round < 6) await parallelRound(run)
    else if (round < 9) await cursorRound(run)
    else await wholeFileRound(run, open, flags)
    const { size } = await run.file.stat()
    assertEqual(run, size, run.size, 'size')
  }
  await run.file.close()
  t.is(Buffer.compare(readFileSync(path), run.model.subarray(0, run.size)), 0)
}

/** Makes operations at given positions, all at once. Each has a range of its own. */
async function parallelRound(run) {
  if (run.appends) return await appendRound(run)
  const count = run.random.between(1, IN_FLIGHT_MAX)
  const share = Math.floor(SIZE_MAX / count)
  const sizeBefore = run.size
  const operations = []
  for (let at = 0; at < count; at++) {
    const low = at * share
    const start = low + run.random.between(0, share - 1)
    const length = run.random.between(1, low + share - start)
    const isRead = run.random.between(0, 1) === 0
    // a read past the present end would race with the writes that move the end
    if (isRead && start + length <= sizeBefore) operations.push(readAt(run, start, length))
    else if (!isRead) operations.push(writeAt(run, start, length))
  }
  run.done += operations.length + 1
  await Promise.all(operations)
}

function readAt(run, start, length) {
  const expected = Buffer.from(run.model.subarray(start, start + length))
  const [views, memory, offset] = buffers(run, length)
  const what = `read at ${start}, ${length} bytes, in ${views.length} parts`
  const reading = views.length === 1 ? run.file.read(views[0], offset, length, start) : run.file.readv(views, start)
  return reading.then(({ bytesRead }) => {
    assertEqual(run, bytesRead, length, what)
    assertBytes(run, memory.subarray(offset, offset + length), expected, what)
  })
}

function writeAt(run, start, length) {
  const [views, memory, offset] = buffers(run, length)
  fillRandom(run, memory.subarray(offset, offset + length))
  memory.copy(run.model, start, offset, offset + length)
  run.size = Math.max(run.size, start + length)
  const what = `write at ${start}, ${length} bytes, in ${views.length} parts`
  const writing = views.length === 1 ? run.file.write(views[0], offset, length, start) : run.file.writev(views, start)
  return writing.then(({ bytesWritten }) => assertEqual(run, bytesWritten, length, what))
}

/** Memory for `length` bytes: one view with a margin, or several views that have this length together. */
function buffers(run, length) {
  if (run.random.between(0, 2) > 0) {
    const offset = run.random.between(0, 100)
    const memory = Buffer.alloc(offset + length + run.random.between(0, 100))
    return [[memory], memory, offset]
  }
  const memory = Buffer.alloc(length)
  const views = []
  for (let at = 0; at < length;) {
    const part = Math.min(length - at, run.random.between(1, Math.ceil(length / 5)))
    views.push(memory.subarray(at, at + part))
    at += part
  }
  return views.length === 1 ? [[memory], memory, 0] : [views, memory, 0]
}

/** Makes operations at the file's own position: one at a time on the oracle, which does not order them; all at once on auraio. */
async function cursorRound(run) {
  if (run.appends) return await appendRound(run)
  const count = run.random.between(1, 16)
  const operations = []
  for (let at = 0; at < count; at++) {
    const length = run.random.between(1, 20_000)
    const fits = run.cursor + length <= SIZE_MAX
    const operation = run.random.between(0, 1) === 0 && fits ? writeHere(run, length) : readHere(run, length)
    if (run.oracle) await operation
    operations.push(operation)
  }
  run.done += operations.length
  await Promise.all(operations)
}

function readHere(run, length) {
  const available = Math.max(0, Math.min(length, run.size - run.cursor))
  const expected = Buffer.from(run.model.subarray(run.cursor, run.cursor + available))
  const what = `read at the own position, ${run.cursor}, ${length} bytes`
  run.cursor += available
  return run.file.read(Buffer.alloc(length)).then(({ bytesRead, buffer }) => {
    assertEqual(run, bytesRead, available, what)
    assertBytes(run, buffer.subarray(0, available), expected, what)
  })
}

function writeHere(run, length) {
  const bytes = fillRandom(run, Buffer.alloc(length))
  const what = `write at the own position, ${run.cursor}, ${length} bytes`
  bytes.copy(run.model, run.cursor)
  run.cursor += length
  run.size = Math.max(run.size, run.cursor)
  return run.file.write(bytes).then(({ bytesWritten }) => assertEqual(run, bytesWritten, length, what))
}

/** Appends one after the other, because the file shows their order. */
async function appendRound(run) {
  const count = run.random.between(1, 8)
  for (let at = 0; at < count; at++) {
    const bytes = fillRandom(run, Buffer.alloc(run.random.between(1, 5000)))
    if (run.size + bytes.length > SIZE_MAX) await truncate(run, run.random.between(0, 1000))
    bytes.copy(run.model, run.size)
    run.size += bytes.length
    if (run.random.between(0, 1) === 0) await run.file.appendFile(bytes)
    else await run.file.write(bytes, 0, bytes.length, run.random.pick([null, 0, 77]))
  }
  run.done += count
  const start = run.random.between(0, run.size - 1)
  await readAt(run, start, run.size - start)
}

async function truncate(run, size) {
  await run.file.truncate(size)
  if (size < run.size) run.model.fill(0, size, run.size)
  run.size = size
}

/** Operations that cannot run beside others: truncate, sync, the whole file, close and open. */
async function wholeFileRound(run, open, flags) {
  run.done++
  switch (run.random.between(0, 3)) {
    case 0:
      return await truncate(run, run.random.between(0, run.appends ? 1000 : SIZE_MAX))
    case 1:
      return await (run.random.between(0, 1) === 0 ? run.file.sync() : run.file.datasync())
    case 2: {
      await run.file.close()
      run.file = await open(flags === 'w+' ? 'r+' : flags)
      run.cursor = 0
      const contents = await run.file.readFile()
      assertBytes(run, contents, run.model.subarray(0, run.size), 'readFile')
      run.cursor = run.size
      return
    }
    default: {
      if (run.appends) return
      await run.file.close()
      run.file = await open('w+')
      run.model.fill(0, 0, run.size)
      const bytes = fillRandom(run, Buffer.alloc(run.random.between(0, 100_000)))
      bytes.copy(run.model)
      run.size = run.cursor = bytes.length
      await run.file.writeFile([bytes.subarray(0, bytes.length / 2), bytes.subarray(bytes.length / 2)])
    }
  }
}

function fillRandom(run, bytes) {
  let state = run.random.between(1, 2 ** 31)
  for (let at = 0; at < bytes.length; at++) {
    state = (Math.imul(state, 1103515245) + 12345) | 0
    bytes[at] = state >>> 16
  }
  return bytes
}

function assertEqual(run, actual, expected, what) {
  if (actual !== expected) {
    throw new Error(`AURAIO_SEED=${SEED}, operation ${run.done}, ${what}: ${actual} instead of ${expected}`)
  }
}

function assertBytes(run, actual, expected, what) {
  if (Buffer.compare(actual, expected) === 0) return
  const first = expected.findIndex((byte, at) => byte !== actual[at])
  const lengths = `${actual.length} bytes, ${expected.length} expected`
  throw new Error(`AURAIO_SEED=${SEED}, operation ${run.done}, ${what}: ${lengths}, byte ${first} is wrong`)
}
