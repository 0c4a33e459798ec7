// Writes that find no more room: a full file system, a limit on the size of files, a full device.
import { execFileSync } from 'node:child_process'
import test from 'ava'
import { contract } from '../helpers/backends.mjs'
import { needs, run, where, withLimits, withMounts } from '../helpers/child.mjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'

const BACKENDS = ['uring', 'threads', 'node']

/** Fills a file system of a few MiB with blocks that have their own number, then checks what is on it. */
const FILL = `
  const [directory, backend] = args
  const BLOCK = 64 * 1024
  let engine
  try { engine = new Engine({ backend }) } catch (error) { return tell({ unavailable: error.message }) }
  const block = (at) => Buffer.alloc(BLOCK, at % 251)
  const file = await engine.open(directory + '/file', 'w+')
  let end = 0
  let code
  while (code === undefined) {
    const batch = Array.from({ length: 16 }, (_, nth) => file.write(block(end / BLOCK + nth), 0, BLOCK, end + nth * BLOCK))
    for (const { status, value, reason } of await Promise.allSettled(batch)) {
      if (status === 'fulfilled' && code === undefined) end += value.bytesWritten
      else code ??= reason?.code ?? 'none'
      if (status === 'rejected' && (reason.code !== 'ENOSPC' || reason.syscall !== 'write')) tell({ wrong: reason.code })
    }
  }
  const whole = Math.floor(end / BLOCK)
  const copy = Buffer.alloc(BLOCK)
  let intact = 0
  for (let at = 0; at < whole; at++) {
    await file.read(copy, 0, BLOCK, at * BLOCK)
    if (copy.every((byte) => byte === at % 251)) intact++
  }
  const appended = await codeOf(engine.open(directory + '/other', 'a').then(async (other) => {
    try { await other.appendFile(Buffer.alloc(1 << 20)) } finally { await other.close() }
  }))
  await codeOf(file.sync())
  await file.truncate(BLOCK)
  fs.rmSync(directory + '/other', { force: true })
  const again = await codeOf(file.write(block(1), 0, BLOCK, BLOCK))
  await file.close()
  await engine.close()
  tell({ code, intact: intact === whole, some: whole > 8, appended, again })`

const FULL = { code: 'ENOSPC', intact: true, some: true, appended: 'ENOSPC', again: 'done' }

/** A file system at `DIR`, which ends with the process. */
const SMALL = {
  tmpfs: { tools: [], mount: (directory) => `mount -t tmpfs -o size=4m none '${directory}'` },
  ext4: {
    tools: [needs.command('mkfs.ext4'), needs.command('losetup')],
    mount: (directory, image) =>
      `truncate -s 8M '${image}'; mkfs.ext4 -q -m 0 '${image}'; mount -o loop '${image}' '${directory}'`,
  },
}

for (const [system, { tools, mount }] of Object.entries(SMALL)) {
  for (const backend of BACKENDS) {
    where(
      test,
      needs.root,
      needs.mounts,
      ...tools,
    )(`${backend}: a full ${system} is ENOSPC, and the bytes written before are stored`, async (t) => {
      const directory = tempDirectory(t)
      const wrap = withMounts(mount(directory, tempFile(t, 'image')))
      const [found] = await run(t, FILL, { wrap, args: [directory, backend] })
      if (found.unavailable !== undefined) return t.pass(found.unavailable)
      t.deepEqual(found, FULL)
    })
  }
}

for (const backend of BACKENDS) {
  where(test, needs.command('prlimit'))(
    `${backend}: a write past RLIMIT_FSIZE is EFBIG, and the process lives`,
    async (t) => {
      const script = `
      let engine
      try { engine = new Engine({ backend: args[1] }) } catch (error) { return tell({ unavailable: error.message }) }
      const file = await engine.open(args[0], 'w+')
      const first = await file.write(Buffer.alloc(4000, 1), 0, 4000, 0)
      const across = await file.write(Buffer.alloc(4000, 2), 0, 4000, 4000).then(({ bytesWritten }) => bytesWritten, ({ code }) => code)
      const past = await Promise.all(Array.from({ length: 8 }, (_, at) => codeOf(file.write('x', 8192 + at))))
      const whole = await codeOf(file.writeFile(Buffer.alloc(100000)))
      const grown = await codeOf(file.truncate(100000))
      const { size } = await file.stat()
      await file.close()
      tell({ first: first.bytesWritten, across, past: [...new Set(past)], whole, grown, size })`
      const wrap = withLimits('--fsize=6000:6000')
      const [found] = await run(t, script, { wrap, args: [tempFile(t), backend] })
      if (found.unavailable !== undefined) return t.pass(found.unavailable)
      t.deepEqual(found, { first: 4000, across: 2000, past: ['EFBIG'], whole: 'EFBIG', grown: 'EFBIG', size: 6000 })
    },
  )
}

/** Writes at the file's own position until no more bytes are taken. */
const FILL_IN_ORDER = `
  const [path, backend] = args
  let engine
  try { engine = new Engine({ backend }) } catch (error) { return tell({ unavailable: error.message }) }
  for (const flags of ['w+', 'a+']) {
    fs.rmSync(path, { force: true })
    const file = await engine.open(path, flags)
    const sent = []
    let code
    for (let at = 0; code === undefined; at++) {
      const bytes = Buffer.alloc(4000, 'abcdefghijklmnopqrstuvwxyz'[at % 26])
      const written = await file.write(bytes).then(({ bytesWritten }) => bytesWritten, (error) => { code = error.code; return 0 })
      sent.push(bytes.subarray(0, written))
    }
    const told = Buffer.concat(sent)
    const stored = fs.readFileSync(path)
    const vector = await codeOf(file.writev([Buffer.alloc(4000), Buffer.alloc(4000)]))
    const whole = await codeOf(file.writeFile(Buffer.alloc(100000)))
    await file.close()
    tell({ flags, code, stored: stored.length, told: told.length, same: stored.equals(told), vector, whole })
  }`

/** Checks that as many bytes as there is room for are reported and stored, and that the rest is refused. */
function inOrder(t, messages, code, room) {
  if (messages[0].unavailable !== undefined) return t.pass(messages[0].unavailable)
  const good = { code, stored: room, told: room, same: true, vector: code, whole: code }
  t.deepEqual(
    messages,
    ['w+', 'a+'].map((flags) => ({ flags, ...good })),
  )
}

for (const backend of BACKENDS) {
  where(test, needs.command('prlimit'))(
    `${backend}: at the file’s own position, bytes reported before EFBIG are stored`,
    async (t) => {
      const wrap = withLimits('--fsize=6000:6000')
      inOrder(t, await run(t, FILL_IN_ORDER, { wrap, args: [tempFile(t), backend] }), 'EFBIG', 6000)
    },
  )

  where(
    test,
    needs.root,
    needs.mounts,
  )(`${backend}: at the file’s own position, bytes reported before ENOSPC are stored`, async (t) => {
    const directory = tempDirectory(t)
    const wrap = withMounts(`mount -t tmpfs -o size=64k none '${directory}'`)
    inOrder(t, await run(t, FILL_IN_ORDER, { wrap, args: [`${directory}/file`, backend] }), 'ENOSPC', 65536)
  })
}

if (process.platform === 'linux') {
  contract(test, 'every kind of write to /dev/full is ENOSPC, and reads give zeros', async (t, { open }) => {
    const file = await open('/dev/full', 'r+')
    const full = { code: 'ENOSPC', syscall: 'write' }
    for (const write of [
      () => file.write('x'),
      () => file.write(Buffer.alloc(10), 0, 10, 100),
      () => file.writev([Buffer.alloc(1), Buffer.alloc(2)]),
      () => file.writeFile('x'),
      () => file.appendFile('x'),
    ]) {
      const error = await t.throwsAsync(write())
      t.like(error, full)
    }
    const { bytesRead, buffer } = await file.read(Buffer.alloc(10, 1))
    t.is(bytesRead, 10)
    t.true(buffer.every((byte) => byte === 0))
    await file.close()
  })
}

where(
  test,
  needs.root,
  needs.mounts,
)('no loop device or mount of these tests is left', (t) => {
  t.notRegex(execFileSync('mount').toString(), /auraio-test-/)
})
