// A Worker that makes an engine, does a day's work on it, and ends by itself.
'use strict'
const { parentPort, workerData } = require('node:worker_threads')
const { Engine } = require('auraio')
const { daily } = require('./daily.cjs')

daily(new Engine(workerData.options), workerData.path).then((result) => parentPort.postMessage(result))
