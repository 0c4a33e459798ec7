// A Worker that reads a file past the page cache, with control options of its own, and reports what it saw of the lane.
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')

const BYTES = 4096

async function work({ options, path, reads, expected }) {
  const engine = new Engine(options)
  const file = await engine.open(path, 'r', { direct: true })
  const blocks = expected.length / BYTES
  let wrong = 0
  await Promise.all(
    Array.from({ length: reads }, async (_, at) => {
      const buffer = engine.allocate(BYTES)
      const position = (at % blocks) * BYTES
      await file.read(buffer, 0, BYTES, position)
      if (!buffer.equals(expected.subarray(position, position + BYTES))) wrong++
    }),
  )
  const { lane } = file
  const stats = engine.stats().lanes.find(({ id }) => id === lane)
  parentPort.postMessage({ lane, wrong, limit: stats.inFlightLimit })
  await engine.close()
}

work({ ...workerData, expected: Buffer.from(workerData.expected) })
