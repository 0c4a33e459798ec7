#!/usr/bin/env node
/**
 * Question: which routing is the better default for one event loop? Reads of 4 KiB, 64 in flight, from the page cache and past
 * it, with `routing: 'core'` and `'thread'` in alternating rounds of one process. The length of every read is checked.
 *
 *     node benches/routing.mjs [--rounds n] [--seconds n]
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { Engine } from 'auraio'

const BLOCK = 4096
const DEPTH = 64
const BYTES = 256 * 2 ** 20

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '5' }, seconds: { type: 'string', default: '1' } },
})
const directory = mkdtempSync(path.join(os.tmpdir(), 'auraio-routing-'))
try {
  const file = path.join(directory, 'data')
  writeFileSync(file, Buffer.alloc(BYTES, 1))
  for (const direct of [false, true]) await compare(file, direct)
} finally {
  rmSync(directory, { recursive: true })
}

async function compare(file, direct) {
  const found = { core: [], thread: [] }
  for (let round = 0; round <= Number(values.rounds); round++) {
    for (const routing of round % 2 ? ['core', 'thread'] : ['thread', 'core']) {
      const measured = await measure(file, direct, routing)
      if (round > 0) found[routing].push(measured) // the first warms up
    }
  }
  const rate = (routing) => median(found[routing].map((one) => one.rate))
  const cpu = (routing) => median(found[routing].map((one) => one.cpu))
  const name = direct ? 'O_DIRECT' : 'cached'
  for (const routing of ['core', 'thread']) {
    console.log(`${name} ${routing}: ${Math.round(rate(routing))} reads/s, ${cpu(routing).toFixed(2)} us of CPU each`)
  }
  console.log(`${name} thread / core: ${(rate('thread') / rate('core')).toFixed(2)}`)
}

async function measure(file, direct, routing) {
  const engine = new Engine({ routing })
  const handle = await engine.open(file, 'r', direct ? { direct: true } : {})
  // Memory of WebAssembly is aligned to pages, as O_DIRECT needs it.
  const memory = new WebAssembly.Memory({ initial: (DEPTH * BLOCK) / 65_536 }).buffer
  const end = performance.now() + Number(values.seconds) * 1000
  const cpu = process.cpuUsage()
  const begin = performance.now()
  let reads = 0
  const worker = async (index) => {
    const buffer = Buffer.from(memory, index * BLOCK, BLOCK)
    while (performance.now() < end) {
      const { bytesRead } = await handle.read(buffer, 0, BLOCK, Math.floor(Math.random() * (BYTES / BLOCK)) * BLOCK)
      if (bytesRead !== BLOCK || buffer[0] !== 1) throw new Error('a read answered the wrong bytes')
      reads++
    }
  }
  await Promise.all(Array.from({ length: DEPTH }, (_, index) => worker(index)))
  const { user, system } = process.cpuUsage(cpu)
  const seconds = (performance.now() - begin) / 1000
  await engine.close() // and with it the handle
  return { rate: reads / seconds, cpu: (user + system) / reads }
}

function median(values) {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]
}
