// The table of operations. That each kind has its row and its calls is the compiler's business; here is what types cannot say.
import { createRequire } from 'node:module'
import test from 'ava'

const require = createRequire(import.meta.url)
const { ROWS, TABLE, isTransfer } = require('../dist/lib/operations/table.js')
const { IDLE } = require('../dist/lib/operations/slot.js')
const { CALLS } = require('../dist/lib/operations/native.js')
const { NativePort } = require('../binding.js')

/** The operations that the port has methods for. */
const METHODS = ['read', 'write', 'readv', 'writev', 'close', 'open', 'acquire']

test('every kind has a number of its own, which leads to its row', (t) => {
  const rows = Object.values(TABLE)
  t.is(new Set(rows.map(({ kind }) => kind)).size, rows.length)
  for (const row of rows) {
    t.not(row.kind, IDLE)
    t.is(ROWS[row.kind], row)
  }
})

test('the transfers are those that have memory and a position', (t) => {
  const transfers = Object.keys(TABLE).filter((name) => isTransfer(TABLE[name].kind))
  t.deepEqual(transfers, ['read', 'write', 'readv', 'writev'])
})

test('an error names a system call', (t) => {
  for (const [name, { syscall }] of Object.entries(TABLE)) t.regex(syscall, /^[a-z_]+$/, name)
})

test('the kinds of the binding have a row each, in the same order', (t) => {
  // crates/auraio-node/tests/kinds.rs compares the kinds of the binding with the table of the core
  const kinds = NativePort.kinds().map((name) => name[0].toLowerCase() + name.slice(1))
  t.deepEqual(Object.keys(CALLS), kinds)
  t.deepEqual(Object.keys(TABLE), [...METHODS, ...kinds])
})
