// Reads and writes, in every form of the arguments: the right bytes are in the right position.
import { readFileSync, statSync, writeFileSync } from 'node:fs'
import vm from 'node:vm'
import test from 'ava'
import { contract, nodeAtLeast } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempDirectory, tempFile } from '../helpers/temp.mjs'

contract(test, 'read fills the wanted part of the buffer and no more', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(10_000)
  writeFileSync(path, bytes)
  const file = await open(path)
  const buffer = Buffer.alloc(64, 7)
  const result = await file.read(buffer, 10, 20, 5000)
  t.is(result.bytesRead, 20)
  t.is(result.buffer, buffer)
  t.deepEqual(Object.keys(result), ['bytesRead', 'buffer'])
  t.deepEqual(buffer.subarray(10, 30), bytes.subarray(5000, 5020))
  t.true(buffer.subarray(0, 10).every((byte) => byte === 7))
  t.true(buffer.subarray(30).every((byte) => byte === 7))
  await file.close()
})

contract(test, 'read takes all argument forms', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(50_000)
  writeFileSync(path, bytes)
  const file = await open(path)
  const none = await file.read()
  t.is(none.bytesRead, 16384)
  t.is(none.buffer.byteLength, 16384)
  t.deepEqual(none.buffer, bytes.subarray(0, 16384))
  const onlyBuffer = await file.read(Buffer.alloc(100))
  t.deepEqual(onlyBuffer.buffer, bytes.subarray(16384, 16484))
  const fromOffset = await file.read(Buffer.alloc(100), 90)
  t.is(fromOffset.bytesRead, 10)
  t.deepEqual(fromOffset.buffer.subarray(90), bytes.subarray(16484, 16494))
  const options = await file.read(Buffer.alloc(100), { offset: 50, length: 25, position: 7 })
  t.is(options.bytesRead, 25)
  t.deepEqual(options.buffer.subarray(50, 75), bytes.subarray(7, 32))
  const optionsOnly = await file.read({ buffer: Buffer.alloc(10), position: 1 })
  t.deepEqual(optionsOnly.buffer, bytes.subarray(1, 11))
  const nulls = await file.read(Buffer.alloc(10), null, null, null)
  t.deepEqual(nulls.buffer, bytes.subarray(16494, 16504))
  t.is((await file.read({ position: 49_999 })).bytesRead, 1)
  t.is((await file.read(Buffer.alloc(10), 0, 10, 60_000)).bytesRead, 0)
  t.is((await file.read(Buffer.alloc(10), 0, 0, 0)).bytesRead, 0)
  await file.close()
})

contract(
  test,
  'read with a length and no buffer gives a new Buffer with just the bytes read',
  async (t, { open }) => {
    const path = tempFile(t)
    const bytes = pattern(50_000)
    writeFileSync(path, bytes)
    const file = await open(path)
    const made = []
    for (const [length, position, expected] of [
      [1, 0, 1],
      [4096, 4096, 4096],
      [40_000, 3, 40_000],
      [100_000, 0, 50_000],
      [100_000, 49_990, 10],
      [10, 50_000, 0],
      [0, 0, 0],
    ]) {
      const { bytesRead, buffer } = await file.read({ length, position })
      t.is(bytesRead, expected)
      t.true(Buffer.isBuffer(buffer))
      sameBytes(t, buffer, bytes.subarray(position, position + expected))
      // After a short read, the Buffer shows nothing of the memory's earlier bytes.
      const end = buffer.byteOffset + buffer.length
      t.true(new Uint8Array(buffer.buffer).every((byte, at) => byte === 0 || (at >= buffer.byteOffset && at < end)))
      made.push(buffer)
    }
    t.is(new Set(made.map((buffer) => buffer.buffer)).size, made.length)
    // At the file's own position, which moves.
    t.deepEqual((await file.read({ length: 5 })).buffer, bytes.subarray(0, 5))
    t.deepEqual((await file.read({ length: 5, position: null, offset: 0 })).buffer, bytes.subarray(5, 10))
    const several = await Promise.all([1, 2, 3].map((length) => file.read({ length })))
    t.deepEqual(Buffer.concat(several.map(({ buffer }) => buffer)), bytes.subarray(10, 16))
    await file.close()
    await t.throwsAsync(file.read({ length: 5 }), { code: 'EBADF' })
  },
  { differs: 'it reads into 16384 bytes, and takes no length past them' },
)

contract(test, 'read without a buffer and without a length gives 16384 bytes', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, pattern(100))
  const file = await open(path)
  for (const options of [undefined, null, {}, { position: 0 }, { length: null, position: 0 }]) {
    const { buffer } = await file.read(options)
    t.is(buffer.byteLength, 16384)
  }
  t.is((await file.read({ offset: 10, length: 20, position: 0 })).buffer.byteLength, 16384)
  await file.close()
})

contract(test, 'views of every kind can be read into and written from', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(4096)
  writeFileSync(path, bytes)
  const foreign = vm.runInNewContext('new Uint8Array(64)')
  t.false(foreign instanceof Uint8Array)
  const views = [
    new Uint8Array(64),
    new Uint32Array(16),
    new Float64Array(8),
    new DataView(new ArrayBuffer(128), 32, 64),
    new Uint8Array(new SharedArrayBuffer(64)),
    new BigInt64Array(new SharedArrayBuffer(128), 8, 8),
    foreign,
    Buffer.from('small views live on the heap of V8 until someone looks at them!!'),
  ]
  const file = await open(path, 'r+')
  for (const view of views) {
    await file.read(view, 0, 64, 100)
    const seen = Buffer.from(view.buffer, view.byteOffset, 64)
    t.deepEqual(Buffer.from(seen), bytes.subarray(100, 164))
    const { bytesWritten } = await file.write(view, 0, 64, 1000)
    t.is(bytesWritten, 64)
    t.deepEqual(readFileSync(path).subarray(1000, 1064), bytes.subarray(100, 164))
    writeFileSync(path, bytes)
  }
  await file.close()
})

contract(test, 'write takes all argument forms', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w+')
  const hello = Buffer.from('hello')
  const result = await file.write(hello)
  t.is(result.bytesWritten, 5)
  t.is(result.buffer, hello)
  t.is((await file.write(Buffer.from('xx world'), 2)).bytesWritten, 6)
  t.is((await file.write(Buffer.from('abcdef'), 1, 2)).bytesWritten, 2)
  t.is((await file.write(Buffer.from('HELLO'), 0, 1, 0)).bytesWritten, 1)
  t.is((await file.write(Buffer.from('--E--'), { offset: 2, length: 1, position: 1 })).bytesWritten, 1)
  t.is((await file.write(Buffer.from('!'), null, null, null)).bytesWritten, 1)
  t.is((await file.write(Buffer.alloc(0))).bytesWritten, 0)
  t.is((await file.write(Buffer.from('x'), 0, 0)).bytesWritten, 0)
  t.is(readFileSync(path, 'utf8'), 'HEllo worldbc!')
  await file.close()
})

contract(test, 'strings are written in their encoding', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w+')
  const result = await file.write('grüße')
  t.is(result.bytesWritten, 7)
  t.is(result.buffer, 'grüße')
  t.is((await file.write('ü', null, 'latin1')).bytesWritten, 1)
  t.is((await file.write('00ff', 0, 'hex')).bytesWritten, 2)
  t.is((await file.write('', 0)).bytesWritten, 0)
  t.is((await file.write('aGk=', undefined, 'base64')).bytesWritten, 2)
  t.deepEqual(readFileSync(path), Buffer.from([0x00, 0xff, 0xc3, 0xbc, 0xc3, 0x9f, 0x65, 0xfc, 0x68, 0x69]))
  await file.close()
})

contract(test, 'readv and writev use their buffers in order', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(1000)
  const file = await open(path, 'w+')
  const parts = [bytes.subarray(0, 10), new Uint16Array(bytes.buffer.slice(10, 410)), bytes.subarray(410)]
  const written = await file.writev(parts)
  t.is(written.bytesWritten, 1000)
  t.is(written.buffers, parts)
  sameBytes(t, readFileSync(path), bytes)
  const into = [Buffer.alloc(600), Buffer.alloc(0), Buffer.alloc(600)]
  const read = await file.readv(into, 0)
  t.is(read.bytesRead, 1000)
  t.is(read.buffers, into)
  t.deepEqual(Buffer.concat(into).subarray(0, 1000), bytes)
  await file.writev([Buffer.from('AB'), Buffer.from('CD')], 4)
  t.is(readFileSync(path).subarray(4, 8).toString(), 'ABCD')
  await file.close()
})

contract(
  test,
  'a vector past IOV_MAX is read and written whole',
  async (t, { open }) => {
    const path = tempFile(t)
    const bytes = pattern(2500 * 3)
    const file = await open(path, 'w+')
    const parts = Array.from({ length: 2500 }, (_, at) => bytes.subarray(at * 3, at * 3 + 3))
    t.is((await file.writev(parts, 0)).bytesWritten, bytes.length)
    sameBytes(t, readFileSync(path), bytes)
    const into = Array.from({ length: 2500 }, () => Buffer.alloc(3))
    t.is((await file.readv(into, 0)).bytesRead, bytes.length)
    sameBytes(t, Buffer.concat(into), bytes)
    const atOwnPosition = Array.from({ length: 2500 }, () => Buffer.alloc(3))
    t.is((await file.readv(atOwnPosition)).bytesRead, bytes.length)
    sameBytes(t, Buffer.concat(atOwnPosition), bytes)
    await file.close()
  },
  { differs: 'its readv stops after 1024' },
)

contract(
  test,
  'operations at the file’s own position run in the order of the calls',
  async (t, { open }) => {
    const path = tempFile(t)
    const bytes = pattern(64 * 100)
    writeFileSync(path, bytes)
    const file = await open(path, 'r')
    const buffers = Array.from({ length: 64 }, () => Buffer.alloc(100))
    const results = await Promise.all(
      buffers.map((buffer, at) =>
        at % 3 === 0 ? file.readv([buffer]) : file.read(buffer, 0, 100, at % 2 ? null : -1),
      ),
    )
    t.true(results.every(({ bytesRead }) => bytesRead === 100))
    sameBytes(t, Buffer.concat(buffers), bytes)
    await file.close()
    const copy = tempFile(t)
    const target = await open(copy, 'w')
    await Promise.all(buffers.map((buffer, at) => (at % 3 === 0 ? target.writev([buffer]) : target.write(buffer))))
    sameBytes(t, readFileSync(copy), bytes)
    await target.close()
  },
  { differs: 'it gives no order' },
)

contract(test, 'operations at given positions, all at once, all arrive', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(256 * 512)
  const file = await open(path, 'w+')
  const writes = Array.from({ length: 256 }, (_, at) => file.write(bytes, at * 512, 512, at * 512))
  for (const { bytesWritten } of await Promise.all(writes)) t.is(bytesWritten, 512)
  const copy = Buffer.alloc(bytes.length)
  await Promise.all(Array.from({ length: 256 }, (_, at) => file.read(copy, at * 512, 512, at * 512)))
  sameBytes(t, copy, bytes)
  await file.close()
})

contract(test, 'positions past 2^32 are exact', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w+')
  const position = 2 ** 33 + 4097
  await file.write(Buffer.from('far'), 0, 3, position)
  t.is(statSync(path).size, position + 3)
  const { bytesRead, buffer } = await file.read(Buffer.alloc(8), 0, 8, position - 1)
  t.is(bytesRead, 4)
  t.is(buffer.toString('latin1', 0, 4), '\0far')
  await file.truncate(2 ** 34)
  t.is((await file.stat()).size, 2 ** 34)
  await file.close()
})

contract(
  test,
  'a position may be a bigint',
  async (t, { open }) => {
    const path = tempFile(t)
    writeFileSync(path, '0123456789')
    const file = await open(path, 'r')
    t.is((await file.read(Buffer.alloc(2), 0, 2, 3n)).buffer.toString(), '34')
    t.is((await file.read({ buffer: Buffer.alloc(2), position: 8n })).buffer.toString(), '89')
    t.is((await file.read(Buffer.alloc(2), 0, 2, -1n)).buffer.toString(), '01')
    await file.close()
  },
  nodeAtLeast(26) ? {} : { differs: 'Node 20 takes it for the own position' },
)

contract(test, 'an append goes to the end, whatever the position', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'begin ')
  const file = await open(path, 'a+')
  await file.write('one ', 0)
  await file.write(Buffer.from('two '))
  await file.appendFile('three')
  t.is(readFileSync(path, 'utf8'), 'begin one two three')
  t.is((await file.read(Buffer.alloc(5), 0, 5, 0)).buffer.toString(), 'begin')
  await file.close()
})

contract(test, 'a read of a file that shrank gives the bytes that are left', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, pattern(8192))
  const file = await open(path, 'r+')
  await file.truncate(100)
  t.is((await file.read(Buffer.alloc(200), 0, 200, 50)).bytesRead, 50)
  t.is((await file.read(Buffer.alloc(200), 0, 200, 4096)).bytesRead, 0)
  await file.close()
})

contract(test, 'a write to a full device is ENOSPC', async (t, { open }) => {
  const file = await open('/dev/full', 'w')
  await t.throwsAsync(file.write('x'), { code: 'ENOSPC', message: 'ENOSPC: no space left on device, write' })
  await t.throwsAsync(file.writeFile('x'.repeat(100)), { code: 'ENOSPC' })
  await file.close()
})

contract(test, 'open takes flags as words and as numbers', async (t, { open }) => {
  const directory = tempDirectory(t)
  const path = `${directory}/flags`
  await t.throwsAsync(open(path), { code: 'ENOENT' })
  await (await open(path, 'wx')).close()
  for (const flags of ['wx', 'xw', 'wx+', 'ax', 'xa+']) await t.throwsAsync(open(path, flags), { code: 'EEXIST' })
  writeFileSync(path, 'content')
  for (const flags of ['r', 'r+', 'rs', 'sr+', 'a', 'a+', 'as', 'sa+', 0, null, undefined]) {
    const file = await open(path, flags)
    await file.close()
    t.is(readFileSync(path, 'utf8'), 'content', String(flags))
  }
  for (const path2 of [Buffer.from(path), new URL(`file://${path}`), new Uint8Array(Buffer.from(path))]) {
    const file = await open(path2, 'r', 0o644)
    t.is(await file.readFile('utf8'), 'content')
    await file.close()
  }
  await (await open(path, 'w')).close()
  t.is(statSync(path).size, 0)
})
