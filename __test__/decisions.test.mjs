// How decisions of the control loops reach listeners. The port is a fake that makes the decisions that a test asks for.
import diagnostics from 'node:diagnostics_channel'
import { EventEmitter } from 'node:events'
import { createRequire } from 'node:module'
import test from 'ava'

const require = createRequire(import.meta.url)
const { Decisions } = require('../dist/lib/engine/decisions.js')
const { OpenFile } = require('../dist/lib/file/open-file.js')
const { makeFileHandle } = require('../dist/lib/file/handle.js')
const { Slots } = require('../dist/lib/operations/slots.js')

const CHANNEL = 'auraio:control'

/** The numbers of decisions go on from test to test, as in a process. */
let decided = 0

/** A fake port that has decisions, and counts the calls made to it. */
class FakePort {
  fetched = 0
  named = 0
  #decisions = []

  decide(lane, phase) {
    this.#decisions.push({ number: ++decided, lane, phase, reason: 'set', from: 1, to: 2 })
    return decided
  }

  decisionsSoFar() {
    return decided
  }

  decisions(after) {
    this.fetched++
    return this.#decisions.filter(({ number }) => number > after)
  }

  lanes() {
    this.named++
    return [
      { id: 0, device: 'disk', mode: 'direct' },
      { id: 1, device: 'disk', mode: 'buffered' },
    ]
  }
}

function subscribe(t) {
  const heard = []
  const listener = (decision) => heard.push(decision)
  diagnostics.subscribe(CHANNEL, listener)
  t.teardown(() => diagnostics.unsubscribe(CHANNEL, listener))
  return heard
}

/** The part of an engine that handles decisions, with a port of its own unless one is given. */
function feed(port = new FakePort()) {
  const emitter = new EventEmitter()
  return { port, emitter, decisions: new Decisions(port, emitter) }
}

// serial, because there is one channel
test.serial('while nobody listens no decision is fetched, and none is kept for later', async (t) => {
  const { port, emitter, decisions } = feed()
  decisions.available(port.decide(0, 'climb'))
  await undefined
  t.is(port.fetched, 0)
  const heard = subscribe(t)
  emitter.on('phase', (decision) => heard.push(decision))
  decisions.available(port.decisionsSoFar())
  await undefined
  t.deepEqual([port.fetched, heard.length], [0, 0])
})

test.serial('the channel gets every decision, and an engine emits those that change a phase', async (t) => {
  const { port, emitter, decisions } = feed()
  const heard = subscribe(t)
  const phases = []
  emitter.on('phase', ({ lane, device, mode, phase }) => phases.push([lane, device, mode, phase]))
  port.decide(0, 'climb')
  port.decide(0, 'climb')
  port.decide(1, 'climb')
  decisions.available(port.decide(0, 'hold'))
  t.is(heard.length, 0, 'not before the caller has returned')
  await undefined
  t.deepEqual(
    heard.map(({ number, lane, phase }) => [number, lane, phase]),
    [
      [decided - 3, 0, 'climb'],
      [decided - 2, 0, 'climb'],
      [decided - 1, 1, 'climb'],
      [decided, 0, 'hold'],
    ],
  )
  t.deepEqual(phases, [
    [0, 'disk', 'direct', 'climb'],
    [1, 'disk', 'buffered', 'climb'],
    [0, 'disk', 'direct', 'hold'],
  ])
  t.true(port.named <= 1, 'names are asked for once')
})

test.serial('the channel gets a decision once, however many engines report it', async (t) => {
  const first = feed()
  const second = feed(first.port)
  const heard = subscribe(t)
  const phases = []
  for (const { emitter } of [first, second]) emitter.on('phase', ({ number }) => phases.push(number))
  const number = first.port.decide(0, 'recover')
  first.decisions.available(number)
  second.decisions.available(number)
  await undefined
  second.decisions.available(number)
  await undefined
  t.deepEqual(
    heard.map((decision) => decision.number),
    [number],
  )
  t.deepEqual(phases, [number, number])
})

test.serial('once and off work as on an EventEmitter', async (t) => {
  const { port, emitter, decisions } = feed()
  const heard = []
  const removed = () => heard.push('removed')
  emitter.on('phase', removed)
  emitter.off('phase', removed)
  emitter.once('phase', ({ phase }) => heard.push(phase))
  port.decide(0, 'search')
  decisions.available(port.decide(0, 'hold'))
  await undefined
  t.deepEqual(heard, ['search'])
})

test.serial('a listener that throws is an uncaught exception, and the next decision is delivered', async (t) => {
  const { port, emitter, decisions } = feed()
  const heard = []
  const thrown = new Promise((resolve) => {
    const others = process.listeners('uncaughtException')
    process.removeAllListeners('uncaughtException')
    process.once('uncaughtException', (error) => {
      for (const other of others) process.on('uncaughtException', other)
      resolve(error)
    })
  })
  emitter.once('phase', () => {
    throw new Error('a listener fails')
  })
  emitter.on('phase', ({ phase }) => heard.push(phase))
  port.decide(0, 'climb')
  decisions.available(port.decide(0, 'hold'))
  t.is((await thrown).message, 'a listener fails')
  t.deepEqual(heard, ['hold'])
})

test.serial('a completion of slot -1 has the number of decisions, and settles no operation', async (t) => {
  const told = []
  let completions
  let dispatch
  const port = {
    read: (slot) => {
      completions.set([-1, 7, 1, slot, 5, 0, -1, -1, 0])
      setImmediate(() => dispatch(3))
      return 0
    },
    write: () => 0,
    flush: () => 0,
  }
  const slots = new Slots(
    (given, array) => {
      ;[dispatch, completions] = [given, array]
      return port
    },
    () => undefined,
    (upTo) => told.push(upTo),
  )
  const file = makeFileHandle(new OpenFile(slots, new Set(), 3, 0, false))
  t.is((await file.read(Buffer.alloc(5), 0, 5, 0)).bytesRead, 5)
  t.deepEqual(told, [2 ** 32 + 7, 2 ** 32 - 1])
})

test.serial(
  'the port gets the class of an operation before each of its calls, and loses it if the call is refused',
  async (t) => {
    const calls = []
    let answer = 0
    const transfer = (name) => (slot) => {
      calls.push(name)
      if (answer === 0) setImmediate(() => dispatchOne(slot))
      return answer
    }
    let completions
    let dispatch
    let bytes = 8
    const dispatchOne = (slot) => {
      completions.set([slot, bytes, 0])
      bytes = 8
      dispatch(1)
    }
    const port = {
      read: transfer('read'),
      write: transfer('write'),
      readv: transfer('readv'),
      writev: transfer('writev'),
      perform: (kind, slot) => transfer(kind)(slot),
      stat: (_, fields) => {
        fields.fill(8)
        return 0
      },
      seekable: () => true,
      nextPriority: (priority) => calls.push(priority),
      flush: () => 0,
    }
    const slots = new Slots(
      (given, array) => {
        ;[dispatch, completions] = [given, array]
        return port
      },
      () => undefined,
    )
    const file = makeFileHandle(new OpenFile(slots, new Set(), 3, 0, false))
    const taken = async (promise) => {
      await promise
      return calls.splice(0)
    }
    const buffer = Buffer.alloc(8)
    t.deepEqual(await taken(file.read(buffer, 0, 8, 0)), ['read'])
    t.deepEqual(await taken(file.read(buffer, { position: 0, priority: 'high' })), [0, 'read'])
    t.deepEqual(await taken(file.read({ buffer, position: 0, priority: 'low' })), [2, 'read'])
    t.deepEqual(await taken(file.read({ length: 8, position: 0, priority: 'low' })), [2, 'read'])
    t.deepEqual(await taken(file.write(buffer, { position: 0, priority: 'normal' })), [1, 'write'])
    t.deepEqual(await taken(file.write('12345678', 0, 'utf8', { priority: 'low' })), [2, 'write'])
    t.deepEqual(await taken(file.readv([buffer], 0, { priority: 'high' })), [0, 'readv'])
    t.deepEqual(await taken(file.writev([buffer], 0, { priority: 'high' })), [0, 'writev'])
    t.deepEqual(await taken(file.readFile({ priority: 'low' })), [2, 'read'])
    t.deepEqual(await taken(file.writeFile(buffer, { priority: 'low', flush: true })), [2, 'write', 2, 'sync'])
    t.deepEqual(await taken(file.readFile()), ['read'])
    bytes = 3
    t.deepEqual(
      await taken(file.write(buffer, { position: 0, priority: 'low' })),
      [2, 'write', 2, 'write'],
      'the rest too',
    )
    const both = Promise.all([file.read(buffer, { priority: 'low' }), file.read(buffer, { priority: 'high' })])
    t.deepEqual(await taken(both), [2, 'read', 0, 'read'], 'one that stood in line')
    answer = -9
    await t.throwsAsync(file.read(buffer, { position: 0, priority: 'high' }), { code: 'EBADF' })
    t.deepEqual(calls, [0, 'read', -1])
  },
)
