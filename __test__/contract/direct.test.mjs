// Handles opened with O_DIRECT: whatever the alignment, they have the same results as other handles.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { Engine } from 'auraio'
import { contract } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempFile } from '../helpers/temp.mjs'

const NO_OPTION = { differs: 'it has no such option' }
const NO_ADDRESSES = { ...NO_OPTION, unable: { node: 'it cannot know addresses, and opens without O_DIRECT' } }

/** A direct handle; undefined, with a note, if the platform or the file system has no O_DIRECT. */
async function openDirect(t, open, path, flags, direct = true) {
  try {
    return await open(path, flags, { direct })
  } catch (error) {
    if (error.code !== 'ERR_AURAIO_DIRECT' && !(error.code === 'EINVAL' && error.syscall === 'open')) throw error
    t.pass(`not here: ${error.message}`)
    return undefined
  }
}

const bounced = ({ engine }) => engine.stats().rings.reduce((sum, ring) => sum + ring.bounced, 0)

/** An engine of this test's own, so that its counters count this test only. */
async function alone(t, backend) {
  const engine = new Engine({ backend })
  t.teardown(() => engine.close())
  return { engine, open: (...args) => engine.open(...args) }
}

/** Memory that begins at a page. In JavaScript only memory of WebAssembly is sure to do so. */
function aligned(length) {
  const pages = Math.ceil(length / 65536)
  return new Uint8Array(new WebAssembly.Memory({ initial: pages, maximum: pages }).buffer, 0, length)
}

contract(
  test,
  'a direct handle reads any part of a file into any memory',
  async (t, { open }) => {
    const path = tempFile(t)
    const bytes = pattern(30_001)
    writeFileSync(path, bytes)
    const file = await openDirect(t, open, path, 'r')
    if (file === undefined) return
    for (const position of [0, 1, 511, 512, 4096, 29_000, 30_000, 30_001, 40_000, 2 ** 40]) {
      for (const length of [1, 100, 512, 4096, 5000, 60_000]) {
        const buffer = Buffer.alloc(length + 7, 255)
        const { bytesRead } = await file.read(buffer, 7, length, position)
        const expected = bytes.subarray(position, position + length)
        t.is(bytesRead, expected.length, `${length} at ${position}`)
        sameBytes(t, buffer.subarray(7, 7 + bytesRead), expected)
        t.true(buffer.subarray(0, 7).every((byte) => byte === 255))
        const { buffer: fresh } = await file.read({ length, position })
        sameBytes(t, fresh, expected)
      }
    }
    const { bytesRead, buffers } = await file.readv([Buffer.alloc(3), Buffer.alloc(5000)], 29_000)
    t.is(bytesRead, 1001)
    sameBytes(t, Buffer.concat(buffers).subarray(0, 1001), bytes.subarray(29_000))
    await file.close()
  },
  NO_OPTION,
)

contract(
  test,
  'a direct handle writes any part of a file, and the rest of the file does not change',
  async (t, { open }) => {
    const path = tempFile(t)
    const model = pattern(100_000)
    writeFileSync(path, model)
    const file = await openDirect(t, open, path, 'r+')
    if (file === undefined) return
    for (const [position, length] of [
      [1, 1],
      [4095, 2],
      [512, 512],
      [5000, 20_000],
      [3, 90_000],
      [4096, 4096],
      [99_990, 10],
    ]) {
      const bytes = pattern(length, position)
      bytes.copy(model, position)
      t.is((await file.write(bytes, 0, length, position)).bytesWritten, length)
      sameBytes(t, readFileSync(path), model)
    }
    t.is((await file.writev([Buffer.from('one'), Buffer.from('two')], 99_997)).bytesWritten, 6)
    t.is(statSync(path).size, 100_003)
    t.is(readFileSync(path).toString('latin1', 99_997), 'onetwo')
    await file.sync()
    await file.close()
  },
  NO_OPTION,
)

contract(
  test,
  'a direct handle reads and writes whole files, appends, and keeps its own position',
  async (t, { open }) => {
    const path = tempFile(t)
    const file = await openDirect(t, open, path, 'w+')
    if (file === undefined) return
    await file.writeFile(['hello', Buffer.from(' world'), '!'])
    t.is(readFileSync(path, 'utf8'), 'hello world!')
    await file.close()
    const log = await open(path, 'a+', { direct: true })
    await Promise.all([log.write(' one'), log.write(Buffer.from(' two')), log.appendFile(' three')])
    t.is(readFileSync(path, 'utf8'), 'hello world! one two three')
    await log.close()
    const reader = await open(path, 'r', { direct: true })
    const parts = await Promise.all([5, 7, 100].map((length) => reader.read({ length })))
    t.deepEqual(
      parts.map(({ buffer }) => buffer.toString()),
      ['hello', ' world!', ' one two three'],
    )
    await reader.close()
    const large = pattern(3_000_001)
    writeFileSync(path, large)
    const whole = await open(path, 'r', { direct: true })
    sameBytes(t, await whole.readFile(), large)
    await whole.close()
  },
  NO_OPTION,
)

contract(
  test,
  'writes to neighbouring parts of the same sectors, all at once, all arrive',
  async (t, { open }) => {
    const path = tempFile(t)
    const bytes = pattern(100_000)
    writeFileSync(path, Buffer.alloc(bytes.length))
    const handles = []
    for (let nth = 0; nth < 3; nth++) {
      const file = await openDirect(t, open, path, 'r+')
      if (file === undefined) return
      handles.push(file)
    }
    const writes = []
    for (let at = 0; at < bytes.length; at += 777) {
      const length = Math.min(777, bytes.length - at)
      writes.push(handles[(at / 777) % 3].write(bytes, at, length, at))
    }
    for (const { bytesWritten } of await Promise.all(writes)) t.true(bytesWritten > 0)
    for (const file of handles) await file.sync()
    sameBytes(t, readFileSync(path), bytes)
    const copy = Buffer.alloc(bytes.length)
    await handles[0].read(copy, 0, copy.length, 0)
    sameBytes(t, copy, bytes)
    for (const file of handles) await file.close()
  },
  NO_OPTION,
)

contract(
  test,
  'aligned transfers are not bounced, and others are counted',
  async (t, { name }) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(65_536))
    const target = await alone(t, name)
    const file = await openDirect(t, target.open, path, 'r+')
    if (file === undefined) return
    const memory = aligned(65_536)
    await file.read(memory, 0, 4096, 8192)
    await file.write(memory, 4096, 8192, 0)
    await file.readv([memory.subarray(0, 4096), memory.subarray(8192, 16_384)], 4096)
    await file.read({ length: 8192, position: 4096 })
    await file.read({ length: 4096 })
    t.is(bounced(target), 0)
    await file.read(memory, 1, 4096, 8192)
    await file.read(memory, 0, 100, 0)
    await file.write(memory, 0, 4096, 1)
    t.is(bounced(target), 3)
    const plain = await target.open(path, 'r')
    await plain.read(memory, 1, 100, 1)
    t.is(bounced(target), 3)
  },
  NO_ADDRESSES,
)

contract(
  test,
  'a direct handle has the flag O_DIRECT, and keeps it',
  async (t, { open }) => {
    const path = tempFile(t)
    const file = await openDirect(t, open, path, 'w+')
    if (file === undefined) return
    await file.write('not aligned', 3)
    t.regex(readFileSync(`/proc/self/fdinfo/${file.fd}`, 'utf8'), /flags:\t0\d*[4-7]\d{4}\n/)
    await file.close()
  },
  NO_ADDRESSES,
)

contract(
  test,
  'a strict handle rejects transfers that are not aligned, and names the alignment needed',
  async (t, { open, name }) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(16_384))
    const file = await openDirect(t, open, path, 'r+', 'strict')
    if (file === undefined) return
    const memory = aligned(16_384)
    t.is((await file.read(memory, 0, 4096, 4096)).bytesRead, 4096)
    t.is((await file.write(memory, 0, 4096, 4096)).bytesWritten, 4096)
    if (name !== 'node') t.is((await file.read({ length: 4096, position: 4096 })).bytesRead, 4096)
    const needs =
      name === 'node'
        ? "buffer addresses, positions and lengths at multiples of the device's block size; 4096 always is one"
        : /buffer addresses at multiples of (\d+) and positions and lengths at multiples of (\d+)$/
    try {
      await file.read(memory, 0, 100, 1)
      t.log('this file system takes transfers that are not aligned')
    } catch (error) {
      t.is(error.code, 'EINVAL')
      t.is(error.errno, -22)
      t.is(error.syscall, 'read')
      const before = 'EINVAL: invalid argument, read: direct I/O on this file needs '
      t.true(error.message.startsWith(before), error.message)
      if (typeof needs === 'string') t.is(error.message, before + needs)
      else for (const unit of needs.exec(error.message).slice(1)) t.is(Math.log2(unit) % 1, 0)
      await t.throwsAsync(file.write(memory, 1, 4096, 0), {
        code: 'EINVAL',
        message: /write: direct I\/O on this file/,
      })
      await t.throwsAsync(file.readv([memory.subarray(0, 5)], 0), { code: 'EINVAL', message: /direct I\/O on this/ })
      sameBytes(t, readFileSync(path).subarray(0, 4096), pattern(16_384).subarray(0, 4096))
    }
    await file.close()
  },
  NO_OPTION,
)
