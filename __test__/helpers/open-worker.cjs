// A Worker that tries to open a file whenever it is told to, on an engine that it made at the start.
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')

const engine = new Engine(workerData.options)

parentPort.on('message', async () => {
  try {
    const file = await engine.open(workerData.path)
    await file.close()
    parentPort.postMessage(['done'])
  } catch (error) {
    parentPort.postMessage([error.code])
  }
})
