// A Worker that makes an engine, runs the usual operations on it (daily.cjs), and ends by itself.
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')
const { daily } = require('./daily.cjs')

daily(new Engine(workerData.options), workerData.path).then((result) => parentPort.postMessage(result))
