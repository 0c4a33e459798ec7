// A Worker that makes an engine when it starts, and tries to open a file each time it gets a message.
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
