// Unusual files: those that shrink while they are read, that make a read wait, or that have no size.
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import fs, { readFileSync, truncateSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { contract } from '../helpers/backends.mjs'
import { random } from '../helpers/random.mjs'
// The tests run one after the other: on libuv, each wait for a FIFO holds one of its four threads.
import { pattern, tempDirectory, tempFile } from '../helpers/temp.mjs'

const onLinux = process.platform === 'linux'
const NO_CANCEL = { node: "libuv's threads cannot be called back" }

function fifo(t) {
  const path = tempFile(t, 'fifo')
  execFileSync('mkfifo', [path])
  return path
}

contract(
  test.serial,
  'a read of a file that shrinks and grows meanwhile gives its bytes or zeros, and ends',
  async (t, { open }) => {
    const path = tempFile(t)
    const SIZE = 1 << 20
    const bytes = pattern(SIZE)
    writeFileSync(path, bytes)
    const file = await open(path)
    const seed = 7
    t.log(`seed ${seed}`)
    const { between } = random(seed)
    for (let round = 0; round < 30; round++) {
      const reads = Array.from({ length: 32 }, (_, at) => file.read(Buffer.alloc(32768, 255), 0, 32768, at * 32768))
      const whole =
        round % 3 === 0
          ? open(path).then(async (other) => {
              const read = await other.readFile()
              await other.close()
              return read
            })
          : Buffer.alloc(0)
      const size = between(0, SIZE)
      truncateSync(path, size)
      truncateSync(path, SIZE)
      const results = await Promise.all(reads)
      for (const [at, { bytesRead, buffer }] of results.entries()) {
        for (let byte = 0; byte < bytesRead; byte += 61) {
          const value = buffer[byte]
          if (value !== 0 && value !== bytes[at * 32768 + byte])
            return t.fail(`round ${round}, ${at}: byte ${byte} is ${value}`)
        }
        if (!buffer.subarray(bytesRead).every((value) => value === 255))
          return t.fail('bytes past bytesRead were written')
      }
      t.true((await whole).length <= SIZE)
      writeFileSync(path, bytes)
    }
    truncateSync(path, 0)
    t.is((await file.read(Buffer.alloc(10), 0, 10, 0)).bytesRead, 0)
    t.is((await file.readFile()).length, 0)
    await file.close()
  },
)

if (onLinux) {
  contract(
    test.serial,
    'opening a FIFO for writing waits for its reader, and other work goes on meanwhile',
    async (t, { open }) => {
      const path = fifo(t)
      let isOpen = false
      const opening = open(path, 'w').then((file) => {
        isOpen = true
        return file
      })
      const other = await open(tempFile(t), 'w+')
      for (let round = 0; round < 20; round++) await other.write('x', round)
      await other.sync()
      t.false(isOpen)
      const reader = await open(path, 'r')
      const writer = await opening
      const reading = reader.read(Buffer.alloc(10))
      await writer.write('hello')
      t.is((await reading).bytesRead, 5)
      await writer.close()
      t.is((await reader.read(Buffer.alloc(10))).bytesRead, 0)
      await Promise.all([reader.close(), other.close()])
    },
  )

  contract(
    test.serial,
    'a FIFO opened for reading waits for its first writer, if not to open, then to read',
    async (t, { open }) => {
      const path = fifo(t)
      let isOver = false
      const reading = open(path, 'r').then(async (file) => {
        const text = await file.readFile('utf8')
        await file.close()
        isOver = true
        return text
      })
      const other = await open(tempFile(t), 'w+')
      for (let round = 0; round < 20; round++) await other.write('x', round)
      await other.sync()
      t.false(isOver)
      const writer = await open(path, 'w')
      await writer.write('hello')
      await writer.close()
      t.is(await reading, 'hello')
      await other.close()
    },
  )

  contract(test.serial, 'a read of a FIFO ends when its writer, another process, ends', async (t, { open }) => {
    const path = fifo(t)
    const writer = spawn('sh', ['-c', 'exec 3>"$1"; read line; printf done >&3', 'sh', path], {
      stdio: ['pipe', 'ignore', 'inherit'],
    })
    const file = await open(path, 'r')
    const reading = file.readFile('utf8')
    writer.stdin.end('go\n')
    t.is(await reading, 'done')
    await file.close()
    if (writer.exitCode === null) await once(writer, 'exit')
  })

  contract(
    test.serial,
    '64 reads that wait for pipes hold up neither each other nor files, and close ends them',
    async (t, { open }) => {
      const path = fifo(t)
      const pipe = await open(path, 'r+')
      let three
      const over = new Promise((resolve) => (three = resolve))
      let arrived = 0
      const outcomes = Array.from({ length: 64 }, () =>
        pipe.read(Buffer.alloc(1), 0, 1, 0).then(
          ({ bytesRead }) => {
            if (++arrived === 3) three()
            return bytesRead
          },
          ({ code }) => code,
        ),
      )
      const file = await open(tempFile(t), 'w+')
      for (let round = 0; round < 20; round++) {
        await file.write('x', round)
        await file.sync()
      }
      await pipe.write('abc')
      await over
      await pipe.close()
      const all = await Promise.all(outcomes)
      t.is(all.filter((outcome) => outcome === 1).length, 3)
      t.is(all.filter((outcome) => outcome === 'ECANCELED').length, 61)
      await file.close()
    },
    { differs: 'its threads wait for ever', unable: NO_CANCEL },
  )

  contract(
    test.serial,
    'an AbortSignal ends a readFile of a FIFO, and the data that comes later is not lost',
    async (t, { open }) => {
      const file = await open(fifo(t), 'r+')
      for (let round = 0; round < 5; round++) {
        const controller = new AbortController()
        const reading = file.readFile({ signal: controller.signal })
        await new Promise(setImmediate)
        controller.abort()
        await t.throwsAsync(reading, { code: 'ABORT_ERR' })
        await file.write('kept')
        const { bytesRead, buffer } = await file.read(Buffer.alloc(10))
        t.is(buffer.toString('utf8', 0, bytesRead), 'kept')
      }
      await file.close()
    },
    { differs: 'its threads wait for ever', unable: NO_CANCEL },
  )

  contract(
    test.serial,
    'a pipe opened with O_NONBLOCK waits, or says EAGAIN, but does not spin or lie',
    async (t, { open }) => {
      const path = fifo(t)
      const file = await open(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK)
      const reading = file.read(Buffer.alloc(10)).then(
        ({ bytesRead }) => bytesRead,
        ({ code }) => code,
      )
      await new Promise(setImmediate)
      await file.write('hello')
      t.true([5, 'EAGAIN'].includes(await reading))
      await file.close()
    },
  )

  contract(
    test.serial,
    'a FIFO without a reader is ENXIO with O_NONBLOCK, and EPIPE once its reader has gone',
    async (t, { open }) => {
      const path = fifo(t)
      const flags = fs.constants.O_WRONLY | fs.constants.O_NONBLOCK
      await t.throwsAsync(open(path, flags), { code: 'ENXIO' })
      const reader = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
      const file = await open(path, flags)
      fs.closeSync(reader)
      await t.throwsAsync(file.write('x'), { code: 'EPIPE' })
      await file.close()
    },
  )

  contract(test.serial, 'reads of a pipe opened through /proc/self/fd wait for the writer', async (t, { open }) => {
    const child = spawn('cat', [], { stdio: ['pipe', 'pipe', 'inherit'] })
    const path = fifo(t)
    const keep = fs.openSync(path, fs.constants.O_RDWR)
    const file = await open(`/proc/self/fd/${keep}`, 'r')
    const reading = file.read(Buffer.alloc(100))
    fs.writeSync(keep, 'through proc')
    t.is((await reading).bytesRead, 12)
    await file.close()
    fs.closeSync(keep)
    child.stdin.end()
    await once(child, 'close')
  })

  contract(test.serial, 'a directory can be opened, statted and synced, but a read is EISDIR', async (t, { open }) => {
    const directory = await open(tempDirectory(t))
    t.true((await directory.stat()).isDirectory())
    await directory.sync()
    await t.throwsAsync(directory.read(Buffer.alloc(10)), { code: 'EISDIR' })
    await t.throwsAsync(directory.read(Buffer.alloc(10), 0, 10, 0), { code: 'EISDIR' })
    await t.throwsAsync(directory.readFile(), { code: 'EISDIR' })
    await directory.close()
    await t.throwsAsync(open(tempDirectory(t), 'r+'), { code: 'EISDIR' })
  })

  contract(test.serial, 'files of /proc and /sys, whose size is 0, are read to their end', async (t, { open }) => {
    for (const path of ['/proc/self/maps', '/proc/version', '/proc/self/cmdline', '/sys/devices/system/cpu/online']) {
      const file = await open(path)
      const read = await file.readFile()
      t.true(read.length > 0, path)
      if (path !== '/proc/self/maps') t.deepEqual(read, readFileSync(path), path)
      await file.close()
    }
    const file = await open('/proc/version')
    const whole = readFileSync('/proc/version', 'utf8')
    const { bytesRead, buffer } = await file.read(Buffer.alloc(5), 0, 5, 6)
    t.is(buffer.toString('utf8', 0, bytesRead), whole.slice(6, 11))
    await file.close()
    const refused = await open('/proc/self/mem')
    await t.throwsAsync(refused.read(Buffer.alloc(1), 0, 1, 0), { code: 'EIO' })
    await refused.close()
  })

  contract(test.serial, '/dev/zero, /dev/null and /dev/urandom work', async (t, { open }) => {
    const zero = await open('/dev/zero', 'r+')
    t.deepEqual((await zero.read(Buffer.alloc(100_000, 1), 0, 100_000, 5)).buffer, Buffer.alloc(100_000))
    t.is((await zero.write('x')).bytesWritten, 1)
    const none = await open('/dev/null', 'r+')
    t.is((await none.readFile()).length, 0)
    t.is((await none.write(Buffer.alloc(1000))).bytesWritten, 1000)
    const chance = await open('/dev/urandom')
    t.is((await chance.read(Buffer.alloc(64))).bytesRead, 64)
    await Promise.all([zero.close(), none.close(), chance.close()])
  })

  contract(
    test.serial,
    'a file that is removed while open, or whose descriptor others hold, goes on',
    async (t, { open }) => {
      const path = tempFile(t)
      const file = await open(path, 'w+')
      await file.write('before')
      fs.rmSync(path)
      await file.write('after', 6)
      const again = await open(`/proc/self/fd/${file.fd}`)
      t.is(await again.readFile('utf8'), 'beforeafter')
      t.is((await file.stat()).nlink, 0)
      await file.close()
      t.is((await again.stat()).size, 11)
      await again.close()
    },
  )
}
