// copyRange: an operation on two files. What is copied, what is refused, and that the close of either file waits.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { Engine } from 'auraio'
import { contract as everywhere } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempDirectory } from '../helpers/temp.mjs'

const contract = (t, title, body, options) => everywhere(t, title, body, { differs: 'it has no copyRange', ...options })

/** A source of these bytes and an empty target, open. */
async function pair(t, open, bytes, flags = 'w+') {
  const directory = tempDirectory(t)
  const [from, to] = [`${directory}/from`, `${directory}/to`]
  writeFileSync(from, bytes)
  const [source, target] = [await open(from, 'r'), await open(to, flags)]
  t.teardown(() => Promise.all([source.close(), target.close()]))
  return { directory, from, to, source, target }
}

contract(test, 'without options, all of the source is copied', async (t, { open }) => {
  for (const length of [0, 1, 4096, 1_000_003]) {
    const bytes = pattern(length)
    const { to, source, target } = await pair(t, open, bytes)
    t.deepEqual(await source.copyRange(target), { bytesCopied: length })
    sameBytes(t, readFileSync(to), bytes)
  }
})

contract(test, 'start, length and position choose what is copied and where to', async (t, { open }) => {
  const bytes = pattern(10_000)
  const { to, source, target } = await pair(t, open, bytes)
  await target.write(Buffer.alloc(10_000, 7))
  t.deepEqual(await source.copyRange(target, { start: 1234, length: 100, position: 5 }), { bytesCopied: 100 })
  t.deepEqual(await source.copyRange(target, { start: 9_990n, length: 100, position: 9_000n }), { bytesCopied: 10 })
  const expected = Buffer.alloc(10_000, 7)
  bytes.copy(expected, 5, 1234, 1334)
  bytes.copy(expected, 9_000, 9_990)
  sameBytes(t, readFileSync(to), expected)
})

contract(test, 'past the end of the source, and with length 0, nothing is copied', async (t, { open }) => {
  const { to, source, target } = await pair(t, open, 'abc')
  t.deepEqual(await source.copyRange(target, { start: 3 }), { bytesCopied: 0 })
  t.deepEqual(await source.copyRange(target, { start: 2 ** 53 - 1 }), { bytesCopied: 0 })
  t.deepEqual(await source.copyRange(target, { length: 0, position: 100 }), { bytesCopied: 0 })
  t.is(statSync(to).size, 0)
})

contract(test, 'the own positions are neither used nor moved', async (t, { open }) => {
  const { to, source, target } = await pair(t, open, '0123456789')
  await source.read(Buffer.alloc(3))
  await target.write('xy')
  await source.copyRange(target, { length: 5, position: 2 })
  t.is((await source.read(Buffer.alloc(1))).buffer.toString(), '3')
  await target.write('z')
  t.is(readFileSync(to, 'utf8'), 'xyz1234')
})

contract(test, 'within one file, the bytes that it had are copied, and no more', async (t, { open }) => {
  const { to, target } = await pair(t, open, '')
  await target.write('0123456789')
  t.deepEqual(await target.copyRange(target, { position: 10 }), { bytesCopied: 10 })
  t.deepEqual(await target.copyRange(target, { start: 15, length: 1000, position: 20 }), { bytesCopied: 5 })
  t.is(readFileSync(to, 'utf8'), '0123456789012345678956789')
  const error = await t.throwsAsync(target.copyRange(target, { length: 10, position: 5 }), { code: 'EINVAL' })
  t.is(error.message, 'EINVAL: invalid argument, copy_file_range')
  t.is(error.syscall, 'copy_file_range')
  t.is(error.path, undefined)
})

contract(test, 'a file that does not tell its size is copied', async (t, { open }) => {
  const { to, target } = await pair(t, open, '')
  const source = await open('/proc/version', 'r')
  const expected = readFileSync('/proc/version')
  try {
    t.deepEqual(await source.copyRange(target), { bytesCopied: expected.length })
    sameBytes(t, readFileSync(to), expected)
  } catch (error) {
    t.is(error.code, 'EXDEV') // /proc is another file system
  }
  await source.close()
})

contract(test, 'many copies between the same files run at once', async (t, { open }) => {
  const bytes = pattern(400_000)
  const { to, source, target } = await pair(t, open, bytes)
  const parts = Array.from({ length: 40 }, (_, part) => part * 10_000)
  const copies = parts.map((at) => source.copyRange(target, { start: at, length: 10_000, position: at }))
  for (const { bytesCopied } of await Promise.all(copies)) t.is(bytesCopied, 10_000)
  sameBytes(t, readFileSync(to), bytes)
})

contract(test, 'the close of either file waits for the copy, and the next copy is refused', async (t, { open }) => {
  const bytes = pattern(3_000_000)
  for (const closes of ['source', 'target']) {
    const files = await pair(t, open, bytes)
    const order = []
    const copying = files.source.copyRange(files.target).then((result) => order.push('copied') && result)
    const closing = files[closes].close().then(() => order.push('closed'))
    const error = await t.throwsAsync(files.source.copyRange(files.target), { message: 'file closed', code: 'EBADF' })
    t.is(error.syscall, 'copy_file_range')
    t.deepEqual(await copying, { bytesCopied: bytes.length })
    await closing
    t.deepEqual(order, ['copied', 'closed'])
    sameBytes(t, readFileSync(files.to), bytes)
  }
})

contract(test, 'the close of both files, and of one file copied to itself, waits', async (t, { open }) => {
  const bytes = pattern(1_000_000)
  const { to, source, target } = await pair(t, open, bytes)
  const copying = source.copyRange(target)
  await Promise.all([source.close(), target.close()])
  t.deepEqual(await copying, { bytesCopied: bytes.length })
  const file = await open(to, 'r+')
  const itself = file.copyRange(file, { position: bytes.length })
  await file.close()
  t.deepEqual(await itself, { bytesCopied: bytes.length })
  sameBytes(t, readFileSync(to), Buffer.concat([bytes, bytes]))
})

contract(test, 'files that are not open for it are refused', async (t, { open }) => {
  const { from, source, target } = await pair(t, open, 'abc')
  await target.write('abc')
  const writeOnly = await open(from, 'a')
  const readOnly = await t.throwsAsync(target.copyRange(source, { length: 1 }), { code: 'EBADF' })
  t.is(readOnly.message, 'EBADF: bad file descriptor, copy_file_range')
  await t.throwsAsync(writeOnly.copyRange(target, { length: 1 }), { code: 'EBADF' }) // opened for writing only
  await t.throwsAsync(target.copyRange(writeOnly, { length: 1 }), { code: 'EBADF' }) // opened to append
  await writeOnly.close()
})

contract(test, 'directories, pipes and devices are refused', async (t, { open }) => {
  const { directory, source, target } = await pair(t, open, 'abc')
  execFileSync('mkfifo', [`${directory}/pipe`])
  const opened = [await open(directory), await open(`${directory}/pipe`, 'r+'), await open('/dev/null', 'r+')]
  const [folder, pipe, device] = opened
  await t.throwsAsync(folder.copyRange(target), { code: 'EISDIR' })
  await t.throwsAsync(pipe.copyRange(target), { code: 'EINVAL' })
  await t.throwsAsync(source.copyRange(pipe), { code: 'EINVAL' })
  await t.throwsAsync(source.copyRange(device), { code: 'EINVAL' })
  for (const file of opened) await file.close()
})

/** A directory on another file system than the test's own; undefined if there is none. */
function elsewhere(t, directory) {
  if (!existsSync('/dev/shm') || statSync('/dev/shm').dev === statSync(directory).dev) return undefined
  const made = mkdtempSync('/dev/shm/auraio-test-')
  t.teardown(() => rmSync(made, { recursive: true }))
  return made
}

contract(test, 'between file systems it is EXDEV, or a copy', async (t, { name, open }) => {
  const bytes = pattern(700_000)
  const { directory, source } = await pair(t, open, bytes)
  const other = elsewhere(t, directory)
  if (other === undefined) return t.pass('there is one file system')
  const to = path.join(other, 'to')
  const target = await open(to, 'w')
  if (name === 'node') {
    t.deepEqual(await source.copyRange(target), { bytesCopied: bytes.length })
    sameBytes(t, readFileSync(to), bytes)
  } else {
    const error = await t.throwsAsync(source.copyRange(target), { code: 'EXDEV' })
    t.is(error.message, 'EXDEV: cross-device link not permitted, copy_file_range')
  }
  await target.close()
})

contract(test, 'wrong arguments are refused, and nothing is copied', async (t, { open }) => {
  const { to, source, target } = await pair(t, open, 'abc')
  const prototype = Object.create(Object.getPrototypeOf(source))
  for (const wrong of [undefined, null, 5, 'to', {}, target.fd, prototype, { fd: 3 }]) {
    await t.throwsAsync(source.copyRange(wrong), { code: 'ERR_INVALID_ARG_TYPE', instanceOf: TypeError })
  }
  for (const options of [null, 5, 'x', [], () => 1]) {
    await t.throwsAsync(source.copyRange(target, options), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  for (const key of ['start', 'length', 'position']) {
    for (const number of [-1, Number.NaN, 1.5, Infinity, -Infinity, 2 ** 53]) {
      await t.throwsAsync(source.copyRange(target, { [key]: number }), { code: 'ERR_OUT_OF_RANGE' }, `${key} ${number}`)
    }
    for (const wrong of ['1', {}, true, Symbol('x')]) {
      await t.throwsAsync(source.copyRange(target, { [key]: wrong }), { code: 'ERR_INVALID_ARG_TYPE' })
    }
  }
  for (const key of ['start', 'position']) {
    for (const number of [-1n, 2n ** 53n, 2n ** 64n]) {
      await t.throwsAsync(source.copyRange(target, { [key]: number }), { code: 'ERR_OUT_OF_RANGE' })
    }
    await t.throwsAsync(source.copyRange(target, { [key]: null }), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  t.is(statSync(to).size, 0)
  t.deepEqual(await source.copyRange(target, {}), { bytesCopied: 3 })
  t.deepEqual(await source.copyRange(target, { length: null }), { bytesCopied: 3 })
})

contract(test, 'a handle of another engine, and a closed handle, are refused', async (t, { open }) => {
  const { to, source, target } = await pair(t, open, 'abc')
  const engine = new Engine({ backend: 'node' })
  const foreign = await engine.open(to, 'r+')
  await t.throwsAsync(source.copyRange(foreign), { code: 'ERR_INVALID_ARG_VALUE', message: /must be of this engine/ })
  await t.throwsAsync(foreign.copyRange(target), { code: 'ERR_INVALID_ARG_VALUE' })
  await engine.close()
  await target.close()
  const closed = await t.throwsAsync(source.copyRange(target), { code: 'EBADF', message: 'file closed' })
  t.is(closed.errno, undefined)
  await source.close()
  await t.throwsAsync(source.copyRange(target), { code: 'EBADF', message: 'file closed' })
})

for (const backend of ['auto', 'node']) {
  test(`close of an engine (${backend}) waits for a copy`, async (t) => {
    const bytes = pattern(2_000_000)
    const engine = new Engine({ backend })
    const { to, source, target } = await pair(t, (...args) => engine.open(...args), bytes)
    const copying = source.copyRange(target)
    await engine.close()
    t.deepEqual(await copying, { bytesCopied: bytes.length })
    sameBytes(t, readFileSync(to), bytes)
    await t.throwsAsync(source.copyRange(target), { code: 'EBADF', message: 'file closed' })
  })
}
