// The operations that `perform` of a port takes, on the ports themselves: also those that no method of the package uses yet.
import {
  existsSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import fsp from 'node:fs/promises'
import { createRequire } from 'node:module'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { tempDirectory } from '../helpers/temp.mjs'

const require = createRequire(import.meta.url)
const { Slots } = require('../../dist/lib/operations/slots.js')
const { createPort } = require('../../dist/lib/operations/native.js')
const { NativePort } = require('../../binding.js')

const OPTIONS = {
  routing: 'thread',
  queueDepth: 64,
  submitBatch: 0,
  register: false,
  wish: {},
}

/** The system calls on paths, as each target calls them: `perform` of a port, or the functions of Node. */
function callsOf(t, name) {
  if (name === 'node:fs/promises') {
    const { rename, unlink, rmdir, link, symlink } = fsp
    return { rename, removeFile: unlink, removeDir: rmdir, createDir: fsp.mkdir, hardLink: link, symlink }
  }
  const slots = new Slots(
    (dispatch, completions) => createPort({ ...OPTIONS, backend: name }, dispatch, completions),
    () => undefined,
  )
  t.teardown(async () => {
    await slots.idle()
    slots.port.shutdown()
  })
  const kinds = ['rename', 'removeFile', 'removeDir', 'createDir', 'hardLink', 'symlink']
  return Object.fromEntries(kinds.map((kind) => [kind, (...args) => slots.perform(kind, args)]))
}

for (const { name, skipped } of targets()) {
  const declare = skipped === undefined ? test : test.skip

  declare(`${name}: files and directories are renamed, linked and removed`, async (t) => {
    const calls = callsOf(t, name)
    const directory = tempDirectory(t)
    const [a, b, c] = ['a', 'b', 'c'].map((file) => `${directory}/${file}`)
    writeFileSync(a, 'text')
    t.is(await calls.rename(a, b), undefined)
    t.false(existsSync(a))
    t.is(readFileSync(b, 'utf8'), 'text')
    await calls.hardLink(b, a)
    t.is(statSync(a).ino, statSync(b).ino)
    await calls.symlink('nowhere', c)
    t.is(readlinkSync(c), 'nowhere')
    await calls.removeFile(c)
    t.is(lstatSync(c, { throwIfNoEntry: false }), undefined)
    await calls.createDir(c, 0o700)
    t.is(statSync(c).mode & 0o777, 0o700)
    await calls.removeDir(c)
    t.false(existsSync(c))
    await calls.removeFile(Buffer.from(a))
    t.false(existsSync(a))
  })

  declare(`${name}: an error names the call and both paths`, async (t) => {
    const calls = callsOf(t, name)
    const directory = tempDirectory(t)
    const [none, to, full] = ['none', 'to', 'full'].map((file) => `${directory}/${file}`)
    mkdirSync(full)
    writeFileSync(to, '')
    linkSync(to, `${full}/x`)
    const failures = [
      [calls.rename(none, to), 'ENOENT', `ENOENT: no such file or directory, rename '${none}' -> '${to}'`],
      [calls.hardLink(none, `${to}2`), 'ENOENT', `ENOENT: no such file or directory, link '${none}' -> '${to}2'`],
      [calls.symlink('text', to), 'EEXIST', `EEXIST: file already exists, symlink 'text' -> '${to}'`],
      [calls.removeFile(none), 'ENOENT', `ENOENT: no such file or directory, unlink '${none}'`],
      [calls.removeDir(full), 'ENOTEMPTY', `ENOTEMPTY: directory not empty, rmdir '${full}'`],
      [calls.createDir(full, 0o700), 'EEXIST', `EEXIST: file already exists, mkdir '${full}'`],
    ]
    for (const [failing, code, message] of failures) await t.throwsAsync(failing, { code, message })
    const error = await t.throwsAsync(calls.rename(none, to))
    t.is(error.path, none)
    t.is(error.dest, to)
  })
}

test('the binding refuses numbers that do not fit, and never takes them for others', (t) => {
  const port = new NativePort({ ...OPTIONS, backend: 'threads' }, () => undefined, new Int32Array(3072))
  t.teardown(() => port.shutdown())
  const number = (kind) => NativePort.kinds().indexOf(kind)
  const EINVAL = -22
  const EBADF = -9
  const refused = [Number.NaN, Infinity, -Infinity, -2, 1.5, 2 ** 53, 1e300]
  for (const wrong of refused) {
    for (const kind of ['Truncate', 'SetMode']) t.is(port.perform(0, number(kind), 0, [wrong], []), EINVAL)
    for (const ids of [
      [wrong, 0],
      [0, wrong],
    ])
      t.is(port.perform(0, number('SetOwner'), 0, ids, []), EINVAL)
    t.is(port.perform(0, number('StatPath'), 0, [wrong], ['a']), EINVAL)
    t.is(port.perform(0, number('CreateDir'), 0, [wrong], ['a']), EINVAL)
    for (let at = 0; at < 4; at++) {
      const numbers = [0, 0, 0, 0]
      numbers[at] = wrong
      t.is(port.perform(0, number('CopyFileRange'), 0, numbers, []), EINVAL)
    }
    t.is(port.read(0, 0, new Uint8Array(1), wrong), EINVAL)
    t.is(port.readv(0, 0, [new Uint8Array(1)], wrong), EINVAL)
    t.is(port.acquireLater(0, wrong, 4096), EINVAL)
    for (const call of [
      () => port.perform(wrong, 0, 0, [], []),
      () => port.perform(0, wrong, 0, [], []),
      () => port.perform(0, 0, wrong, [], []),
      () => port.close(0, wrong),
      () => port.open(0, 'a', 0, wrong, false),
    ])
      t.throws(call, { code: 'InvalidArg' })
  }
  for (const wrong of [Number.NaN, Infinity, 1e300]) {
    t.is(port.perform(0, number('SetTimes'), 0, [wrong, 0], []), EINVAL)
    t.is(port.perform(0, number('SetTimes'), 0, [0, wrong], []), EINVAL)
  }
  t.is(port.perform(0, 1000, 0, [], []), EINVAL)
  t.is(port.perform(0, number('Truncate'), 0, [], []), EINVAL)
  t.is(port.perform(0, number('Rename'), 0, [], ['a']), EINVAL)
  // what fits gets as far as the file, which is not there
  t.is(port.perform(0, number('SetOwner'), 0, [-1, 2 ** 32 - 1], []), EBADF)
  t.is(port.perform(0, number('SetTimes'), 0, [-5.5, 1.5], []), EBADF)
  t.is(port.perform(0, number('CopyFileRange'), 0, [0, 0, 0, 2 ** 53 - 1], []), EBADF)
})
