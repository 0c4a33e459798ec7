// Hostile input, row by row: what auraio does on every backend, beside what node:fs/promises does. For a row without `unlike`
// both must do the same, to the last word of the message. `unlike` is what Node does instead, where auraio differs on purpose.
import { execFileSync } from 'node:child_process'
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { nodeAtLeast, targets } from '../helpers/backends.mjs'
import { tempDirectory } from '../helpers/temp.mjs'

const bytes = () => Buffer.alloc(10)
const detachedView = () => {
  const memory = new ArrayBuffer(10)
  const view = new Uint8Array(memory)
  structuredClone(memory, { transfer: [memory] })
  return view
}
const detachedDataView = () => {
  const memory = new ArrayBuffer(10)
  const view = new DataView(memory)
  structuredClone(memory, { transfer: [memory] })
  return view
}
const resizableView = () => new Uint8Array(new ArrayBuffer(10, { maxByteLength: 100 }))

const RANGE = 'ERR_OUT_OF_RANGE'
const TYPE = 'ERR_INVALID_ARG_TYPE'
const VALUE = 'ERR_INVALID_ARG_VALUE'

/**
 * `run` gets a readable and a writable handle on a file of 100 bytes, and `open`. `ours` is the code of auraio's error, or the
 * value that `run` resolves with. `since`: older versions of Node do something else, or abort the process, and are not compared.
 */
const rows = [
  ...[Number.NaN, 1.5, Infinity, 2 ** 53, -5, -5n, 2n ** 63n].map((position) => ({
    name: `read, position ${show(position)}`,
    run: ({ readable }) => readable.read(bytes(), 0, 1, position),
    ours: RANGE,
    since: 26,
  })),
  ...[-1, -1n, null, undefined].map((position) => ({
    name: `read, position ${show(position)} is the own position`,
    run: async ({ readable }) => {
      await readable.read(bytes(), 0, 7, position)
      return (await readable.read(bytes(), 0, 10, position)).buffer[0]
    },
    ours: 7,
    since: 26,
  })),
  ...['3', {}, true, Symbol('x')].map((position) => ({
    name: `read, position ${show(position)}`,
    run: ({ readable }) => readable.read(bytes(), 0, 1, position),
    ours: TYPE,
    since: 26,
  })),
  { name: 'read, position 2^53-1', run: readAt(2 ** 53 - 1), ours: 0 },
  { name: 'read, position 2^53-1 as a bigint', run: readAt(2n ** 53n - 1n), ours: 0, since: 26 },
  { name: 'read, position 2^53', run: readAt(2n ** 53n), ours: RANGE, unlike: 0, since: 26 },
  ...[Number.NaN, 1.5].map((length) => ({
    name: `read, length ${show(length)}`,
    run: ({ readable }) => readable.read(bytes(), 0, length, 0).then(({ bytesRead }) => bytesRead),
    ours: RANGE,
    unlike: Math.trunc(length) || 0,
    since: 26,
  })),
  { name: "read, length '3'", run: readOf('3'), ours: TYPE, unlike: 3, since: 26 },
  { name: 'read, length {}', run: readOf({}), ours: TYPE, unlike: 0, since: 26 },
  { name: 'read, length 2n', run: readOf(2n), ours: TYPE, unlike: undefined, since: 26 },
  { name: 'read, length -1', run: readOf(-1), ours: RANGE },
  { name: 'read, length past the buffer', run: readOf(11), ours: RANGE },
  { name: 'read, length 2^31', run: readOf(2 ** 31), ours: RANGE, unlike: RANGE, since: 26 },
  ...[Number.NaN, 1.5, -1, 11, 2 ** 53].map((offset) => ({
    name: `read, offset ${show(offset)}`,
    run: ({ readable }) => readable.read(bytes(), offset, 1, 0),
    ours: RANGE,
  })),
  ...['1', true, 1n].map((offset) => ({
    name: `read, offset ${show(offset)}`,
    run: ({ readable }) => readable.read(bytes(), offset, 1, 0),
    ours: TYPE,
  })),
  { name: 'read, offset past the buffer, no length', run: ({ readable }) => readable.read(bytes(), 11), ours: RANGE },
  ...[Number.NaN, 1.5, -1, 11, 2 ** 53].map((offset) => ({
    name: `write, offset ${show(offset)}`,
    run: ({ writable }) => writable.write(bytes(), offset, 1, 0),
    ours: RANGE,
  })),
  { name: "write, offset '1'", run: ({ writable }) => writable.write(bytes(), '1', 1, 0), ours: TYPE },
  ...['text', ['array'], 5, Symbol('x'), () => 1, true].map((buffer) => ({
    name: `read, buffer ${show(buffer)}`,
    run: ({ readable }) => readable.read(buffer, 0, 1, 0),
    ours: TYPE,
  })),
  ...[['array'], 5, null, undefined, {}, new ArrayBuffer(8), new SharedArrayBuffer(8)].map((buffer) => ({
    name: `write, buffer ${show(buffer)}`,
    run: ({ writable }) => writable.write(buffer, 0, 1, 0),
    ours: TYPE,
  })),
  {
    name: 'read, buffer ArrayBuffer',
    run: ({ readable }) => readable.read(new ArrayBuffer(8), 0, 8, 0).then(({ buffer }) => buffer.byteLength),
    ours: TYPE,
    unlike: 16384,
  },
  {
    name: 'read, buffer SharedArrayBuffer',
    run: ({ readable }) => readable.read(new SharedArrayBuffer(8), 0, 8, 0).then(({ buffer }) => buffer.byteLength),
    ours: TYPE,
    unlike: 16384,
  },
  {
    name: 'read, { length: 7 } without a buffer',
    run: ({ readable }) => readable.read({ length: 7, position: 0 }).then(({ buffer }) => buffer.byteLength),
    ours: 7,
    unlike: 16384,
  },
  {
    name: 'read, { length: 20000 } without a buffer',
    run: ({ readable }) => readable.read({ length: 20_000, position: 0 }).then(({ bytesRead }) => bytesRead),
    ours: 100,
    unlike: RANGE,
  },
  { name: 'read, { length: -1 } without a buffer', run: ({ readable }) => readable.read({ length: -1 }), ours: RANGE },
  {
    name: 'read, { length: 2^53 } without a buffer',
    run: ({ readable }) => readable.read({ length: 2 ** 53 }),
    ours: RANGE,
    unlike: RANGE,
  },
  { name: 'read, { buffer: 5 }', run: ({ readable }) => readable.read({ buffer: 5 }), ours: TYPE },
  { name: 'read, empty buffer', run: readInto(() => Buffer.alloc(0)), ours: 0 },
  {
    name: 'read, empty buffer and a length',
    run: ({ readable }) => readable.read(Buffer.alloc(0), 0, 1),
    ours: VALUE,
  },
  { name: 'read, Uint32Array', run: readInto(() => new Uint32Array(2)), ours: 8 },
  { name: 'read, DataView', run: readInto(() => new DataView(new ArrayBuffer(8))), ours: 8 },
  { name: 'read, view on a SharedArrayBuffer', run: readInto(() => new Uint8Array(new SharedArrayBuffer(8))), ours: 8 },
  { name: 'read, detached view', run: readInto(detachedView), ours: 'ERR_INVALID_STATE', unlike: 0 },
  { name: 'read, detached DataView', run: readInto(detachedDataView), ours: 'ERR_INVALID_STATE', unlike: undefined },
  { name: 'write, detached view', run: writeOf(detachedView), ours: 'ERR_INVALID_STATE', unlike: 0 },
  { name: 'readv, detached view', run: readvOf(() => [detachedView()]), ours: 'ERR_INVALID_STATE', unlike: 0 },
  { name: 'writeFile, detached view', run: writeFileOf(detachedView), ours: 'ERR_INVALID_STATE', unlike: undefined },
  { name: 'read, view of a resizable ArrayBuffer', run: readInto(resizableView), ours: VALUE, unlike: 10 },
  { name: 'write, view of a resizable ArrayBuffer', run: writeOf(resizableView), ours: VALUE, unlike: 10 },
  { name: 'readv, view of a resizable ArrayBuffer', run: readvOf(() => [resizableView()]), ours: VALUE, unlike: 10 },
  ...[Number.NaN, -1, 1.5, 2 ** 53].map((position) => ({
    name: `write, position ${show(position)}`,
    run: ({ writable }) => writable.write(bytes(), 0, 1, position).then(({ bytesWritten }) => bytesWritten),
    ours: RANGE,
    unlike: 1, // at the file's own position, without an error
  })),
  ...['3', {}].map((position) => ({
    name: `write, position ${show(position)}`,
    run: ({ writable }) => writable.write(bytes(), 0, 1, position).then(({ bytesWritten }) => bytesWritten),
    ours: TYPE,
    unlike: 1,
  })),
  { name: 'write, length past the buffer', run: ({ writable }) => writable.write(bytes(), 0, 11), ours: RANGE },
  { name: 'write, length -1', run: ({ writable }) => writable.write(bytes(), 0, -1), ours: RANGE },
  { name: 'write, length NaN', run: ({ writable }) => writable.write(bytes(), 0, Number.NaN), ours: RANGE, since: 26 },
  {
    name: "write, length '3'",
    run: ({ writable }) => writable.write(bytes(), 0, '3').then(({ bytesWritten }) => bytesWritten),
    ours: TYPE,
    unlike: 10,
    since: 26,
  },
  {
    name: 'write, text in an unknown encoding',
    run: ({ writable }) => writable.write('abc', 0, 'zz').then(({ bytesWritten }) => bytesWritten),
    ours: VALUE,
    unlike: 3,
  },
  { name: 'write, hex of odd length', run: ({ writable }) => writable.write('abc', 0, 'hex'), ours: VALUE },
  {
    name: 'write past the largest file',
    run: ({ writable }) => writable.write(bytes(), 0, 10, 2 ** 53 - 11),
    ours: 'EFBIG',
  },
  ...[Number.NaN, 1.5, 2 ** 53].map((length) => ({
    name: `truncate ${show(length)}`,
    run: ({ writable }) => writable.truncate(length),
    ours: RANGE,
  })),
  ...['5', {}, null, 5n].map((length) => ({
    name: `truncate ${show(length)}`,
    run: ({ writable }) => writable.truncate(length),
    ours: TYPE,
  })),
  {
    name: 'truncate -1 is 0',
    run: async ({ writable, path }) => {
      await writable.truncate(-1)
      return statSync(path).size
    },
    ours: 0,
  },
  {
    name: 'read after close',
    run: async ({ readable }) => {
      await readable.close()
      await readable.read()
    },
    ours: 'EBADF',
  },
  {
    name: 'close twice',
    run: async ({ readable }) => {
      await readable.close()
      return await readable.close()
    },
    ours: undefined,
  },
  { name: 'open, NUL in the path', run: ({ open }) => open('a\0b'), ours: VALUE, since: 26 },
  { name: 'open, NUL in a Buffer', run: ({ open }) => open(Buffer.from('a\0b')), ours: VALUE, since: 26 },
  { name: 'open, NUL in a URL', run: ({ open }) => open(new URL('file:///a%00b')), ours: VALUE, since: 26 },
  ...[5, undefined, null, {}, [], Symbol('x')].map((path) => ({
    name: `open, path ${show(path)}`,
    run: ({ open }) => open(path),
    ours: TYPE,
  })),
  { name: 'open, http URL', run: ({ open }) => open(new URL('http://host/x')), ours: 'ERR_INVALID_URL_SCHEME' },
  {
    name: 'open, file URL with an encoded slash',
    run: ({ open }) => open(new URL('file:///a%2fb')),
    ours: 'ERR_INVALID_FILE_URL_PATH',
  },
  {
    name: 'open, file URL with a host',
    run: ({ open }) => open(new URL('file://h/x')),
    ours: 'ERR_INVALID_FILE_URL_HOST',
  },
  { name: "open, ''", run: ({ open }) => open(''), ours: 'ENOENT' },
  { name: 'open, 5000 characters', run: ({ open }) => open('x'.repeat(5000)), ours: 'ENAMETOOLONG' },
  { name: 'open, through a file', run: ({ open, path }) => open(`${path}/x`), ours: 'ENOTDIR' },
  ...['zz', '', {}, true].map((flags) => ({
    name: `open, flags ${show(flags)}`,
    run: ({ open, path }) => open(path, flags),
    ours: VALUE,
  })),
  ...[1.5, 2 ** 40, Number.NaN].map((flags) => ({
    name: `open, flags ${show(flags)}`,
    run: ({ open, path }) => open(path, flags),
    ours: RANGE,
  })),
  { name: "open, mode 'abc'", run: ({ open, path }) => open(path, 'r', 'abc'), ours: VALUE },
  { name: "open, mode '9'", run: ({ open, path }) => open(path, 'r', '9'), ours: VALUE },
  { name: 'open, mode -1', run: ({ open, path }) => open(path, 'r', -1), ours: RANGE },
  { name: 'open, mode 1.5', run: ({ open, path }) => open(path, 'r', 1.5), ours: RANGE },
  { name: 'open, mode true', run: ({ open, path }) => open(path, 'r', true), ours: TYPE },
  { name: 'open a directory for writing', run: ({ open, directory }) => open(directory, 'r+'), ours: 'EISDIR' },
  {
    name: 'read a directory',
    run: ({ open, directory }) => using(open(directory), (file) => file.read()),
    ours: 'EISDIR',
  },
  {
    name: 'read on write-only',
    run: ({ open, path }) => using(open(path, 'a'), (file) => file.read(bytes(), 0, 10, 0)),
    ours: 'EBADF',
  },
  { name: 'write on read-only', run: ({ readable }) => readable.write(bytes()), ours: 'EBADF' },
  { name: 'writev on read-only', run: ({ readable }) => readable.writev([bytes()]), ours: 'EBADF' },
  { name: 'truncate on read-only', run: ({ readable }) => readable.truncate(1), ours: 'EINVAL' },
  { name: 'readv []', run: readvOf(() => []), ours: 0, unlike: 'EINVAL' },
  { name: 'writev []', run: ({ writable }) => writable.writev([]).then(({ bytesWritten }) => bytesWritten), ours: 0 },
  ...[[5], 5, 'text', undefined, [new ArrayBuffer(8)], [bytes(), null]].map((buffers) => ({
    name: `readv ${show(buffers)}`,
    run: ({ readable }) => readable.readv(buffers),
    ours: TYPE,
  })),
  ...[[5], 5, ['text']].map((buffers) => ({
    name: `writev ${show(buffers)}`,
    run: ({ writable }) => writable.writev(buffers),
    ours: TYPE,
  })),
  {
    name: 'readv, 2000 buffers',
    run: async ({ open }) =>
      await using(open('/dev/zero'), async (file) => {
        const { bytesRead } = await file.readv(Array.from({ length: 2000 }, () => Buffer.alloc(1)))
        return bytesRead
      }),
    ours: 2000,
    unlike: 1024,
  },
  { name: 'readv, position NaN', run: readvAt(Number.NaN), ours: RANGE, unlike: 10 },
  { name: "readv, position '3'", run: readvAt('3'), ours: TYPE, unlike: 10 },
  {
    name: 'readFile, aborted',
    run: ({ readable }) => readable.readFile({ signal: abortedSignal() }),
    ours: 'ABORT_ERR',
  },
  {
    name: 'writeFile, aborted',
    run: ({ writable }) => writable.writeFile('x', { signal: abortedSignal() }),
    ours: 'ABORT_ERR',
  },
  { name: 'readFile, signal 5', run: ({ readable }) => readable.readFile({ signal: 5 }), ours: TYPE },
  ...[5, true].map((options) => ({
    name: `readFile, options ${show(options)}`,
    run: ({ readable }) => readable.readFile(options),
    ours: TYPE,
  })),
  ...['zz', { encoding: 'zz' }, { encoding: 5 }].map((options) => ({
    name: `readFile, options ${show(options)}`,
    run: ({ readable }) => readable.readFile(options),
    ours: VALUE,
  })),
  ...[5, {}, null, undefined, true].map((data) => ({
    name: `writeFile ${show(data)}`,
    run: ({ writable }) => writable.writeFile(data),
    ours: TYPE,
  })),
  { name: 'writeFile, a piece is no bytes', run: ({ writable }) => writable.writeFile(['a', 5]), ours: TYPE },
  { name: 'writeFile, flush 1', run: ({ writable }) => writable.writeFile('x', { flush: 1 }), ours: TYPE },
  ...[5, null, undefined, {}, ['a'], Symbol('x'), true, new ArrayBuffer(3), Number.NaN].flatMap((path) => [
    { name: `stat of the path ${show(path)}`, run: ({ stat }) => stat(path), ours: TYPE },
    { name: `lstat of the path ${show(path)}`, run: ({ lstat }) => lstat(path), ours: TYPE },
  ]),
  { name: 'stat of the empty path', run: ({ stat }) => stat(''), ours: 'ENOENT' },
  { name: 'lstat of the empty path', run: ({ lstat }) => lstat(''), ours: 'ENOENT' },
  { name: 'stat of an empty Buffer', run: ({ stat }) => stat(Buffer.alloc(0)), ours: 'ENOENT' },
  { name: 'stat of a path with a NUL', run: ({ stat }) => stat('a\0b'), ours: VALUE },
  { name: 'lstat of a path with a NUL', run: ({ lstat }) => lstat('a\0b'), ours: VALUE },
  { name: 'stat of a Buffer with a NUL', run: ({ stat }) => stat(Buffer.from('a\0b')), ours: VALUE },
  { name: 'stat of a path of 5,000 letters', run: ({ stat }) => stat('x'.repeat(5000)), ours: 'ENAMETOOLONG' },
  { name: 'stat of a URL of the web', run: ({ stat }) => stat(new URL('http://x/y')), ours: 'ERR_INVALID_URL_SCHEME' },
  { name: 'stat of a path below a file', run: ({ stat, path }) => stat(`${path}/x`), ours: 'ENOTDIR' },
  ...[5, 'bigint', true].map((options) => ({
    name: `stat of a path, options ${show(options)}`,
    run: ({ stat, path }) => stat(path, options).then((stats) => stats.isFile()),
    ours: TYPE,
    unlike: true,
  })),
  { name: 'stat null', run: ({ readable }) => readable.stat(null), ours: TYPE, since: 26 },
  ...['abc', '9'].map((mode) => ({
    name: `chmod ${show(mode)}`,
    run: ({ writable }) => writable.chmod(mode),
    ours: VALUE,
  })),
  ...[-1, 1.5, 2 ** 33].map((mode) => ({
    name: `chmod ${show(mode)}`,
    run: ({ writable }) => writable.chmod(mode),
    ours: RANGE,
  })),
  { name: 'chmod {}', run: ({ writable }) => writable.chmod({}), ours: TYPE },
  ...[-2, 1.5, 2 ** 32].map((id) => ({
    name: `chown ${show(id)}`,
    run: ({ writable }) => writable.chown(id, -1),
    ours: RANGE,
  })),
  { name: "chown 'root'", run: ({ writable }) => writable.chown('root', -1), ours: TYPE },
  ...['abc', Number.NaN, {}, null, undefined, Infinity, 5n].map((time) => ({
    name: `utimes ${show(time)}`,
    run: ({ writable }) => writable.utimes(time, 0),
    ours: TYPE,
  })),
  { name: '/dev/full', run: ({ open }) => using(open('/dev/full', 'w'), (file) => file.write('x')), ours: 'ENOSPC' },
  {
    name: 'a file of /sys',
    run: ({ open }) => using(open('/sys/kernel/mm/transparent_hugepage/enabled'), (file) => file.readFile('utf8')),
    ours: readOrNothing('/sys/kernel/mm/transparent_hugepage/enabled'),
  },
  {
    name: 'a pipe read with a position',
    run: async ({ open, directory }) => {
      execFileSync('mkfifo', [`${directory}/fifo`])
      return await using(open(`${directory}/fifo`, 'r+'), async (file) => {
        await file.write('hello')
        const { bytesRead } = await file.read(bytes(), 0, 10, 5)
        return bytesRead
      })
    },
    ours: 5,
    unlike: 'ESPIPE',
  },
  {
    name: 'read on O_PATH',
    run: ({ open, path }) => using(open(path, 0o10000000), (file) => file.read(bytes(), 0, 10, 0)),
    ours: 'EBADF',
  },
  { name: 'read of length 0', run: readOf(0), ours: 0 },
  { name: 'write of length 0', run: writeOf(() => Buffer.alloc(0)), ours: 0 },
]

const contexts = targets()

for (const row of rows) {
  for (const target of contexts) {
    const isOracle = target.isOracle
    const expected = isOracle && 'unlike' in row ? row.unlike : row.ours
    const name = `${target.name}: ${row.name}${isOracle && 'unlike' in row ? ' [differs]' : ''}`
    if (target.skipped !== undefined) {
      test.skip(`${name} (${target.skipped})`, () => undefined)
    } else if (isOracle && !nodeAtLeast(row.since ?? 0)) {
      test.skip(`${name} (Node ${process.version} does otherwise)`, () => undefined)
    } else {
      test(name, async (t) => {
        const outcome = await outcomeOf(t, target, row)
        t.is(outcome.code ?? outcome.value, expected)
        if (isOracle || 'unlike' in row || !nodeAtLeast(row.since ?? 0)) return
        const oracle = contexts.find((one) => one.isOracle)
        t.deepEqual(outcome, await outcomeOf(t, oracle, row))
      })
    }
  }
}

async function outcomeOf(t, target, row) {
  const directory = tempDirectory(t)
  const path = `${directory}/file`
  writeFileSync(
    path,
    Uint8Array.from({ length: 100 }, (_, at) => at),
  )
  const readable = await target.open(path, 'r')
  const writable = await target.open(path, 'r+')
  try {
    const { open, stat, lstat } = target
    const value = await row.run({ open, stat, lstat, readable, writable, path, directory })
    if (typeof value?.close === 'function') await value.close()
    return { value }
  } catch (error) {
    const { name, code, errno, syscall, message } = error
    return { name, code, errno, syscall, message: message.replaceAll(directory, '') }
  } finally {
    await readable.close()
    await writable.close()
  }
}

async function using(opening, work) {
  const file = await opening
  try {
    return await work(file)
  } finally {
    await file.close()
  }
}

function readAt(position) {
  return ({ readable }) => readable.read(bytes(), 0, 10, position).then(({ bytesRead }) => bytesRead)
}

function readOf(length) {
  return ({ readable }) => readable.read(bytes(), 0, length, 0).then(({ bytesRead }) => bytesRead)
}

function readInto(makeView) {
  return ({ readable }) => readable.read(makeView()).then(({ bytesRead }) => bytesRead)
}

function readvOf(makeViews) {
  return ({ readable }) => readable.readv(makeViews()).then(({ bytesRead }) => bytesRead)
}

function readvAt(position) {
  return ({ readable }) => readable.readv([bytes()], position).then(({ bytesRead }) => bytesRead)
}

function writeOf(makeView) {
  return ({ writable }) => writable.write(makeView()).then(({ bytesWritten }) => bytesWritten)
}

function writeFileOf(makeView) {
  return ({ writable }) => writable.writeFile(makeView())
}

function abortedSignal() {
  const controller = new AbortController()
  controller.abort()
  return controller.signal
}

function readOrNothing(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    return error.code
  }
}

function show(value) {
  if (typeof value === 'bigint') return `${value}n`
  if (typeof value === 'string') return `'${value}'`
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return value.constructor.name
  if (Array.isArray(value)) return `[${value.map(show).join(', ')}]`
  if (value !== null && typeof value === 'object') return value.encoding ? `{ encoding: ${value.encoding} }` : '{}'
  return String(value)
}
