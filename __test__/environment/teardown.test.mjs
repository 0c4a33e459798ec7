// Workers that are terminated, and processes that exit or throw, while operations are under way.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { needs, run, start, where } from '../helpers/child.mjs'
import { pattern, tempDirectory } from '../helpers/temp.mjs'

/** By hand: AURAIO_STORM=1000 for more Workers. */
const WORKERS = Number(process.env.AURAIO_STORM ?? 200)
const SEED = Number(process.env.AURAIO_SEED ?? 20_260)

/** How many Workers live at the same time. */
const AT_ONCE = 4

const CONFIGURATIONS = [
  { backend: 'uring', routing: 'thread' },
  { backend: 'uring', routing: 'core' },
  { backend: 'threads', routing: 'thread' },
]

/** Descriptors that stay: a core's ring, made when a thread first runs there, has its own descriptor and its helper's bell. */
const CORE_FDS = { thread: 0, core: 2 * cpus().length }

function ready(backend) {
  return where(
    test.serial,
    () => targets({ withOracle: false }).find(({ name }) => name === backend).skipped,
    needs.command('mkfifo'),
  )
}

/** A directory with a file to read and a FIFO to wait for. */
function stage(t) {
  const directory = tempDirectory(t)
  writeFileSync(`${directory}/data`, pattern(1 << 18))
  execFileSync('mkfifo', [`${directory}/fifo`])
  return directory
}

const PREPARE = `
  const { Worker } = require('node:worker_threads')
  const { once } = require('node:events')
  const directory = args[0]
  const options = JSON.parse(args[1])
  let number = 0
  const storm = (ending) => new Worker('./__test__/helpers/storm-worker.cjs', {
    workerData: { options, directory, number: number++, ending }, stderr: true,
  })
  // Threads of the crew stay for a while to be used again, so they are counted separately.
  const count = () => {
    const names = fs.readdirSync('/proc/self/task').map((task) => {
      try { return fs.readFileSync('/proc/self/task/' + task + '/comm', 'utf8') } catch { return 'gone' }
    })
    const threads = names.filter((name) => !name.startsWith('auraio-') && name !== 'gone').length
    return { fds: fs.readdirSync('/proc/self/fd').length, threads, pool: names.length - threads }
  }
  // A thread of the kernel ends a little after its ring, and nothing announces it.
  const settled = async (before) => {
    let now = count()
    for (let look = 0; look < 500 && (now.fds > before.fds || now.threads > before.threads); look++) {
      await new Promise((resolve) => setTimeout(resolve, 10))
      now = count()
    }
    return now
  }
  const rss = () => Math.round(process.memoryUsage.rss() / 2 ** 20)`

for (const options of CONFIGURATIONS) {
  const { backend, routing } = options
  const where = `${backend}, ${routing}`

  ready(backend)(`${where}: ${WORKERS} Workers terminated at random moments leave nothing behind`, async (t) => {
    t.log(`seed ${SEED} (AURAIO_SEED)`)
    const script = `${PREPARE}
      const { between } = (await import('./__test__/helpers/random.mjs')).random(${SEED})
      const round = async (workers) => {
        let started = 0
        const one = async () => {
          while (started++ < workers) {
            const moment = between(0, 3)
            const turns = between(0, 20)
            const worker = storm()
            const exit = once(worker, 'exit')
            if (moment === 1) await Promise.race([once(worker, 'online'), exit])
            if (moment >= 2) await Promise.race([once(worker, 'message'), exit])
            for (let nth = 0; nth < turns; nth++) await turn()
            await worker.terminate()
            await exit
          }
        }
        await Promise.all(Array.from({ length: ${AT_ONCE} }, one))
      }
      await round(8) // what is made once a process is there
      const before = count()
      const rssBefore = rss()
      await round(${WORKERS})
      const after = await settled(before)
      tell({ before, after, rssBefore, rssAfter: rss() })`
    const [{ before, after, rssBefore, rssAfter }] = await run(t, script, {
      args: [stage(t), JSON.stringify(options)],
    })
    t.log(`before ${JSON.stringify(before)}, after ${JSON.stringify(after)}, RSS ${rssBefore} to ${rssAfter} MiB`)
    t.true(after.fds <= before.fds + CORE_FDS[routing], `${before.fds} descriptors before, ${after.fds} after`)
    t.true(after.threads <= before.threads, `${before.threads} threads before, ${after.threads} after`)
  })

  ready(backend)(`${where}: Workers exit or throw with operations in flight, and leave nothing behind`, async (t) => {
    const script = `${PREPARE}
      const end = async (ending) => {
        const worker = storm(ending)
        const errors = []
        worker.on('error', (error) => errors.push(error.message))
        const code = await new Promise((resolve) => worker.once('exit', resolve))
        return [code, ...errors]
      }
      await end('exit')
      const before = count()
      const outcomes = await Promise.all(Array.from({ length: 10 }, (_, at) => end(at % 2 === 0 ? 'exit' : 'throw')))
      const after = await settled(before)
      tell([...new Set(outcomes.map(String))].sort())
      tell({ fds: after.fds - before.fds, threads: after.threads - before.threads })`
    const args = [stage(t), JSON.stringify(options)]
    const messages = await run(t, script, { args })
    t.deepEqual(messages[0], ['1,on purpose', '7'])
    t.true(messages[1].fds <= CORE_FDS[routing], `${messages[1].fds} descriptors more`)
    t.true(messages[1].threads <= 0, `${messages[1].threads} threads more`)
  })

  for (const [ending, statement, code] of [
    ['process.exit()', 'process.exit(7)', 7],
    ['an uncaught throw', "setImmediate(() => { throw new Error('on purpose') })", 1],
    ['an unhandled rejection', "Promise.reject(new Error('on purpose'))", 1],
  ]) {
    ready(backend)(`${where}: ${ending} with operations in flight ends the process with its exit code`, async (t) => {
      const script = `
        const [directory, options] = args
        const engine = new Engine(JSON.parse(options))
        const pipe = await engine.open(directory + '/fifo', 'r+')
        const data = await engine.open(directory + '/data')
        const file = await engine.open(directory + '/file', 'w+')
        const begin = (at) => [pipe.read(Buffer.alloc(10)), data.read(Buffer.alloc(65536), 0, 65536, 0), file.write('x', at), file.sync()]
        for (let at = 0; at < 8; at++) begin(at).forEach((promise) => promise.catch(() => {}))
        await turn()
        for (let at = 8; at < 16; at++) begin(at).forEach((promise) => promise.catch(() => {}))
        tell('loaded')
        ${statement}`
      const args = [stage(t), JSON.stringify(options)]
      const outcome = await start(t, script, { args }).ended
      t.is(outcome.signal, null, outcome.output)
      t.is(outcome.code, code, outcome.output)
    })
  }

  ready(backend)(
    `${where}: terminate() ends a Worker that waits for a FIFO, or reads past the page cache`,
    async (t) => {
      const script = `${PREPARE}
      const body = (work) => \`
        const { parentPort } = require('node:worker_threads')
        const { Engine } = require(\${JSON.stringify(require.resolve('auraio'))})
        const engine = new Engine(\${JSON.stringify(options)})
        const directory = \${JSON.stringify(directory)}
        const main = async () => { \${work} }
        main()\`
      const works = {
        fifo: \`
          const pipe = await engine.open(directory + '/fifo', 'r+')
          pipe.read(Buffer.alloc(10)).catch(() => {})
          await new Promise(setImmediate)
          parentPort.postMessage('waits')\`,
        direct: \`
          const file = await engine.open(directory + '/data', 'r', { direct: true }).catch(() => engine.open(directory + '/data'))
          const memory = new ArrayBuffer(1 << 20)
          const read = (at) => file.read(new Uint8Array(memory, at * 16384, 16384), 0, 16384, at * 4096).catch(() => {})
          const forever = async (at) => { for (;;) await read(at) }
          for (let at = 0; at < 32; at++) forever(at)
          await new Promise(setImmediate)
          parentPort.postMessage('reads')\`,
      }
      const outcomes = []
      for (let round = 0; round < 5; round++) {
        for (const work of Object.values(works)) {
          const worker = new Worker(body(work), { eval: true })
          const exit = once(worker, 'exit')
          await once(worker, 'message')
          await worker.terminate()
          outcomes.push((await exit)[0])
        }
      }
      tell([...new Set(outcomes)])`
      const args = [stage(t), JSON.stringify(options)]
      t.deepEqual(await run(t, script, { args }), [[1]])
    },
  )

  ready(backend)(`${where}: a process stays while a read is pending, and ends when none is`, async (t) => {
    const script = `
      const [directory, options] = args
      process.on('exit', () => fs.writeSync(1, 'end\\n'))
      const engine = new Engine(JSON.parse(options))
      const pipe = await engine.open(directory + '/fifo', 'r+')
      const reading = pipe.read(Buffer.alloc(10))
      tell('waits')
      process.once('message', () => { process.disconnect(); fs.writeSync(pipe.fd, 'hello') })
      process.channel.unref()
      fs.writeSync(1, (await reading).bytesRead + '\\n')`
    const child = start(t, script, { args: [stage(t), JSON.stringify(options)] })
    t.is(await child.next(), 'waits')
    child.send('go')
    const { code, signal, output } = await child.ended
    t.is(signal, null)
    t.is(code, 0, output)
    t.is(output, '5\nend\n')
  })
}
