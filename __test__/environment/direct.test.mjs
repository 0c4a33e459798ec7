// Direct handles on every file system that is available here, on files that cannot be opened a second time, on a full disk, and
// with several processes that write to one block.
import { readFileSync, writeFileSync } from 'node:fs'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { asNobody, needs, run, sharedDirectory, start, where, withMounts } from '../helpers/child.mjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'
import { EXPECTED } from '../helpers/unaligned.cjs'

const BACKENDS = ['uring', 'threads']

/** As `where`, and skips too if the backend is not available. */
function on(backend, ...conditions) {
  return where(test, () => targets({ withOracle: false }).find(({ name }) => name === backend).skipped, ...conditions)
}

const UNALIGNED = `
  const { unaligned } = require('./__test__/helpers/unaligned.cjs')
  const [path, backend, mode, seed] = args
  const engine = new Engine({ backend })
  try {
    tell(await unaligned(engine, path, { mode: Number(mode ?? 0o600), seed: Number(seed ?? 1) }))
  } catch (error) {
    if (error.syscall !== 'open' || error.code !== 'EINVAL') throw error
    tell({ missing: error.message })
  }
  tell(engine.stats().rings.reduce((sum, ring) => sum + ring.bounced, 0) > 100)
  await engine.close()`

function holds(t, [found, bounced]) {
  if (found.missing !== undefined) return t.pass(`no direct I/O: ${found.missing}`)
  t.deepEqual(found, EXPECTED)
  t.true(bounced)
}

const image = (make, image, directory) =>
  `truncate -s 400M '${image}'; ${make} '${image}'; mount -o loop '${image}' '${directory}'`

/** File systems that a test makes. If something is missing to make one, the skip says what. */
const SYSTEMS = {
  ext4: { tools: ['mkfs.ext4', 'losetup'], mount: (at, file) => image('mkfs.ext4 -q', file, at) },
  'ext4 with blocks of 1 KiB': {
    tools: ['mkfs.ext4', 'losetup'],
    mount: (at, file) => image('mkfs.ext4 -q -b 1024', file, at),
  },
  xfs: { tools: ['mkfs.xfs', 'losetup'], mount: (at, file) => image('mkfs.xfs -q', file, at) },
  btrfs: { tools: ['mkfs.btrfs', 'losetup'], mount: (at, file) => image('mkfs.btrfs -q', file, at) },
  tmpfs: { tools: [], mount: (at) => `mount -t tmpfs none '${at}'` },
}

for (const [system, { tools, mount }] of Object.entries(SYSTEMS)) {
  const has = [needs.root, needs.mounts, ...tools.map((tool) => needs.command(tool))]
  for (const backend of BACKENDS) {
    on(backend, ...has)(`${backend}: on ${system}, transfers of any alignment give the right bytes`, async (t) => {
      const directory = tempDirectory(t)
      const wrap = withMounts(mount(directory, tempFile(t, 'image')))
      holds(t, await run(t, UNALIGNED, { wrap, args: [`${directory}/file`, backend] }))
    })
  }
}

for (const backend of BACKENDS) {
  on(
    backend,
    needs.root,
    needs.command('setpriv'),
  )(`${backend}: transfers of any alignment work on a file that its owner may not open again`, async (t) => {
    const args = [`${sharedDirectory(t)}/file`, backend, String(0o400)]
    holds(t, await run(t, UNALIGNED, { wrap: asNobody(), args }))
  })

  on(
    backend,
    needs.root,
    needs.mounts,
  )(`${backend}: without /proc, transfers of any alignment work`, async (t) => {
    const path = tempFile(t)
    holds(t, await run(t, UNALIGNED, { wrap: withMounts('mount -t tmpfs none /proc'), args: [path, backend] }))
  })

  on(backend)(`${backend}: processes that write to the same blocks do not undo each other`, async (t) => {
    const PROCESSES = 3
    const path = tempFile(t)
    writeFileSync(path, Buffer.alloc(16_384))
    // Each process writes every third range of 341 bytes. A page has 12 such ranges; neither their lengths nor positions are aligned.
    const script = `
      const [path, backend, mine] = args
      const engine = new Engine({ backend })
      let file
      try { file = await engine.open(path, 'r+', { direct: true }) } catch (error) { return tell({ missing: error.message }) }
      tell({})
      await asked()
      for (let round = 1; round <= 40; round++) {
        const writes = []
        for (let at = Number(mine) * 341; at + 341 <= 16384; at += 341 * ${PROCESSES}) {
          writes.push(file.write(Buffer.alloc(341, round + 50 * mine), 0, 341, at))
        }
        await Promise.all(writes)
        if (round % 10 === 0) await file.datasync()
      }
      await engine.close()
      tell({ done: true })`
    const children = Array.from({ length: PROCESSES }, (_, mine) =>
      start(t, script, { args: [path, backend, String(mine)] }),
    )
    const ready = await Promise.all(children.map((child) => child.next()))
    if (ready[0].missing !== undefined) return t.pass(`no direct I/O: ${ready[0].missing}`)
    for (const child of children) child.send('go')
    for (const child of children) t.deepEqual(await child.next(), { done: true })
    for (const child of children) t.is((await child.ended).code, 0)
    const there = readFileSync(path)
    t.is(there.length, 16_384)
    for (let at = 0, nth = 0; at + 341 <= 16_384; at += 341, nth++) {
      const expected = 40 + 50 * (nth % PROCESSES)
      t.true(
        there.subarray(at, at + 341).every((byte) => byte === expected),
        `stretch ${nth}`,
      )
    }
    t.true(there.subarray(48 * 341).every((byte) => byte === 0))
  })

  for (const [system, mount, tools] of [
    ['tmpfs', (at) => `mount -t tmpfs -o size=1m none '${at}'`, []],
    [
      'ext4',
      (at, file) => `truncate -s 8M '${file}'; mkfs.ext4 -q -m 0 '${file}'; mount -o loop '${file}' '${at}'`,
      [needs.command('mkfs.ext4'), needs.command('losetup')],
    ],
  ]) {
    on(
      backend,
      needs.root,
      needs.mounts,
      ...tools,
    )(
      `${backend}: on a full ${system}, the reported bytes are stored, and the file is no longer than them`,
      async (t) => {
        const directory = tempDirectory(t)
        const script = `
          const [path, backend] = args
          const engine = new Engine({ backend })
          let file
          try { file = await engine.open(path, 'w+', { direct: true }) } catch (error) { return tell({ missing: error.message }) }
          const sent = []
          let code
          for (let at = 0, position = 0; code === undefined; at++) {
            const bytes = Buffer.alloc(100_001, 1 + (at % 250))
            const { bytesWritten } = await file.write(bytes, 0, bytes.length, position).catch((error) => {
              code = error.code
              return { bytesWritten: 0 }
            })
            sent.push(bytes.subarray(0, bytesWritten))
            position += bytesWritten
          }
          const told = Buffer.concat(sent)
          const stored = fs.readFileSync(path)
          const { buffer } = await file.read({ length: told.length + 1, position: 0 })
          tell({ code, some: told.length > 500_000, same: stored.equals(told), read: buffer.equals(told) })
          await file.truncate(0)
          tell(await codeOf(file.write('again', 1)))
          await engine.close()`
        const wrap = withMounts(mount(directory, tempFile(t, 'image')))
        const [found, again] = await run(t, script, { wrap, args: [`${directory}/file`, backend] })
        if (found.missing !== undefined) return t.pass(`no direct I/O: ${found.missing}`)
        t.deepEqual(found, { code: 'ENOSPC', some: true, same: true, read: true })
        t.is(again, 'done')
      },
    )
  }
}
