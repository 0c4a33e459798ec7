// Processes without io_uring: the administrator or a seccomp filter refuses it, or the binding is missing.
import { execFileSync } from 'node:child_process'
import { copyFileSync, cpSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { asNobody, compile, needs, ROOT, run, sharedDirectory, start, where } from '../helpers/child.mjs'
import { EXPECTED } from '../helpers/daily.cjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'

const SYSCTL = '/proc/sys/kernel/io_uring_disabled'

const hasUring = () => targets({ withOracle: false }).find(({ name }) => name === 'uring').skipped

/** What a process finds: its engine, the results of the usual operations, and the error when it forces io_uring. */
const LOOK = `
  const engine = new Engine()
  const result = await daily(engine, args[0])
  let insisted
  try { insisted = new Engine({ backend: 'uring' }).backend } catch (error) { insisted = error }
  tell({
    backend: engine.backend,
    reason: engine.backendReason,
    result,
    insisted: insisted.code ?? insisted,
    told: insisted.message,
    rings: engine.stats().rings.length,
  })`

/** Takes a system call away from its own process, and proves that it is gone. */
const REFUSE = `
  process.env.AURAIO_TEST_REFUSE = args[2]
  try { process.dlopen({ exports: {} }, args[1]) } catch {}
  if (!/^Seccomp:\\s*2$/m.test(fs.readFileSync('/proc/self/status', 'utf8'))) throw new Error('no filter')`

function worksOnThreads(t, [found], reason) {
  t.deepEqual(found.result, EXPECTED)
  t.is(found.backend, 'threads')
  t.regex(found.reason, reason)
  t.is(found.insisted, 'ERR_AURAIO_BACKEND')
  t.regex(found.told, reason)
}

async function withSysctl(value, body) {
  const before = readFileSync(SYSCTL, 'utf8')
  writeFileSync(SYSCTL, value)
  try {
    return await body()
  } finally {
    writeFileSync(SYSCTL, before)
  }
}

const setsSysctl = where(test.serial, needs.root, needs.writable(SYSCTL), needs.command('setpriv'))

setsSysctl('with io_uring_disabled=1 root gets io_uring, and nobody gets threads and the reason', async (t) => {
  const file = path.join(sharedDirectory(t), 'file')
  const rootFile = tempFile(t)
  await withSysctl('1', async () => {
    worksOnThreads(t, await run(t, LOOK, { wrap: asNobody(), args: [file] }), /io_uring_setup failed with EPERM/)
    if (hasUring() === undefined) t.is((await run(t, LOOK, { args: [rootFile] }))[0].backend, 'uring')
  })
})

where(
  test.serial,
  needs.root,
  needs.writable(SYSCTL),
  needs.variable('AURAIO_TEST_MACHINE', 'takes io_uring away from all other processes'),
)('with io_uring_disabled=2 everybody gets threads, and existing rings go on', async (t) => {
  const before = start(
    t,
    `const engine = new Engine(); tell(engine.backend); await asked(); tell(await daily(engine, args[0]))`,
    {
      args: [tempFile(t)],
    },
  )
  await before.next()
  await withSysctl('2', async () => {
    worksOnThreads(t, await run(t, LOOK, { args: [tempFile(t)] }), /io_uring_setup failed with EPERM/)
    before.send('go')
    t.deepEqual(await before.next(), EXPECTED)
    t.is((await before.ended).code, 0)
  })
})

const filters = where(test, needs.command('cc'), hasUring)

for (const [what, reason] of [
  ['setup:EPERM', /io_uring_setup failed with EPERM/],
  ['setup:ENOSYS', /io_uring_setup failed with ENOSYS/],
  ['enter:EPERM', /io_uring_enter failed with EPERM/],
]) {
  filters(`seccomp refuses ${what}: threads, and the reason`, async (t) => {
    const args = [tempFile(t), compile(t, 'refuse.c'), what]
    worksOnThreads(t, await run(t, REFUSE + LOOK, { args }), reason)
  })
}

for (const routing of ['thread', 'core']) {
  filters(`seccomp refuses enter once the engine runs (routing ${routing}): the work goes on`, async (t) => {
    const args = [tempFile(t), compile(t, 'refuse.c'), 'enter:EPERM', routing]
    const script = `
      const engine = new Engine({ backend: 'uring', routing: args[3] })
      tell(await daily(engine, args[0]))
      ${REFUSE}
      tell(await daily(engine, args[0]))
      tell(await daily(engine, args[0]))
      await engine.close()
      tell('closed')`
    t.deepEqual(await run(t, script, { args }), [EXPECTED, EXPECTED, EXPECTED, 'closed'])
  })

  filters(
    `seccomp refuses enter with operations queued and in flight (routing ${routing}): all complete`,
    async (t) => {
      const fifo = tempFile(t, 'fifo')
      execFileSync('mkfifo', [fifo])
      const args = [tempFile(t), compile(t, 'refuse.c'), 'enter:EPERM', routing, fifo]
      const script = `
      const engine = new Engine({ backend: 'uring', routing: args[3] })
      const pipe = await engine.open(args[4], 'r+')
      const file = await engine.open(args[0], 'w+')
      const waiting = pipe.read(Buffer.alloc(8))
      await turn()
      const writes = Array.from({ length: 100 }, (_, at) => file.write('x', at))
      ${REFUSE}
      const sync = file.sync()
      tell((await Promise.all(writes)).length)
      tell(await codeOf(sync))
      await pipe.write('hello')
      tell((await waiting).bytesRead)
      await engine.close()
      tell(fs.readFileSync(args[0], 'utf8').length)`
      t.deepEqual(await run(t, script, { args }), [100, 'done', 5, 100])
    },
  )
}

filters('io_uring is refused in a Worker as in the main thread', async (t) => {
  const args = [tempFile(t), compile(t, 'refuse.c'), 'setup:EPERM']
  const script = `
    ${REFUSE}
    const { Worker } = require('node:worker_threads')
    const worker = new Worker(
      "const { Engine } = require(" + JSON.stringify(require.resolve('auraio')) + ");" +
        "require('node:worker_threads').parentPort.postMessage(new Engine().backendReason)",
      { eval: true },
    )
    tell((await require('node:events').once(worker, 'message'))[0])`
  t.regex((await run(t, script, { args }))[0], /io_uring_setup failed with EPERM/)
})

/** A copy of the package as it is installed, without its binary. */
function packageWithoutBinary(t) {
  const copy = path.join(tempDirectory(t), 'node_modules', 'auraio')
  cpSync(path.join(ROOT, 'dist'), path.join(copy, 'dist'), { recursive: true })
  for (const file of ['package.json', 'binding.js']) copyFileSync(path.join(ROOT, file), path.join(copy, file))
  return copy
}

const LOOK_AT_COPY = `
  const copy = require(args[1])
  const engine = new copy.Engine()
  const result = await daily(engine, args[0])
  let insisted
  try { insisted = new copy.Engine({ backend: 'threads' }).backend } catch (error) { insisted = error.code }
  tell({ backend: engine.backend, reason: engine.backendReason, result, insisted })`

test("without its binary the package works on 'node', and says so", async (t) => {
  const copy = packageWithoutBinary(t)
  const [found] = await run(t, LOOK_AT_COPY, { args: [tempFile(t), copy] })
  t.deepEqual(found.result, EXPECTED)
  t.is(found.backend, 'node')
  t.regex(found.reason, /^the native binding could not be loaded: .+/)
  t.is(found.insisted, 'ERR_AURAIO_BACKEND')
})

test("with a binary that is not a library the package works on 'node', and says so", async (t) => {
  const copy = packageWithoutBinary(t)
  const binary = execFileSync('ls', [ROOT])
    .toString()
    .match(/^auraio\..+\.node$/m)[0]
  writeFileSync(path.join(copy, binary), 'not a library')
  const [found] = await run(t, LOOK_AT_COPY, { args: [tempFile(t), copy] })
  t.deepEqual(found.result, EXPECTED)
  t.is(found.backend, 'node')
  rmSync(path.join(copy, binary))
  symlinkSync(path.join(ROOT, binary), path.join(copy, binary))
  t.not((await run(t, LOOK_AT_COPY, { args: [tempFile(t), copy] }))[0].backend, 'node')
})

for (const name of ['uring', 'threads', 'node', 'auto', '']) {
  test(`AURAIO_BACKEND='${name}' chooses the backend`, async (t) => {
    const script = `
      try {
        const engine = new Engine()
        tell({ backend: engine.backend, reason: engine.backendReason, result: await daily(engine, args[0]) })
      } catch (error) { tell({ code: error.code, message: error.message }) }`
    const [found] = await run(t, script, { args: [tempFile(t)], env: { AURAIO_BACKEND: name } })
    if (found.code === 'ERR_AURAIO_BACKEND') return t.is(name, 'uring', found.message)
    t.deepEqual(found.result, EXPECTED)
    if (name !== '' && name !== 'auto') t.is(found.backend, name)
    t.regex(found.reason, /\S/)
  })
}
