// readFile, writeFile and appendFile of a handle.
import { constants } from 'node:buffer'
import { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { contract, nodeAtLeast } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempDirectory, tempFile } from '../helpers/temp.mjs'

function abortedSignal(reason) {
  const controller = new AbortController()
  controller.abort(reason)
  return controller.signal
}

contract(test, 'readFile gives a Buffer, or a string in an encoding', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'grüße')
  for (const [options, expected] of [
    [undefined, Buffer.from('grüße')],
    [null, Buffer.from('grüße')],
    [{}, Buffer.from('grüße')],
    ['utf8', 'grüße'],
    [{ encoding: 'hex' }, '6772c3bcc39f65'],
    ['latin1', 'grÃ¼Ã\u009fe'],
  ]) {
    const file = await open(path)
    t.deepEqual(await file.readFile(options), expected)
    await file.close()
  }
})

contract(test, 'readFile begins at the file’s own position', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(3_000_000)
  writeFileSync(path, bytes)
  const file = await open(path)
  await file.read(Buffer.alloc(1000), 0, 1000, null)
  sameBytes(t, await file.readFile(), bytes.subarray(1000))
  t.is((await file.readFile()).length, 0)
  await file.close()
})

contract(test, 'files of /proc, whose size is 0, are read to their end', async (t, { open }) => {
  const file = await open('/proc/self/status')
  const text = await file.readFile('utf8')
  t.regex(text, /^Name:\t/)
  t.regex(text, /nonvoluntary_ctxt_switches:\t\d+\n$/)
  await file.close()
})

contract(test, 'a long file of unknown size is read to its end', async (t, { open }) => {
  const file = await open('/proc/kallsyms')
  const bytes = await file.readFile()
  await file.close()
  t.true(bytes.length > 200_000)
  t.is(bytes.at(-1), 10)
})

contract(
  test,
  'readFile reads into given memory',
  async (t, { open }) => {
    const path = tempFile(t)
    writeFileSync(path, 'content')
    const read = async (options) => {
      const file = await open(path)
      try {
        return await file.readFile(options)
      } finally {
        await file.close()
      }
    }
    const memory = new Uint8Array(100)
    const bytes = await read({ buffer: memory })
    t.is(bytes.toString(), 'content')
    t.is(bytes.buffer, memory.buffer)
    t.is((await read({ buffer: (size) => new DataView(new ArrayBuffer(size)) })).toString(), 'content')
    t.is(await read({ buffer: memory, encoding: 'utf8' }), 'content')
    await t.throwsAsync(read({ buffer: new Uint8Array(3) }), { code: 'ERR_INVALID_ARG_VALUE' })
    await t.throwsAsync(read({ buffer: 5 }), { code: 'ERR_INVALID_ARG_TYPE' })
    const proc = await open('/proc/self/status')
    await t.throwsAsync(proc.readFile({ buffer: new Uint8Array(9) }), { code: 'ERR_INVALID_ARG_VALUE' })
    await proc.close()
  },
  nodeAtLeast(26) ? {} : { differs: 'only since Node 26' },
)

contract(
  test,
  'a file past 2 GiB is read whole; one past the largest Buffer says so',
  async (t, { open }) => {
    const path = tempFile(t)
    writeFileSync(path, 'begin')
    const size = 2 ** 31 + 10
    truncateSync(path, size)
    const file = await open(path, 'r+')
    await file.write('end', size - 3)
    const bytes = await file.readFile()
    t.is(bytes.length, size)
    t.is(bytes.toString('latin1', 0, 5), 'begin')
    t.is(bytes.toString('latin1', size - 3), 'end')
    truncateSync(path, Math.min(constants.MAX_LENGTH + 1, 2 ** 43))
    if (constants.MAX_LENGTH < 2 ** 43) await t.throwsAsync(file.readFile(), { code: 'ERR_FS_FILE_TOO_LARGE' })
    await file.close()
  },
  { differs: 'its limit is 2 GiB' },
)

contract(test, 'writeFile writes text, bytes and iterables', async (t, { open }) => {
  const path = tempFile(t)
  async function* pieces() {
    yield 'one '
    yield Buffer.from('two ')
    yield new Uint16Array([0x2033])
  }
  for (const [data, options, expected] of [
    ['grüße', undefined, Buffer.from('grüße')],
    ['grüße', 'latin1', Buffer.from('grüße', 'latin1')],
    ['6869', { encoding: 'hex' }, Buffer.from('hi')],
    [new DataView(Buffer.from('view').buffer.slice(0, 0)), undefined, Buffer.alloc(0)],
    [new Float32Array([1.5]), undefined, Buffer.from(new Float32Array([1.5]).buffer)],
    [['a', Buffer.from('b'), ''], undefined, Buffer.from('ab')],
    [pieces(), undefined, Buffer.from('one two 3 ')],
    ['', undefined, Buffer.alloc(0)],
  ]) {
    const file = await open(path, 'w')
    t.is(await file.writeFile(data, options), undefined)
    t.deepEqual(readFileSync(path), expected)
    await file.close()
  }
})

contract(test, 'writeFile begins at the file’s own position and does not truncate', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, '0123456789')
  const file = await open(path, 'r+')
  await file.writeFile('ab')
  await file.appendFile('cd', { flush: true })
  t.is(readFileSync(path, 'utf8'), 'abcd456789')
  await file.close()
})

contract(test, 'a large writeFile arrives whole', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(5_000_001)
  const file = await open(path, 'w')
  await file.writeFile(bytes, { signal: new AbortController().signal })
  sameBytes(t, readFileSync(path), bytes)
  await file.close()
})

contract(
  test,
  'writeFile calls made together do not mix',
  async (t, { open }) => {
    const path = tempFile(t)
    const file = await open(path, 'a')
    const parts = Array.from({ length: 8 }, (_, at) => String(at).repeat(300_000))
    await Promise.all(parts.map((part) => file.appendFile(part)))
    t.is(readFileSync(path, 'utf8'), parts.join(''))
    await file.close()
  },
  { differs: 'it writes in parts of 512 KiB' },
)

contract(test, 'an error of the iterable rejects writeFile, and the handle stays usable', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w')
  // eslint-disable-next-line require-yield
  async function* fails() {
    throw new Error('from the iterable')
  }
  await t.throwsAsync(file.writeFile(fails()), { message: 'from the iterable' })
  await file.writeFile('still here')
  t.is(readFileSync(path, 'utf8'), 'still here')
  await file.close()
})

contract(test, 'an aborted signal stops readFile and writeFile', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, pattern(2_000_000))
  const file = await open(path, 'r+')
  const reason = new Error('enough')
  for (const start of [(signal) => file.readFile({ signal }), (signal) => file.writeFile(['x', 'y'], { signal })]) {
    const error = await t.throwsAsync(start(abortedSignal(reason)), { code: 'ABORT_ERR', name: 'AbortError' })
    t.is(error.message, 'The operation was aborted')
    t.is(error.cause, reason)
    const later = new AbortController()
    const running = start(later.signal)
    later.abort(reason)
    await t.throwsAsync(running, { code: 'ABORT_ERR', name: 'AbortError' })
  }
  t.is((await file.stat()).size, 2_000_000)
  await file.close()
})

contract(test, 'a directory cannot be read', async (t, { open }) => {
  const directory = tempDirectory(t)
  const file = await open(directory)
  await t.throwsAsync(file.read(), { code: 'EISDIR', message: 'EISDIR: illegal operation on a directory, read' })
  await t.throwsAsync(file.readFile(), { code: 'EISDIR' })
  await file.close()
  await t.throwsAsync(open(directory, 'r+'), { code: 'EISDIR' })
})
