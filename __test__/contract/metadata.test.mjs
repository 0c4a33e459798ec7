// stat, the calls that change what it returns, and sync.
import { chmodSync, chownSync, fstatSync, statSync, Stats, writeFileSync } from 'node:fs'
import process from 'node:process'
import test from 'ava'
import { contract } from '../helpers/backends.mjs'
import { tempFile } from '../helpers/temp.mjs'

contract(test, "stat gives Node's own Stats, field for field", async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'x'.repeat(5000))
  const file = await open(path)
  const stats = await file.stat()
  const expected = fstatSync(file.fd)
  t.true(stats instanceof Stats)
  t.is(Object.getPrototypeOf(stats), Object.getPrototypeOf(expected))
  t.deepEqual(Reflect.ownKeys(stats), Reflect.ownKeys(expected))
  t.deepEqual({ ...stats }, { ...expected })
  for (const time of ['atime', 'mtime', 'ctime', 'birthtime']) {
    t.true(stats[time] instanceof Date)
    t.is(stats[time].getTime(), expected[time].getTime())
  }
  t.true(stats.isFile())
  t.false(stats.isDirectory())
  await file.close()
})

contract(test, "stat with bigint gives Node's own BigIntStats", async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'x')
  const file = await open(path)
  const stats = await file.stat({ bigint: true })
  const expected = statSync(path, { bigint: true })
  t.is(Object.getPrototypeOf(stats), Object.getPrototypeOf(expected))
  t.deepEqual(Reflect.ownKeys(stats), Reflect.ownKeys(expected))
  t.deepEqual({ ...stats }, { ...expected })
  t.is(stats.mtime.getTime(), expected.mtime.getTime())
  t.true(stats.isFile())
  await file.close()
})

contract(test, 'times before 1970 and with nanoseconds are right', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w')
  await file.utimes(new Date(-5500), 1_600_000_000.123)
  const stats = await file.stat()
  t.is(stats.atime.getTime(), -5500)
  t.is(stats.atimeMs, -5500)
  t.is(Math.round(stats.mtimeMs), 1_600_000_000_123)
  const exact = await file.stat({ bigint: true })
  t.is(exact.atimeNs, -5_500_000_000n)
  t.is(exact.mtimeNs, statSync(path, { bigint: true }).mtimeNs)
  await file.close()
})

contract(test, 'stat distinguishes devices and directories', async (t, { open }) => {
  const device = await open('/dev/null')
  t.true((await device.stat()).isCharacterDevice())
  await device.close()
  const directory = await open('/tmp')
  t.true((await directory.stat()).isDirectory())
  await directory.close()
})

contract(test, 'chown with -1 leaves the owner or the group as it is', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, 'x')
  // root alone may give a file away, and only then does it show that -1 is not taken for 0
  const isRoot = process.getuid() === 0
  if (isRoot) chownSync(path, 1234, 5678)
  const before = statSync(path)
  const file = await open(path, 'r+')
  await file.chown(-1, -1)
  t.is(statSync(path).uid, before.uid)
  t.is(statSync(path).gid, before.gid)
  if (isRoot) {
    await file.chown(-1, 4321)
    t.deepEqual([statSync(path).uid, statSync(path).gid], [1234, 4321])
    await file.chown(4321, -1)
    t.deepEqual([statSync(path).uid, statSync(path).gid], [4321, 4321])
  }
  await file.close()
})

contract(test, 'chmod, chown and utimes change the results of stat', async (t, { open }) => {
  const path = tempFile(t)
  const file = await open(path, 'w', 0o600)
  t.is((await file.stat()).mode & 0o777, 0o600)
  t.is(await file.chmod(0o640), undefined)
  t.is(statSync(path).mode & 0o777, 0o640)
  await file.chmod('755')
  t.is(statSync(path).mode & 0o777, 0o755)
  await file.chown(-1, -1)
  await file.chown(process.getuid(), process.getgid())
  t.is(statSync(path).uid, process.getuid())
  for (const time of [5, '5', new Date(5000), 5.5]) {
    t.is(await file.utimes(time, time), undefined)
    t.is(statSync(path).mtimeMs, time === 5.5 ? 5500 : 5000)
  }
  await file.close()
})

contract(test, 'truncate cuts a file, or fills it with zeros', async (t, { open }) => {
  const path = tempFile(t)
  writeFileSync(path, '0123456789')
  const file = await open(path, 'r+')
  t.is(await file.truncate(4), undefined)
  t.is(await file.readFile('utf8'), '0123')
  await file.truncate(6)
  t.deepEqual((await file.read(Buffer.alloc(9), 0, 9, 0)).buffer.subarray(0, 6), Buffer.from('0123\0\0'))
  await file.truncate()
  t.is((await file.stat()).size, 0)
  await file.truncate(-1)
  t.is((await file.stat()).size, 0)
  await file.close()
})

contract(test, 'sync and datasync resolve', async (t, { open }) => {
  const file = await open(tempFile(t), 'w')
  await file.write('kept')
  t.is(await file.sync(), undefined)
  t.is(await file.datasync(), undefined)
  await file.close()
})

contract(test, 'the mode is subject to the umask, and may be octal text', async (t, { open }) => {
  const path = tempFile(t)
  const umask = process.umask()
  await (await open(path, 'w', '666')).close()
  t.is(statSync(path).mode & 0o777, 0o666 & ~umask)
  chmodSync(path, 0o600)
})
