// The schema of the numbers: TypeScript's table, the core's declaration and the objects of engine.stats() have the same rows.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Engine, statsSchema } from 'auraio'
import test from 'ava'
import { targets } from './helpers/backends.mjs'
import { pattern, tempFile } from './helpers/temp.mjs'

const require = createRequire(import.meta.url)

test('the table and the declaration in the core are the same, in the same order', (t) => {
  const core = require('../binding.js').statsSchema()
  t.deepEqual(statsSchema, core)
  for (const [group, rows] of Object.entries(statsSchema))
    t.deepEqual(Object.keys(rows), Object.keys(core[group]), group)
})

/** Checks that `numbers` has what `rows` say and, besides, the names `others`. */
function hasRows(t, numbers, rows, others = []) {
  t.deepEqual(Object.keys(numbers).sort(), [...Object.keys(rows), ...others].sort())
  for (const [name, { unit }] of Object.entries(rows)) {
    t.is(typeof numbers[name], unit === 'flag' ? 'boolean' : 'number', name)
  }
}

for (const { name, skipped } of targets({ withOracle: false })) {
  if (skipped !== undefined) continue
  test(`${name}: engine.stats() has a number for each row, and no other`, async (t) => {
    const path = tempFile(t)
    writeFileSync(path, pattern(4096))
    const engine = new Engine({ backend: name })
    const file = await engine.open(path)
    await file.read(Buffer.alloc(4096), 0, 4096, 0)
    const { rings, lanes, pool } = engine.stats()
    t.true(rings.length > 0)
    for (const ring of rings) hasRows(t, ring, statsSchema.rings, ['cpu', 'numaNode'])
    t.is(lanes.length > 0, name !== 'node')
    for (const lane of lanes) {
      hasRows(t, lane, statsSchema.lanes, ['id', 'device', 'mode', 'policy', 'phase', 'byClass'])
      t.deepEqual(Object.keys(lane.byClass), ['high', 'normal', 'low'])
      for (const numbers of Object.values(lane.byClass)) hasRows(t, numbers, statsSchema.byClass)
    }
    hasRows(t, pool, statsSchema.pool)
    await engine.close()
  })
}
