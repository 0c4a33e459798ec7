// A Worker that starts operations of many kinds on an engine, and then posts a message. From then on the test may terminate it at
// any moment, or it ends in the way that the test asks for.
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')

const { options, directory, number, ending } = workerData
const nothing = () => {}

async function load() {
  const engine = new Engine(options)
  const [file, data, pipe] = await Promise.all([
    engine.open(`${directory}/${number}`, 'w+'),
    engine.open(`${directory}/data`),
    engine.open(`${directory}/fifo`, 'r+'),
  ])
  const begin = (at) => {
    const buffer = Buffer.alloc(16384, at)
    // a thread of libuv that waits for a pipe cannot be cancelled, so with libuv the Worker could not end
    if (at % 8 === 4 && engine.backend !== 'node') return pipe.read(buffer)
    if (at % 8 === 1 || at % 8 === 5) return file.write(buffer, 0, buffer.length, at * buffer.length)
    if (at % 8 === 2) return file.sync()
    if (at % 8 === 3) return engine.open(`${directory}/data`)
    return data.read(buffer, 0, buffer.length, at * 4096)
  }
  for (let at = 0; at < 16; at++) begin(at).catch(nothing)
  await new Promise(setImmediate) // these are with the kernel now
  for (let at = 16; at < 32; at++) begin(at).catch(nothing) // and these are queued
  if (ending === 'exit') process.exit(7)
  if (ending === 'throw') throw new Error('on purpose')
  parentPort.postMessage('loaded')
  // half of the Workers spin, so that they are terminated while JavaScript runs
  if (number % 2 === 0) for (;;) await data.read(Buffer.alloc(64), 0, 64, 0)
}

load()
