// Processes with low limits on locked memory, descriptors or threads; and processes that change their user.
import { execFileSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { asNobody, needs, run, sharedDirectory, start, where, withLimits } from '../helpers/child.mjs'
import { EXPECTED } from '../helpers/daily.cjs'
import { tempDirectory, tempFile } from '../helpers/temp.mjs'

/** As `where`, and skips too if the backend is not available. */
function on(backend, ...conditions) {
  return where(test, () => targets({ withOracle: false }).find(({ name }) => name === backend).skipped, ...conditions)
}

const nobody = where(test, needs.root, needs.command('setpriv'), needs.command('prlimit'))

for (const [name, bytes] of [
  ['8 MiB', 8 << 20],
  ['64 KiB', 64 << 10],
  ['nothing', 0],
]) {
  nobody(
    `an ordinary user with ${name} of locked memory: many engines and Workers work, on rings or without`,
    async (t) => {
      const script = `
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const path = (name) => args[0] + '/' + name
      const engines = []
      for (const [count, queueDepth] of [[8, 1024], [4, 32768], [2, 1]]) {
        for (let at = 0; at < count; at++) engines.push(new Engine({ queueDepth, submitBatch: 32 + at }))
      }
      tell(await Promise.all(engines.map((engine, at) => daily(engine, path(at)))))
      const workers = Array.from({ length: 40 }, (_, at) =>
        new Worker('./__test__/helpers/daily-worker.cjs', { workerData: { path: path('w' + at), options: { queueDepth: 1024 } } }))
      const exits = Promise.all(workers.map((worker) => once(worker, 'exit')))
      tell((await Promise.all(workers.map((worker) => once(worker, 'message')))).map(([result]) => result))
      await exits
      await Promise.all(engines.map((engine) => engine.close()))
      tell(await daily(new Engine(), path('last')))`
      const args = [sharedDirectory(t)]
      const wrap = asNobody(`--memlock=${bytes}:${bytes}`)
      const [engines, workers, last] = await run(t, script, { wrap, args })
      t.deepEqual(engines, Array(14).fill(EXPECTED))
      t.deepEqual(workers, Array(40).fill(EXPECTED))
      t.deepEqual(last, EXPECTED)
    },
  )
}

for (const [name, bytes] of [
  ['8 MiB', 8 << 20],
  ['64 KiB', 64 << 10],
  ['nothing', 0],
]) {
  nobody(
    `an ordinary user with ${name} of locked memory: what has no room is not registered, is told, and works`,
    async (t) => {
      const script = `
      const fs = require('node:fs')
      const pinned = () => Number(/VmPin:\\s+(\\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1]) * 1024
      const engine = new Engine()
      fs.writeFileSync(args[0], 'x'.repeat(64))
      const file = await engine.open(args[0])
      const leases = Array.from({ length: 12 }, () => engine.acquire(2 ** 20))
      const own = Buffer.alloc(16 * 2 ** 20)
      engine.registerBuffers([own])
      const parts = [...leases.map(({ buffer }) => buffer), own, own.subarray(15 * 2 ** 20)]
      for (const part of parts) {
        const { bytesRead } = await file.read(part, 0, 64, 0)
        if (bytesRead !== 64 || part.toString('utf8', 0, 64) !== 'x'.repeat(64)) throw new Error('wrong bytes')
      }
      const { bytesRegistered } = engine.stats().pool
      tell({ backend: engine.backend, reason: engine.backendReason, bytesRegistered, pinned: pinned() })
      await engine.unregisterBuffers()
      leases.forEach((lease) => lease.release())
      await engine.close()
      tell('closed')`
      const wrap = asNobody(`--memlock=${bytes}:${bytes}`)
      const args = [path.join(sharedDirectory(t), 'file')]
      const [{ backend, reason, bytesRegistered, pinned }, closed] = await run(t, script, { wrap, args })
      t.is(closed, 'closed')
      // half of the locked memory is left to rings
      t.true(bytesRegistered <= bytes / 2, `${bytesRegistered}`)
      // the kernel counts whole pages, so a Buffer that does not begin at a page counts one page more
      t.true(pinned >= bytesRegistered && pinned <= bytesRegistered + 4096, `${pinned}`)
      if (backend === 'uring') t.regex(reason, /RLIMIT_MEMLOCK/)
    },
  )
}

for (const backend of ['uring', 'threads']) {
  for (const routing of ['thread', 'core']) {
    on(backend, needs.command('prlimit'))(
      `${backend}, ${routing}: with 64 descriptors, opens end in EMFILE, and work again after a close`,
      async (t) => {
        const script = `
          const engine = new Engine({ backend: args[1], routing: args[2] })
          tell(await daily(engine, args[0]))
          const files = []
          for (;;) {
            const file = await engine.open('/dev/null').catch((error) => error)
            if (file instanceof Error) { tell({ code: file.code, syscall: file.syscall, path: file.path }); break }
            files.push(file)
          }
          const all = await Promise.allSettled(Array.from({ length: 32 }, () => engine.open('/dev/null')))
          tell([...new Set(all.map(({ reason }) => reason?.code))])
          tell((await files[0].read(Buffer.alloc(1))).bytesRead)
          tell((await files[0].stat()).isCharacterDevice())
          await Promise.all(files.map((file) => file.close()))
          tell(await daily(engine, args[0]))
          await engine.close()
          tell('closed')`
        const args = [tempFile(t), backend, routing]
        const messages = await run(t, script, { wrap: withLimits('--nofile=64:64'), args })
        t.deepEqual(messages, [
          EXPECTED,
          { code: 'EMFILE', syscall: 'open', path: '/dev/null' },
          ['EMFILE'],
          0,
          true,
          EXPECTED,
          'closed',
        ])
      },
    )

    on(backend, needs.command('prlimit'))(
      `${backend}, ${routing}: without a free descriptor an engine is an error, and with some again it works`,
      async (t) => {
        const script = `
          const fds = []
          const fill = () => { try { for (;;) fds.push(fs.openSync('/dev/null')) } catch (error) { if (error.code !== 'EMFILE') throw error } }
          const [, backend, routing] = args
          new Engine({ backend: 'threads', queueDepth: 7 }) // the binding is loaded by now
          const outcomes = new Set()
          // with this many free descriptors, each step of the set-up is refused once
          for (let spare = 0; spare < 12; spare++) {
            fill()
            for (const fd of fds.splice(0, spare)) fs.closeSync(fd)
            let engine
            try { engine = new Engine({ backend, routing, queueDepth: 100 + spare }) } catch (error) { outcomes.add(error.code); continue }
            outcomes.add(await codeOf(engine.open('/dev/null').then((file) => file.close())))
            await engine.close()
          }
          for (const fd of fds) fs.closeSync(fd)
          tell([...outcomes])
          const engine = new Engine({ backend, routing })
          tell(engine.backend)
          tell(await daily(engine, args[0]))`
        const args = [tempFile(t), backend, routing]
        const [outcomes, now, result] = await run(t, script, { wrap: withLimits('--nofile=64:64'), args })
        const allowed = ['ERR_AURAIO_BACKEND', 'EMFILE', 'done']
        t.deepEqual(
          outcomes.filter((code) => !allowed.includes(code)),
          [],
        )
        t.true(outcomes.includes('ERR_AURAIO_BACKEND') || outcomes.includes('EMFILE'))
        t.is(now, backend)
        t.deepEqual(result, EXPECTED)
      },
    )
  }
}

on('uring', needs.command('prlimit'))(
  'an engine uses io_uring even if an earlier one found no free descriptor',
  async (t) => {
    const script = `
      require('./binding.js')
      const fds = []
      try { for (;;) fds.push(fs.openSync('/dev/null')) } catch {}
      const poor = new Engine()
      for (const fd of fds) fs.closeSync(fd)
      tell(await daily(poor, args[0]))
      tell(new Engine({ queueDepth: 99 }).backend)
      tell(new Engine({ backend: 'uring' }).backend)`
    const messages = await run(t, script, { wrap: withLimits('--nofile=64:64'), args: [tempFile(t)] })
    t.deepEqual(messages, [EXPECTED, 'uring', 'uring'])
  },
)

/** Takes threads away from a running process: by a cgroup of its own, or by the limit of its user. */
const THREAD_LIMITS = {
  'a pids cgroup': {
    conditions: [needs.root, needs.writable('/sys/fs/cgroup/pids')],
    wrap: [],
    prepare(t, pid) {
      const group = `/sys/fs/cgroup/pids/auraio-test-${process.pid}-${pid}`
      mkdirSync(group)
      t.teardown(() => existsSync(group) && rmdirSync(group))
      writeFileSync(`${group}/cgroup.procs`, String(pid))
      return () => writeFileSync(`${group}/pids.max`, readFileSync(`${group}/pids.current`))
    },
  },
  RLIMIT_NPROC: {
    conditions: [needs.root, needs.command('setpriv'), needs.command('prlimit')],
    wrap: asNobody(),
    prepare: (t, pid) => () => {
      const [command, ...rest] = [...asNobody(), 'prlimit', '--pid', String(pid), '--nproc=1:1']
      execFileSync(command, rest)
    },
  },
}

for (const [limit, { conditions, wrap, prepare }] of Object.entries(THREAD_LIMITS)) {
  for (const backend of ['uring', 'threads']) {
    for (const routing of ['thread', 'core']) {
      on(backend, ...conditions)(
        `${backend}, ${routing}: without any new thread (${limit}), every operation completes`,
        async (t) => {
          const script = `
          const engine = new Engine({ backend: args[1], routing: args[2] })
          const file = await engine.open(args[0] + '/first', 'w+')
          tell('ready')
          await asked()
          tell(await codeOf(new Promise((resolve, reject) => {
            try { new (require('node:worker_threads').Worker)('', { eval: true }).once('error', reject).once('exit', resolve) }
            catch (error) { reject(error) }
          })))
          await file.write('x'.repeat(100000))
          await file.sync()
          await file.truncate(10)
          tell((await file.stat()).size)
          tell(await Promise.all(Array.from({ length: 8 }, (_, at) => daily(engine, args[0] + '/' + at))))
          await file.close()
          await engine.close()
          tell('closed')`
          const directory = sharedDirectory(t)
          const child = start(t, script, { wrap, args: [directory, backend, routing] })
          const take = prepare(t, child.pid)
          t.is(await child.next(), 'ready')
          take()
          child.send('go')
          const { code, signal, messages, output } = await child.ended
          t.is(signal, null, `${output} after ${JSON.stringify(messages)}`)
          t.is(code, 0, output)
          t.deepEqual(messages.slice(1), ['ERR_WORKER_INIT_FAILED', 10, Array(8).fill(EXPECTED), 'closed'])
        },
      )
    }
  }
}

for (const backend of ['uring', 'threads']) {
  for (const routing of ['thread', 'core']) {
    on(backend, needs.root)(
      `${backend}, ${routing}: after setuid an open of a file of root is EACCES, in Workers too`,
      async (t) => {
        const script = `
          const { Worker } = require('node:worker_threads')
          const { once } = require('node:events')
          const [, backend, routing] = args
          const engine = new Engine({ backend, routing })
          const tryAll = () => Promise.all([
            ...Array.from({ length: 40 }, () => codeOf(engine.open(args[0]).then((file) => file.close()))),
            codeOf(engine.open(args[0] + '.new', 'w')),
            codeOf(engine.open(args[0], fs.constants.O_RDONLY | fs.constants.O_TRUNC)),
          ])
          const worker = new Worker('./__test__/helpers/open-worker.cjs', { workerData: { path: args[0], options: { backend, routing } } })
          const inWorker = async () => { worker.postMessage('go'); return (await once(worker, 'message'))[0] }
          tell([...new Set((await tryAll()).slice(0, 40)), ...await inWorker()])
          const held = await engine.open(args[0])
          process.setgroups([])
          process.setgid(65534)
          process.setuid(65534)
          tell([...new Set([...await tryAll(), ...await inWorker()])])
          tell((await held.read(Buffer.alloc(9), 0, 9, 0)).bytesRead)
          const late = new Worker('./__test__/helpers/open-worker.cjs', { workerData: { path: args[0], options: { backend, routing } } })
          late.postMessage('go')
          tell((await once(late, 'message'))[0])
          await Promise.all([worker.terminate(), late.terminate()])`
        const file = path.join(tempDirectory(t), 'secret')
        writeFileSync(file, 'secret', { mode: 0o600 })
        execFileSync('chmod', ['0755', path.dirname(file)])
        const [before, after, held, late] = await run(t, script, { args: [file, backend, routing] })
        t.deepEqual(before, ['done', 'done'])
        t.deepEqual(after, ['EACCES'])
        t.is(held, 0) // root emptied it by O_TRUNC before
        t.deepEqual(late, ['EACCES'])
      },
    )
  }
}
