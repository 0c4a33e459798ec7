// The life of a handle: open, close, and the time after.
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import test from 'ava'
import { contract } from '../helpers/backends.mjs'
import { pattern, sameBytes, tempDirectory, tempFile } from '../helpers/temp.mjs'

const NO_MOVE = 'needs taskset and a second core'

function canMove() {
  if (availableParallelism() < 2) return false
  try {
    execFileSync('taskset', ['--version'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const METHODS = {
  read: [(file) => file.read(Buffer.alloc(1), 0, 1, 0), 'read'],
  write: [(file) => file.write('x'), 'write'],
  readv: [(file) => file.readv([Buffer.alloc(1)]), 'readv'],
  writev: [(file) => file.writev([Buffer.alloc(1)]), 'writev'],
  readFile: [(file) => file.readFile(), 'readFile'],
  writeFile: [(file) => file.writeFile('x'), 'writeFile'],
  appendFile: [(file) => file.appendFile('x'), 'writeFile'],
  stat: [(file) => file.stat(), 'fstat'],
  sync: [(file) => file.sync(), 'fsync'],
  datasync: [(file) => file.datasync(), 'fdatasync'],
  truncate: [(file) => file.truncate(0), 'ftruncate'],
  chmod: [(file) => file.chmod(0o600), 'fchmod'],
  chown: [(file) => file.chown(-1, -1), 'fchown'],
  utimes: [(file) => file.utimes(0, 0), 'futimes'],
}

for (const [method, [call, syscall]] of Object.entries(METHODS)) {
  contract(test, `${method} after close is EBADF with the message file closed`, async (t, { open }) => {
    const file = await open(tempFile(t), 'w+')
    await file.close()
    const error = await t.throwsAsync(call(file), { code: 'EBADF', message: 'file closed' })
    t.is(error.syscall, syscall)
    t.is(error.errno, undefined)
  })
}

contract(test, 'fd is the descriptor, and -1 after close', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w')
  t.is(readlinkSync(`/proc/self/fd/${file.fd}`), path)
  const { fd } = file
  const closed = file.close()
  t.is(file.fd, -1)
  await closed
  t.false(existsSync(`/proc/self/fd/${fd}`) && readlinkSync(`/proc/self/fd/${fd}`) === path)
})

contract(test, 'a second close resolves, at once or later', async (t, { open }) => {
  const file = await open(tempFile(t), 'w')
  t.deepEqual(await Promise.all([file.close(), file.close()]), [undefined, undefined])
  t.is(await file.close(), undefined)
})

contract(test, "'close' is emitted once", async (t, { open }) => {
  const file = await open(tempFile(t), 'w')
  let closes = 0
  file.on('close', () => closes++)
  await file.close()
  await file.close()
  t.is(closes, 1)
})

contract(test, 'Symbol.asyncDispose closes', async (t, { open }) => {
  const file = await open(tempFile(t), 'w')
  await file[Symbol.asyncDispose]()
  t.is(file.fd, -1)
})

contract(test, 'close waits for operations in flight', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(64 * 4096)
  const file = await open(path, 'w+')
  const events = []
  const writes = Array.from({ length: 64 }, (_, at) =>
    file.write(bytes, at * 4096, 4096, at * 4096).then(({ bytesWritten }) => events.push(bytesWritten)),
  )
  await file.close()
  events.push('closed')
  await Promise.all(writes)
  t.deepEqual(events, [...Array.from({ length: 64 }, () => 4096), 'closed'])
  sameBytes(t, readFileSync(path), bytes)
})

contract(test, 'close waits for operations in line for the file’s position', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(64 * 100)
  const file = await open(path, 'w')
  const parts = Array.from({ length: 64 }, (_, at) => bytes.subarray(at * 100, at * 100 + 100))
  const writes = parts.map((part) => file.write(part))
  await file.close()
  for (const { bytesWritten } of await Promise.all(writes)) t.is(bytesWritten, 100)
  t.is(readFileSync(path).length, bytes.length)
})

contract(test, 'close waits for a readFile and a writeFile that have begun', async (t, { open }) => {
  const path = tempFile(t)
  const bytes = pattern(3_000_000)
  const file = await open(path, 'w')
  const writing = file.writeFile([bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)])
  await file.close()
  await writing
  sameBytes(t, readFileSync(path), bytes)
  const again = await open(path)
  const reading = again.readFile({ signal: new AbortController().signal })
  await again.close()
  sameBytes(t, await reading, bytes)
})

contract(test, 'a thousand files may be open at once', async (t, { open }) => {
  const directory = tempDirectory(t)
  const files = await Promise.all(Array.from({ length: 1000 }, (_, at) => open(`${directory}/${at}`, 'w+')))
  await Promise.all(files.map((file, at) => file.writeFile(String(at))))
  t.is(new Set(files.map((file) => file.fd)).size, 1000)
  await Promise.all(files.map((file) => file.close()))
  t.is(readFileSync(`${directory}/777`, 'utf8'), '777')
})

contract(
  test,
  'a write and a read of one pipe do not wait for each other',
  async (t, { open }) => {
    const path = tempFile(t, 'fifo')
    execFileSync('mkfifo', [path])
    const file = await open(path, 'r+')
    const reading = file.read(Buffer.alloc(10))
    await file.write('hello')
    const { bytesRead, buffer } = await reading
    t.is(buffer.toString('utf8', 0, bytesRead), 'hello')
    await file.write(Buffer.from('again'), 0, 5, 100) // a position means nothing to a pipe
    t.is((await file.read(Buffer.alloc(10), 0, 10, 0)).bytesRead, 5)
    await file.close()
  },
  { differs: 'a position is ESPIPE' },
)

contract(
  test,
  'close and abort end a read that waits for a pipe',
  async (t, { open }) => {
    const path = tempFile(t, 'fifo')
    execFileSync('mkfifo', [path])
    const file = await open(path, 'r+')
    const reads = [file.read(Buffer.alloc(10)), file.read(Buffer.alloc(10))]
    await new Promise(setImmediate) // now the reads are with the kernel
    await file.close()
    for (const read of reads) await t.throwsAsync(read, { code: 'ECANCELED' })
    const again = await open(path, 'r+')
    const controller = new AbortController()
    const reading = again.readFile({ signal: controller.signal })
    await new Promise(setImmediate)
    controller.abort()
    await t.throwsAsync(reading, { code: 'ABORT_ERR' })
    await again.close()
  },
  { differs: 'its threads wait for ever', unable: { node: "libuv's threads cannot be called back" } },
)

contract(
  test,
  'close and abort reach a read that began on another core',
  async (t, { name }) => {
    const path = tempFile(t, 'fifo')
    execFileSync('mkfifo', [path])
    const script = `
      const { Engine } = require('auraio')
      const { execFileSync } = require('node:child_process')
      const [, backend, path] = process.argv
      const moveTo = (core) => execFileSync('taskset', ['--cpu-list', '--pid', core, process.pid])
      const engine = new Engine({ backend, routing: 'core' })
      const turn = () => new Promise(setImmediate)
      async function main() {
        const file = await engine.open(path, 'r+')
        moveTo('0')
        const controller = new AbortController()
        const aborted = file.readFile({ signal: controller.signal }).catch(({ code }) => code)
        await turn() // now the read is with the kernel
        moveTo('1')
        controller.abort()
        console.log(await aborted)
        const read = file.read(Buffer.alloc(10)).catch(({ code }) => code)
        await turn()
        moveTo('0')
        await file.close()
        console.log(await read)
        await engine.close()
      }
      main()`
    const output = execFileSync(process.execPath, ['-e', script, name, path], {
      cwd: new URL('../..', import.meta.url),
      stdio: 'pipe',
      timeout: 30_000, // a guard: where the kernel is not told, this never ends
    })
    t.is(output.toString(), 'ABORT_ERR\nECANCELED\n')
  },
  {
    differs: 'its threads wait for ever',
    unable: {
      node: "libuv's threads cannot be called back",
      ...(canMove() ? {} : { uring: NO_MOVE, threads: NO_MOVE }),
    },
  },
)

contract(
  test,
  'a forgotten handle is closed when it is collected, with one warning',
  async (t, { name }) => {
    const path = tempFile(t)
    writeFileSync(path, 'x')
    const script = `
      const { Engine } = require('auraio')
      const { setFlagsFromString } = require('node:v8')
      const { readdirSync, readlinkSync } = require('node:fs')
      setFlagsFromString('--expose_gc')
      const gc = require('node:vm').runInNewContext('gc')
      const [, name, path] = process.argv
      const target = (fd) => { try { return readlinkSync('/proc/self/fd/' + fd) } catch { return '' } }
      const stillOpen = () => readdirSync('/proc/self/fd').filter((fd) => target(fd) === path).length
      process.on('warning', (warning) => console.log(warning.code, warning.message))
      const engine = new Engine({ backend: name })
      const forget = async () => { for (let n = 0; n < 5; n++) await engine.open(path) }
      forget().then(async () => {
        let turns = 0
        while (stillOpen() > 0 && turns++ < 1000) { gc(); await new Promise(setImmediate) }
        console.log(stillOpen(), 'open')
        await engine.close()
      })`
    const output = execFileSync(process.execPath, ['-e', script, name, path], {
      cwd: new URL('../..', import.meta.url),
      stdio: 'pipe',
      timeout: 120_000,
    })
    const lines = output.toString().trim().split('\n')
    t.is(lines.length, 2)
    t.regex(lines.join('\n'), /^AURAIO_HANDLE_NOT_CLOSED Closing file descriptor \d+ on garbage collection/m)
    t.true(lines.includes('0 open'))
  },
  { differs: 'Node 26 throws' },
)
