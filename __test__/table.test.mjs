// The table of operations. That each kind has its row and its calls is the compiler's business; here is what types cannot say.
import { createRequire } from 'node:module'
import test from 'ava'

const require = createRequire(import.meta.url)
const { ROWS, TABLE, isTransfer } = require('../dist/lib/operations/table.js')
const { IDLE } = require('../dist/lib/operations/slot.js')

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
  for (const [name, { syscall }] of Object.entries(TABLE)) t.regex(syscall, /^[a-z]+$/, name)
})
