// A Worker that reads into leases. It does some reads, leaves some leases unreleased, and ends; with `storm` it reads until it is
// terminated.
'use strict'
const { readFileSync } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')

const { options, path, storm } = workerData
const BYTES = 65536

async function work() {
  const engine = new Engine(options)
  // past the page cache if possible, so that reads are in flight when the Worker ends
  const direct = storm && (await engine.open(path, 'r', { direct: true }).catch(() => undefined))
  const file = direct || (await engine.open(path))
  const bytes = readFileSync(path)
  const blocks = bytes.length / BYTES
  const read = async (at) => {
    const lease = engine.acquire(BYTES)
    await file.read(lease.buffer, 0, BYTES, (at % blocks) * BYTES)
    const from = (at % blocks) * BYTES
    const isRight = lease.buffer.equals(bytes.subarray(from, from + BYTES))
    if (at % 5 !== 0) lease.release()
    return isRight
  }
  if (storm) {
    const forever = async (at) => {
      for (;;) await read(at++)
    }
    for (let at = 0; at < 32; at++) forever(at)
    await new Promise(setImmediate)
    parentPort.postMessage('reads')
    return
  }
  const answers = await Promise.all(Array.from({ length: 40 }, (_, at) => read(at)))
  parentPort.postMessage(answers.every(Boolean) ? 'the right bytes' : 'wrong bytes')
}

work()
