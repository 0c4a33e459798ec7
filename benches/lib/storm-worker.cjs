/**
 * A Worker of the storm: it keeps 32 reads in flight until it is terminated. It is CommonJS, because Node 20 aborts if a Worker is
 * terminated while a module with a top-level await begins ("Check failed: (location_) != nullptr").
 */
const { constants } = require('node:fs')
const { parentPort, workerData } = require('node:worker_threads')
const { allocateBlocks, BLOCK_BYTES, isStamped } = require('../../dist/bin/bench/blocks.js')

const READS = 32

const { kind, path, fileBytes, direct } = workerData
if (kind === 'empty') {
  parentPort.on('message', () => {}) // stays until it is terminated
  parentPort.postMessage('started')
} else {
  void readOn()
}

async function readOn() {
  const { open } = require(kind === 'auraio' ? 'auraio' : 'node:fs/promises')
  const file = await open(path, constants.O_RDONLY | (direct ? constants.O_DIRECT : 0))
  const memory = allocateBlocks(READS)
  const reads = Array.from({ length: READS }, (_, at) => keepReading(file, memory, at))
  parentPort.postMessage('started')
  await Promise.all(reads)
}

async function keepReading(file, { bytes, words }, at) {
  const buffer = bytes.subarray(at * BLOCK_BYTES, (at + 1) * BLOCK_BYTES)
  for (;;) {
    const block = Math.floor(Math.random() * (fileBytes / BLOCK_BYTES))
    const { bytesRead } = await file.read(buffer, 0, BLOCK_BYTES, block * BLOCK_BYTES)
    if (bytesRead !== BLOCK_BYTES || !isStamped(words, at, block)) throw new Error(`wrong bytes in block ${block}`)
  }
}
