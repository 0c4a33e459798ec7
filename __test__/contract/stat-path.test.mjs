// stat and lstat by path: Node's Stats and Node's errors.
import { mkdirSync, statSync, symlinkSync, Stats, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import test from 'ava'
import { Engine, lstat, stat } from 'auraio'
import { contract } from '../helpers/backends.mjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'

contract(test, "stat of a path gives Node's own Stats, field for field", async (t, target) => {
  const path = tempFile(t)
  writeFileSync(path, 'x'.repeat(5000))
  const stats = await target.stat(path)
  const expected = statSync(path)
  t.true(stats instanceof Stats)
  t.deepEqual(Reflect.ownKeys(stats), Reflect.ownKeys(expected))
  t.deepEqual({ ...stats }, { ...expected })
  t.is(stats.size, 5000)
  t.true(stats.isFile())
})

contract(test, "stat of a path with bigint gives Node's own BigIntStats", async (t, target) => {
  const path = tempFile(t)
  writeFileSync(path, 'x')
  const stats = await target.stat(path, { bigint: true })
  const expected = statSync(path, { bigint: true })
  t.is(Object.getPrototypeOf(stats), Object.getPrototypeOf(expected))
  t.deepEqual({ ...stats }, { ...expected })
  t.deepEqual({ ...(await target.lstat(path, { bigint: true })) }, { ...expected })
  t.is(typeof (await target.stat(path, { bigint: false })).size, 'number')
})

contract(test, 'stat follows a symbolic link, and lstat does not', async (t, target) => {
  const directory = tempDirectory(t)
  const link = `${directory}/link`
  mkdirSync(`${directory}/real`)
  symlinkSync('real', link)
  t.true((await target.stat(link)).isDirectory())
  t.true((await target.lstat(link)).isSymbolicLink())
  t.is((await target.lstat(link)).size, 4)
  t.true((await target.lstat(`${link}/.`)).isDirectory())
})

contract(test, 'a path may be bytes that are no UTF-8, or a URL', async (t, target) => {
  const directory = tempDirectory(t)
  const bytes = Buffer.concat([Buffer.from(`${directory}/`), Buffer.from([0xff, 0xfe])])
  writeFileSync(bytes, 'four')
  t.is((await target.stat(bytes)).size, 4)
  t.is((await target.lstat(new Uint8Array(bytes).subarray(0))).size, 4)
  writeFileSync(`${directory}/a b`, 'five!')
  t.is((await target.stat(pathToFileURL(`${directory}/a b`))).size, 5)
})

contract(test, 'an error names the call and the path', async (t, target) => {
  const directory = tempDirectory(t)
  const path = `${directory}/none`
  for (const call of ['stat', 'lstat']) {
    const error = await t.throwsAsync(target[call](path), { code: 'ENOENT' })
    t.is(error.message, `ENOENT: no such file or directory, ${call} '${path}'`)
    t.is(error.syscall, call)
    t.is(error.path, path)
    t.is(error.errno, -2)
    t.deepEqual(Object.keys(error).sort(), ['code', 'errno', 'path', 'syscall'])
  }
  symlinkSync('none', `${directory}/dangling`)
  await t.throwsAsync(target.stat(`${directory}/dangling`), { code: 'ENOENT' })
  t.true((await target.lstat(`${directory}/dangling`)).isSymbolicLink())
  symlinkSync('loop', `${directory}/loop`)
  await t.throwsAsync(target.stat(`${directory}/loop`), { code: 'ELOOP' })
})

contract(test, 'many paths are stat-ed at once, each with its own result', async (t, target) => {
  const directory = tempDirectory(t)
  const sizes = Array.from({ length: 200 }, (_, size) => size)
  for (const size of sizes) writeFileSync(`${directory}/${size}`, 'x'.repeat(size))
  const outcomes = await Promise.allSettled([
    ...sizes.map((size) => target.stat(`${directory}/${size}`)),
    ...sizes.map((size) => target.stat(`${directory}/none-${size}`)),
  ])
  t.deepEqual(
    outcomes.slice(0, 200).map(({ value }) => value.size),
    sizes,
  )
  t.deepEqual(
    outcomes.slice(200).map(({ reason }) => reason.path),
    sizes.map((size) => `${directory}/none-${size}`),
  )
})

test('the functions of the module use the default engine', async (t) => {
  const path = tempFile(t)
  writeFileSync(path, 'abc')
  symlinkSync(path, `${path}.link`)
  t.is((await stat(path)).size, 3)
  t.is((await stat(path, { bigint: true })).size, 3n)
  t.true((await lstat(`${path}.link`)).isSymbolicLink())
})

for (const backend of ['auto', 'node']) {
  test(`close of an engine (${backend}) waits for a stat, and refuses the next`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, 'abc')
    const engine = new Engine({ backend })
    const before = engine.stat(path)
    const closed = engine.close()
    await t.throwsAsync(engine.stat(path), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
    await t.throwsAsync(engine.lstat(path), { code: 'ERR_AURAIO_ENGINE_CLOSED' })
    t.is((await before).size, 3)
    await closed
  })
}
