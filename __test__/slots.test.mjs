// The slot table over a fake port that a test controls, for cases that no real backend can be made to produce.
import { createRequire } from 'node:module'
import test from 'ava'

const require = createRequire(import.meta.url)
const { Slots } = require('../dist/lib/operations/slots.js')
const { OpenFile } = require('../dist/lib/file/open-file.js')
const { makeFileHandle } = require('../dist/lib/file/handle.js')

/** Records calls. It completes the operations that a test passes to `complete`, inline or in the next turn of the event loop. */
class FakePort {
  backend = 'fake'
  backendReason = 'a test'
  calls = []
  flushes = []
  canceled = []
  refusal = 0
  #done = []

  constructor(dispatch, completions) {
    this.dispatch = dispatch
    this.completions = completions
  }

  #call(name, args) {
    this.calls.push([name, ...args])
    if (this.refusal === 0) this.onCall?.(name, ...args)
    return this.refusal
  }

  read(...args) {
    return this.#call('read', args)
  }

  write(...args) {
    return this.#call('write', args)
  }

  readv(...args) {
    return this.#call('readv', args)
  }

  writev(...args) {
    return this.#call('writev', args)
  }

  perform(kind, ...args) {
    return this.#call(kind, args)
  }

  close(...args) {
    return this.#call('close', args)
  }

  stat() {
    return -1
  }

  seekable() {
    return true
  }

  cancel(slot) {
    this.canceled.push(slot)
  }

  complete(slot, low, high = low < 0 ? -1 : 0) {
    this.#done.push([slot, low, high])
  }

  /** Delivers completions as the event loop would. */
  wake() {
    this.dispatch(this.#take())
  }

  flush(reap) {
    this.flushes.push(reap)
    if (!reap) {
      setImmediate(() => this.wake())
      return 0
    }
    return this.#take()
  }

  #take() {
    const count = Math.min(this.#done.length, this.completions.length / 3)
    this.#done.splice(0, count).forEach((numbers, at) => this.completions.set(numbers, at * 3))
    return count
  }
}

/** Handles are kept here. Otherwise one could be collected, and closed through its fake port, while another test runs. */
const kept = []

function setUp() {
  let port
  const slots = new Slots(
    (dispatch, completions) => (port = new FakePort(dispatch, completions)),
    () => undefined,
  )
  const openFile = new OpenFile(slots, new Set(), 3, 1, false)
  const file = makeFileHandle(openFile)
  kept.push(file)
  return { port, slots, file }
}

const completing = (port, result) => {
  // for a whole view only the position is passed; for a part, the offset and length are passed before it
  port.onCall = (name, slot, handle, view, ...part) =>
    port.complete(slot, result ?? (part.length === 1 ? view.byteLength : part[1]))
}

test('an operation is passed as numbers and the view, and its completion settles its promise', async (t) => {
  const { port, file } = setUp()
  completing(port)
  const buffer = Buffer.alloc(100)
  const { bytesRead } = await file.read(buffer, 10, 20, 2 ** 40)
  t.is(bytesRead, 20)
  t.deepEqual(port.calls, [['read', 0, 1, buffer, 10, 20, 2 ** 40]])
  t.is(port.calls[0][3], buffer)
})

test('one flush hands over all operations of a tick', async (t) => {
  const { port, file } = setUp()
  completing(port)
  await Promise.all(Array.from({ length: 100 }, (_, at) => file.read(Buffer.alloc(10), 0, 10, at)))
  t.deepEqual(port.flushes, [true])
  t.is(new Set(port.calls.map(([, slot]) => slot)).size, 100)
})

test('slots are used again', async (t) => {
  const { port, file } = setUp()
  completing(port)
  for (let round = 0; round < 5; round++) await file.read(Buffer.alloc(10), 0, 10, 0)
  t.deepEqual(
    port.calls.map(([, slot]) => slot),
    [0, 0, 0, 0, 0],
  )
})

test('completions that do not fit the array are fetched in the same turn', async (t) => {
  const { port, file } = setUp()
  completing(port)
  await Promise.all(Array.from({ length: 2500 }, (_, at) => file.read(Buffer.alloc(10), 0, 10, at)))
  t.is(port.flushes.length, 3)
})

test('an endless row of reads that complete inline does not starve the event loop', async (t) => {
  const { port, file } = setUp()
  completing(port)
  let turned = false
  setImmediate(() => (turned = true))
  const buffer = Buffer.alloc(10)
  let reads = 0
  while (!turned) {
    await file.read(buffer, 0, 10, 0)
    reads++
    if (reads > 10_000) return t.fail('10,000 reads, and no turn of the event loop')
  }
  t.true(port.flushes.includes(false))
  t.is(port.flushes.indexOf(false), 16)
  const before = port.flushes.length
  for (let at = 0; at < 15; at++) await file.read(buffer, 0, 10, 0)
  t.true(port.flushes.slice(before).every(Boolean), 'a dispatch from the event loop begins a new count')
})

test('an operation that the port refuses rejects, and frees its slot', async (t) => {
  const { port, slots, file } = setUp()
  port.refusal = -9
  await t.throwsAsync(file.read(Buffer.alloc(1), 0, 1, 0), {
    code: 'EBADF',
    message: 'EBADF: bad file descriptor, read',
  })
  await t.throwsAsync(file.write(Buffer.alloc(1), 0, 1, 0), {
    code: 'EBADF',
    message: 'EBADF: bad file descriptor, write',
  })
  await t.throwsAsync(file.sync(), { code: 'EBADF', message: 'EBADF: bad file descriptor, fsync' })
  await slots.idle()
  port.refusal = 0
  completing(port)
  t.is((await file.read(Buffer.alloc(1), 0, 1, 0)).bytesRead, 1)
})

test('when every operation in a long line is refused, all of them reject', async (t) => {
  const { port, slots, file } = setUp()
  const first = file.read(Buffer.alloc(1))
  const rest = Array.from({ length: 20_000 }, () => file.read(Buffer.alloc(1)))
  t.is(port.calls.length, 1)
  port.refusal = -5
  port.complete(0, 1)
  t.is((await first).bytesRead, 1)
  const outcomes = await Promise.allSettled(rest)
  t.true(outcomes.every(({ reason }) => reason.code === 'EIO'))
  await slots.idle()
})

test('sizes past 2 GiB are not taken for error numbers that are unknown', async (t) => {
  const { port, file } = setUp()
  port.onCall = (name, slot) => port.complete(slot, -5 | 0, 1) // 2^33 - 5 as two halves
  t.is((await file.readv([Buffer.alloc(1)], 0)).bytesRead, 2 ** 33 - 5)
  port.onCall = (name, slot) => port.complete(slot, -(2 ** 31), 0)
  t.is((await file.readv([Buffer.alloc(1)], 0)).bytesRead, 2 ** 31)
  port.onCall = (name, slot) => port.complete(slot, -3999, -1)
  await t.throwsAsync(file.read(), { message: 'Unknown system error -3999, read' })
})

test('a short write is continued where it stopped', async (t) => {
  const { port, file } = setUp()
  const parts = [30, 20, 50]
  port.onCall = (name, slot) => port.complete(slot, parts.shift())
  const buffer = Buffer.alloc(110)
  t.is((await file.write(buffer, 10, 100, 1000)).bytesWritten, 100)
  t.deepEqual(
    port.calls.map(([, , , , offset, length, position]) => [offset, length, position]),
    [
      [10, 100, 1000],
      [40, 70, 1030],
      [60, 50, 1050],
    ],
  )
})

test('a short write whose rest fails reports the bytes that were written', async (t) => {
  const { port, file } = setUp()
  const parts = [30, -28]
  port.onCall = (name, slot) => port.complete(slot, parts.shift())
  t.is((await file.write(Buffer.alloc(100), 0, 100, 0)).bytesWritten, 30)
  const zero = [40, 0]
  port.onCall = (name, slot) => port.complete(slot, zero.shift())
  t.is((await file.write(Buffer.alloc(100), 0, 100, 0)).bytesWritten, 40)
})

test('an operation that fails is not taken for the continued write that had its slot before', async (t) => {
  const { port, file } = setUp()
  const parts = [30, 70]
  port.onCall = (name, slot) => port.complete(slot, parts.shift())
  t.is((await file.write(Buffer.alloc(100), 0, 100, 0)).bytesWritten, 100)
  port.onCall = (name, slot) => port.complete(slot, -5)
  await t.throwsAsync(file.read(Buffer.alloc(100), 0, 100, 0), { code: 'EIO' })
  await t.throwsAsync(file.readv([Buffer.alloc(100)], 0), { code: 'EIO' })
  await t.throwsAsync(file.write(Buffer.alloc(100), 0, 100, 0), { code: 'EIO' })
  t.is(new Set(port.calls.map(([, slot]) => slot)).size, 1, 'all of them had the same slot')
})

test('a short writev is continued in the middle of a buffer', async (t) => {
  const { port, file } = setUp()
  const parts = [15, 25]
  const seen = []
  port.onCall = (name, slot, handle, views, position) => {
    seen.push([
      Buffer.concat(views.map((view) => Buffer.from(view.buffer, view.byteOffset, view.byteLength))),
      position,
    ])
    port.complete(slot, parts.shift())
  }
  const bytes = Buffer.from(Array.from({ length: 40 }, (_, at) => at))
  const views = [bytes.subarray(0, 10), bytes.subarray(10, 10), new DataView(bytes.buffer, bytes.byteOffset + 10, 30)]
  const { bytesWritten, buffers } = await file.writev(views, 7)
  t.is(bytesWritten, 40)
  t.is(buffers, views)
  t.deepEqual(seen, [
    [bytes, 7],
    [bytes.subarray(15), 22],
  ])
})

test('close waits until the rest of a short write was written', async (t) => {
  const { port, file } = setUp()
  port.onCall = (name, slot, handle, view, offset, length) => {
    if (name === 'write') port.complete(slot, Math.min(length, 10))
    else port.complete(slot, 0)
  }
  const writing = file.write(Buffer.alloc(25), 0, 25, 0)
  const closing = file.close()
  t.is((await writing).bytesWritten, 25)
  await closing
  t.deepEqual(
    port.calls.map(([name]) => name),
    ['write', 'write', 'write', 'close'],
  )
})

test('close of a file with only reads in flight is passed on at once', async (t) => {
  const { port, file } = setUp()
  const reading = file.read(Buffer.alloc(10), 0, 10, 0)
  const closing = file.close()
  t.deepEqual(
    port.calls.map(([name]) => name),
    ['read', 'close'],
  )
  port.complete(0, -125)
  port.complete(1, 0)
  await t.throwsAsync(reading, { code: 'ECANCELED' })
  await closing
})

for (const [kind, makeView] of [
  ['typed array', (memory) => new Uint8Array(memory)],
  ['DataView', (memory) => new DataView(memory)],
]) {
  test(`a ${kind} detached in flight rejects with its own error, whatever the result`, async (t) => {
    for (const [start, result] of [
      [(file, view) => file.read(view, 0, 10, 0), 10],
      [(file, view) => file.read(view, 0, 10, 0), -5],
      [(file, view) => file.write(view, 0, 10, 0), 10],
      [(file, view) => file.write(view, 0, 10, 0), 5],
      [(file, view) => file.readv([view], 0), 10],
      [(file, view) => file.writev([Buffer.alloc(3), view], 0), 13],
    ]) {
      const { port, file } = setUp()
      const memory = new ArrayBuffer(10)
      const operation = start(file, makeView(memory))
      structuredClone(memory, { transfer: [memory] })
      port.complete(0, result)
      const error = await t.throwsAsync(operation, { code: 'ERR_AURAIO_DETACHED' })
      t.regex(error.stack, /^Error \[ERR_AURAIO_DETACHED\]: /)
    }
  })
}

test('a SharedArrayBuffer may grow in flight', async (t) => {
  const { port, file } = setUp()
  const memory = new SharedArrayBuffer(10, { maxByteLength: 100 })
  const reading = file.read(new Uint8Array(memory), 0, 10, 0)
  memory.grow(50)
  port.complete(0, 10)
  t.is((await reading).bytesRead, 10)
})

test('a completion without an operation, or one that throws, does not disturb the others', async (t) => {
  const { port, file } = setUp()
  const reading = file.read(Buffer.alloc(10), 0, 10, 0)
  port.complete(77, 1)
  port.complete(0, 10)
  port.complete(0, 10)
  t.is((await reading).bytesRead, 10)
})

test('cancel reaches only its own operation', async (t) => {
  const { port, slots, file } = setUp()
  const first = file.read(Buffer.alloc(10), 0, 10, 0)
  const ticket = slots.ticket()
  slots.cancel(ticket)
  t.deepEqual(port.canceled, [0])
  port.complete(0, -125)
  await t.throwsAsync(first, { code: 'ECANCELED' })
  const second = file.read(Buffer.alloc(10), 0, 10, 0)
  slots.cancel(ticket)
  t.deepEqual(port.canceled, [0])
  port.complete(0, 10)
  await second
})
