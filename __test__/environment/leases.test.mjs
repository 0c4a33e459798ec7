// Leases that end without a release: by the garbage collector, with their Worker, or during reads; and leases when there is no
// memory.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import test from 'ava'
import { nodeAtLeast, targets } from '../helpers/backends.mjs'
import { asNobody, needs, run, sharedDirectory, start, where } from '../helpers/child.mjs'
import { pattern, tempDirectory, tempFile } from '../helpers/temp.mjs'

/** By hand: AURAIO_STORM=1000 for more Workers. */
const WORKERS = Number(process.env.AURAIO_STORM ?? 100)
const SEED = Number(process.env.AURAIO_SEED ?? 20_260)

const available = targets({ withOracle: false }).filter(({ skipped }) => skipped === undefined)
const native = available.filter(({ name }) => name !== 'node')

function fifo(t) {
  const path = tempFile(t, 'fifo')
  execFileSync('mkfifo', [path])
  return path
}

const COLLECT = { node: ['--expose-gc'] }

/** Runs the collector until the condition is true: a finalizer runs in a later turn of the event loop. */
const UNTIL = `
  const until = async (isSo) => {
    for (let round = 0; round < 200 && !isSo(); round++) { gc(); await turn() }
    return isSo()
  }
  const warnings = []
  process.on('warning', ({ code, message, detail }) => warnings.push({ code, message, detail }))`

const nativeOnly = native.length > 0 ? test : (title, body) => test.skip(`${title} (no native backend)`, body)

nativeOnly('the memory of collected leases comes back, with one warning', async (t) => {
  const script = `${UNTIL}
    const engine = new Engine()
    const forget = (size) => { engine.acquire(size).buffer.fill(1) }
    const before = engine.stats().pool.bytesInUse
    for (let at = 0; at < 50; at++) forget(65536)
    const during = engine.stats().pool.bytesInUse
    const came = await until(() => engine.stats().pool.bytesInUse <= before && warnings.length > 0)
    for (let at = 0; at < 50; at++) forget(4096)
    await until(() => engine.stats().pool.bytesInUse <= before)
    tell({ held: during - before, came, warnings })`
  const [{ held, came, warnings }] = await run(t, script, COLLECT)
  t.true(held >= 50 * 65536)
  t.true(came)
  t.is(warnings.length, 1)
  t.is(warnings[0].code, 'AURAIO_LEASE_LEAKED')
  t.regex(warnings[0].message, /^A lease of 65536 bytes was garbage collected before it was released/)
})

for (const { name } of available) {
  test(`${name}: a kept Buffer of a lease keeps the memory, and a released lease causes no warning`, async (t) => {
    const script = `${UNTIL}
      const engine = new Engine({ backend: args[0] })
      const kept = (() => engine.acquire(65536).buffer.fill('kept'))()
      const others = []
      for (let at = 0; at < 300; at++) others.push(engine.acquire(65536))
      for (const lease of others) { lease.buffer.fill('other'); lease.release() }
      others.length = 0
      await until(() => false)
      const taken = Array.from({ length: 300 }, () => engine.acquire(65536))
      for (const lease of taken) lease.buffer.fill('again')
      tell({ kept: kept.toString('latin1', 0, 4), warnings })
      for (const lease of taken) lease.release()`
    t.deepEqual(await run(t, script, { ...COLLECT, args: [name] }), [{ kept: 'kept', warnings: [] }])
  })

  test(`${name}: with debug, released memory is poisoned, and a later write causes a warning with the stack of the release`, async (t) => {
    const script = `${UNTIL}
      const engine = new Engine({ backend: args[0], pool: { debug: true } })
      const lease = engine.acquire(5000)
      const kept = lease.buffer.fill(1)
      const releaseHere = (held) => held.release()
      releaseHere(lease)
      const seen = kept.every((byte) => byte === 0xdb)
      const untouched = engine.acquire(5000)
      await turn()
      const silent = warnings.length
      releaseHere(untouched)
      kept[4999] = 7
      engine.acquire(6000).release()
      await turn()
      engine.acquire(6000).release() // told once: it is as new
      await turn()
      tell({ seen, silent, warnings, outer: new Engine({ backend: args[0] }).acquire(1).size })`
    const [{ seen, silent, warnings, outer }] = await run(t, script, { args: [name] })
    t.true(seen)
    t.is(silent, 0)
    t.is(warnings.length, 1)
    t.is(warnings[0].code, 'AURAIO_USE_AFTER_RELEASE')
    t.regex(warnings[0].detail, /^It was released here:\n\s+at releaseHere/)
    t.is(outer, 1)
  })

  test(`${name}: when Workers with leases end, their memory goes back to the process's pool`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(1 << 18))
    const script = `
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const [backend, path] = args
      const engine = new Engine({ backend })
      const one = async () => {
        const worker = new Worker('./__test__/helpers/lease-worker.cjs', { workerData: { options: { backend }, path } })
        const [[answer]] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
        return answer
      }
      const round = async (workers) => {
        const answers = new Set()
        for (let at = 0; at < workers; at += 4) for (const answer of await Promise.all([one(), one(), one(), one()])) answers.add(answer)
        return [...answers]
      }
      await round(8)
      const before = engine.stats().pool
      const answers = await round(100)
      const after = engine.stats().pool
      tell({ answers, inUse: after.bytesInUse - before.bytesInUse, mapped: after.bytesMapped - before.bytesMapped })`
    const [{ answers, inUse, mapped }] = await run(t, script, { args: [name, path] })
    t.deepEqual(answers, ['the right bytes'])
    t.is(inUse, 0)
    // How much is mapped at once depends on the cores that the Workers run on. No more than four of them hold memory together.
    t.true(mapped <= 4 * 40 * 65536, `${mapped} bytes more are mapped`)
  })
}

for (const { name } of native) {
  test.serial(`${name}: Workers terminated with reads into leases in flight spoil no other memory`, async (t) => {
    t.log(`seed ${SEED} (AURAIO_SEED)`)
    const directory = tempDirectory(t)
    const path = `${directory}/data`
    writeFileSync(path, pattern(1 << 22))
    const script = `
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const { between } = (await import('./__test__/helpers/random.mjs')).random(${SEED})
      const [backend, path] = args
      const engine = new Engine({ backend })
      let started = 0
      let damaged = 0
      // Memory that comes back from a Worker is acquired here at once, with a mark that nobody else may overwrite.
      const marked = () => {
        const leases = Array.from({ length: 64 }, () => engine.acquire(65536))
        for (const { buffer } of leases) buffer.fill(0xa5)
        return leases
      }
      const lane = async () => {
        while (started++ < ${WORKERS}) {
          const worker = new Worker('./__test__/helpers/lease-worker.cjs', {
            workerData: { options: { backend }, path, storm: true },
          })
          const exit = once(worker, 'exit')
          await Promise.race([once(worker, 'message'), exit])
          for (let nth = between(0, 10); nth > 0; nth--) await turn()
          await worker.terminate()
          await exit
          const leases = marked()
          for (let nth = 0; nth < 5; nth++) await turn()
          for (const lease of leases) {
            if (!lease.buffer.every((byte) => byte === 0xa5)) damaged++
            lease.release()
          }
        }
      }
      const before = engine.stats().pool.bytesInUse
      await Promise.all([lane(), lane(), lane(), lane()])
      tell({ damaged, inUse: engine.stats().pool.bytesInUse - before })`
    const [{ damaged, inUse }] = await run(t, script, { args: [name, path] })
    t.is(damaged, 0)
    t.is(inUse, 0)
  })

  test(`${name}: a block does not go back to the pool while an operation uses it`, async (t) => {
    const script = `
      const engine = new Engine({ backend: args[0] })
      const binding = require('./binding.js')
      const pipe = await engine.open(args[1], 'r+')
      const lease = engine.acquire(4096)
      const [view, memory] = [lease.buffer, lease.buffer.buffer]
      const takeBack = () => binding.takeBackBlock(memory, ArrayBuffer.prototype.transfer)
      const reading = pipe.readv([view.subarray(0, 5), view.subarray(100)])
      await turn()
      const during = takeBack()
      await pipe.write('hello, world')
      await reading
      tell({ during, text: view.toString('latin1', 0, 5), after: takeBack(), again: takeBack(), left: memory.byteLength })`
    const answer = { during: false, text: 'hello', after: true, again: false, left: 0 }
    t.deepEqual(await run(t, script, { args: [name, fifo(t)] }), [answer])
  })

  const withTransfer = nodeAtLeast(22) ? test : (title, body) => test.skip(`${title} (no transfer here)`, body)

  withTransfer(`${name}: memory that JavaScript loses in flight is lent to nobody before the completion`, async (t) => {
    const script = `${UNTIL}
      const engine = new Engine({ backend: args[0] })
      const pipe = await engine.open(args[1], 'r+')
      const collected = []
      const registry = new FinalizationRegistry((held) => collected.push(held))
      const begin = () => {
        const lease = engine.acquire(65536)
        const reading = codeOf(pipe.read(lease.buffer))
        // around the lease's own check, as a hostile program may do
        const moved = ArrayBuffer.prototype.transfer.call(lease.buffer.buffer)
        registry.register(moved, 'moved')
        lease.release()
        return reading
      }
      const reading = begin()
      await until(() => collected.length > 0)
      for (let round = 0; round < 10; round++) { gc(); await turn() }
      const leases = Array.from({ length: 200 }, () => engine.acquire(65536))
      for (const { buffer } of leases) buffer.fill(0xa5)
      await pipe.write('hello')
      const code = await reading
      const damaged = leases.filter(({ buffer }) => !buffer.every((byte) => byte === 0xa5)).length
      for (const lease of leases) lease.release()
      tell({ collected, code, damaged })`
    const answer = { collected: ['moved'], code: 'ERR_AURAIO_DETACHED', damaged: 0 }
    t.deepEqual(await run(t, script, { ...COLLECT, args: [name, fifo(t)] }), [answer])
  })

  test(`${name}: at the ceiling an acquisition throws or waits, and released memory goes to the waiting one`, async (t) => {
    const script = `
      const engine = new Engine({ backend: args[0], pool: { bytesMax: 8 << 20 } })
      const held = []
      const codes = []
      const fill = (size) => {
        for (;;) {
          try { held.push(engine.acquire(size)) } catch (error) { codes.push(error.code); return }
        }
      }
      fill(1 << 20)
      const count = held.length
      const { bytesMapped, bytesMax } = engine.stats().pool
      const order = []
      const wait = async (at, size) => { const lease = await engine.acquireAsync(size); order.push(at); held.push(lease) }
      const waits = [wait(0, 1 << 20), wait(1, 5000), wait(2, 1 << 20)]
      await turn()
      const waiting = engine.stats().pool.waiting
      const before = order.length
      held.shift().release()
      await waits[0]
      const stopped = new AbortController()
      const abandoned = codeOf(engine.acquireAsync(1 << 20, { signal: stopped.signal }))
      stopped.abort()
      codes.push(await abandoned)
      held.shift().release()
      held.shift().release()
      await Promise.all(waits)
      const all = held.splice(0)
      for (const lease of all) lease.release()
      fill(65536) // what lay free in another class is given back for it
      const small = held.length
      const late = codeOf(engine.acquireAsync(4096))
      const drained = engine.close()
      codes.push(await late)
      for (const lease of held) lease.release()
      await drained
      tell({ count, within: bytesMapped <= bytesMax && bytesMax === 8 << 20, waiting, before, order, codes, small })`
    const [{ count, within, waiting, before, order, codes, small }] = await run(t, script, { args: [name] })
    t.true(count >= 4 && count <= 8, `${count} blocks of 1 MiB`)
    t.true(within)
    t.is(waiting, 3)
    t.is(before, 0)
    t.deepEqual(order.slice().sort(), [0, 1, 2])
    t.is(order[0], 0)
    const exhausted = 'ERR_AURAIO_POOL_EXHAUSTED'
    t.deepEqual(codes, [exhausted, 'ABORT_ERR', exhausted, 'ERR_AURAIO_ENGINE_CLOSED'])
    t.true(small >= 64, `${small} blocks of 64 KiB`)
  })

  test(`${name}: memory that a Worker releases is lent to the thread that waits for it`, async (t) => {
    const script = `
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const engine = new Engine({ backend: args[0], pool: { bytesMax: 8 << 20 } })
      const worker = new Worker(\`
        const { parentPort } = require('node:worker_threads')
        const { Engine } = require('auraio')
        const engine = new Engine({ backend: \${JSON.stringify(args[0])} })
        const held = []
        try { for (;;) held.push(engine.acquire(65536)) } catch (error) { parentPort.postMessage(error.code) }
        parentPort.once('message', () => { for (const lease of held) lease.release(); parentPort.postMessage(held.length) })\`, { eval: true })
      const [code] = await once(worker, 'message')
      const waiting = engine.acquireAsync(1 << 20)
      await turn()
      const { waiting: inLine } = engine.stats().pool
      worker.postMessage('release')
      const lease = await waiting
      tell({ code, inLine, size: lease.buffer.length })
      lease.release()`
    const answer = { code: 'ERR_AURAIO_POOL_EXHAUSTED', inLine: 1, size: 1 << 20 }
    t.deepEqual(await run(t, script, { args: [name] }), [answer])
  })

  for (const [ending, statement, code] of [
    ['process.exit()', 'process.exit(7)', 7],
    ['an uncaught throw', "setImmediate(() => { throw new Error('on purpose') })", 1],
    ['the end of its work', '', 0],
  ]) {
    test(`${name}: ${ending} with leases held and in flight ends the process with its exit code`, async (t) => {
      const path = tempFile(t)
      writeFileSync(path, pattern(1 << 20))
      const script = `
        const [backend, path] = args
        const engine = new Engine({ backend })
        const file = await engine.open(path)
        const leases = Array.from({ length: 64 }, () => engine.acquire(16384))
        for (const [at, { buffer }] of leases.entries()) file.read(buffer, 0, 16384, at * 16384).catch(() => {})
        await turn()
        for (const [at, { buffer }] of leases.entries()) file.read(buffer, 0, 16384, at * 16384).catch(() => {})
        tell('loaded')
        process.disconnect()
        ${statement}`
      const outcome = await start(t, script, { args: [name, path] }).ended
      t.is(outcome.signal, null, outcome.output)
      t.is(outcome.code, code, outcome.output)
    })
  }

  test(`${name}: in a runtime that forbids external memory, leases are aligned parts of ordinary memory`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(1 << 20))
    const script = `${UNTIL}
      const { memoryOf } = require('./dist/lib/operations/native.js')
      const [backend, path] = args
      const engine = new Engine({ backend })
      const file = await engine.open(path)
      const bytes = fs.readFileSync(path)
      let right = 0
      for (let round = 0; round < 3; round++) {
        for (const size of [1, 4096, 5000, 1 << 20]) {
          for (const alignment of [undefined, 65536, 2 << 20]) {
            const lease = round === 1 ? await engine.acquireAsync(size, { alignment }) : engine.acquire(size, { alignment })
            const at = memoryOf({}).addressOf(lease.buffer) % (alignment ?? 4096)
            await file.read(lease.buffer, 0, size, 0)
            if (at === 0 && lease.buffer.equals(bytes.subarray(0, size))) right++
            lease.release()
          }
        }
      }
      const lease = engine.acquire(4096)
      const kept = lease.buffer
      lease.release()
      ;(() => { engine.acquire(2 << 20) })()
      await until(() => warnings.length > 0)
      tell({ right, after: await codeOf(file.read(kept)), pool: engine.stats().pool.bytesInUse, warned: warnings[0]?.code })`
    const env = { AURAIO_TEST_NO_EXTERNAL_BUFFERS: '1' }
    const answer = { right: 36, after: 'ERR_AURAIO_RELEASED', pool: 0, warned: 'AURAIO_LEASE_LEAKED' }
    t.deepEqual(await run(t, script, { ...COLLECT, args: [name, path], env }), [answer])
  })
}

const nobody = where(test, needs.root, needs.command('setpriv'), needs.command('prlimit'))

for (const [name, bytes] of [
  ['8 MiB', 8 << 20],
  ['nothing', 0],
]) {
  nobody(`an ordinary user with ${name} of locked memory: leases work, registered or not`, async (t) => {
    const script = `
      const path = args[0] + '/data'
      const engine = new Engine()
      const bytes = Buffer.alloc(1 << 20, 'an ordinary user')
      fs.writeFileSync(path, bytes)
      const file = await engine.open(path)
      let right = 0
      const one = async (at) => {
        for (let round = 0; round < 4; round++) {
          const lease = await engine.acquireAsync(1 << 20)
          await file.read(lease.buffer, 0, 1 << 20, 0)
          if (lease.buffer.equals(bytes)) right++
          lease.release()
        }
      }
      await Promise.all(Array.from({ length: 32 }, (_, at) => one(at)))
      const { bytesMapped, bytesRegistered } = engine.stats().pool
      tell({ right, sane: bytesRegistered <= bytesMapped })
      await engine.close()`
    const wrap = asNobody(`--memlock=${bytes}:${bytes}`)
    t.deepEqual(await run(t, script, { wrap, args: [sharedDirectory(t)] }), [{ right: 128, sane: true }])
  })
}
