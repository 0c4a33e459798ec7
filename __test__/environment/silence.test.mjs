// What one file does not answer holds up nobody else. Each script runs in a process of its own, which is killed if it hangs.
import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import test from 'ava'
import { targets } from '../helpers/backends.mjs'
import { needs, run, where } from '../helpers/child.mjs'
import { pattern, tempDirectory } from '../helpers/temp.mjs'

const LARGE = 1 << 20

/** A directory with a file to read and a FIFO that stays empty. */
function stage(t) {
  const directory = tempDirectory(t)
  writeFileSync(`${directory}/data`, pattern(LARGE))
  execFileSync('mkfifo', [`${directory}/fifo`])
  return directory
}

for (const { name: backend, skipped } of targets({ withOracle: false }).filter(({ name }) => name !== 'node')) {
  const ready = where(test, () => skipped, needs.command('mkfifo'))

  for (const how of ['read', 'readv']) {
    for (const size of [200_000, 1 << 18, LARGE]) {
      ready(`${backend}: a ${how} of ${size} bytes that waits for a FIFO holds up no other file`, async (t) => {
        const script = `
          const [directory, backend, how, size] = args
          const engine = new Engine({ backend })
          const fifo = await engine.open(directory + '/fifo', 'r+')
          const buffer = Buffer.alloc(Number(size))
          const waiting = how === 'read' ? fifo.read(buffer) : fifo.readv([buffer])
          for (let nth = 0; nth < 20; nth++) await turn()
          const file = await engine.open(directory + '/data')
          tell({ whole: (await file.readFile()).length })
          const { bytesRead } = await file.read(Buffer.alloc(1000), 0, 1000, 0)
          tell({ small: bytesRead, size: (await file.stat()).size })
          await file.sync()
          await file.close()
          await fifo.write('x')
          tell({ waited: (await waiting).bytesRead })
          await fifo.close()`
        const messages = await run(t, script, { args: [stage(t), backend, how, String(size)] })
        t.deepEqual(messages, [{ whole: LARGE }, { small: 1000, size: LARGE }, { waited: 1 }])
      })
    }
  }

  for (const [queueDepth, reads] of [
    [8, 64],
    [1024, 1100],
  ]) {
    const title = `${backend}, core: ${reads} reads of a FIFO at a queue depth of ${queueDepth} hold up no other thread`
    ready(title, async (t) => {
      // One core, so that both threads use the same ring.
      const script = `
        const { Worker } = require('node:worker_threads')
        const { once } = require('node:events')
        const [directory, options, reads] = args
        const engine = new Engine(JSON.parse(options))
        const worker = new Worker(\`
          const { parentPort, workerData } = require('node:worker_threads')
          const { Engine } = require('auraio')
          const main = async () => {
            const engine = new Engine(workerData.options)
            const written = await engine.open(workerData.directory + '/data', 'r+')
            await written.write('x', 0)
            const file = await engine.open(workerData.directory + '/data', 'r')
            const asked = new Promise((resolve) => parentPort.once('message', resolve))
            parentPort.postMessage('ready')
            await asked
            const { bytesRead } = await file.read(Buffer.alloc(5), 0, 5, 0)
            await written.close()
            parentPort.postMessage({ read: bytesRead, closed: true })
            // This stays open, and the end of the Worker closes it.
            parentPort.once('message', () => file.close())
          }
          main()
        \`, { eval: true, workerData: { directory, options: JSON.parse(options) } })
        await once(worker, 'message')
        const fifo = await engine.open(directory + '/fifo', 'r+')
        const waiting = Array.from({ length: Number(reads) }, () => fifo.read(Buffer.alloc(10)).catch(() => {}))
        for (let nth = 0; nth < 20; nth++) await turn()
        worker.postMessage('go on')
        const [message] = await once(worker, 'message')
        tell(message)
        tell(await worker.terminate())
        await fifo.close()
        await Promise.all(waiting)`
      const options = JSON.stringify({ backend, routing: 'core', queueDepth })
      const wrap = ['taskset', '-c', '0']
      const messages = await run(t, script, { wrap, args: [stage(t), options, String(reads)] })
      t.deepEqual(messages, [{ read: 5, closed: true }, 1])
    })
  }
}
