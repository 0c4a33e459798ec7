// The usual operations on a file, in one function. Tests run it in environments where they must still work.
'use strict'
const { readFileSync } = require('node:fs')

const BYTES = Buffer.from('0123456789abcdef'.repeat(4096))
const BLOCK = 4096

/** Opens, writes, syncs, reads, stats, truncates and closes a file. Answers `EXPECTED` if all went well. */
async function daily(engine, path) {
  const file = await engine.open(path, 'w+')
  const places = Array.from({ length: BYTES.length / BLOCK }, (_, at) => at * BLOCK)
  await Promise.all(places.map((at) => file.write(BYTES, at, BLOCK, at)))
  await file.sync()
  await file.datasync()
  const copy = Buffer.alloc(BYTES.length)
  await Promise.all(places.map((at) => file.read(copy, at, BLOCK, at)))
  const { size } = await file.stat()
  await file.truncate(5)
  await file.chmod(0o600)
  const text = await file.readFile('utf8')
  await file.close()
  const missing = await engine.open(`${path}.missing`).catch((error) => error.code)
  return { same: copy.equals(BYTES), size, text, missing, onDisk: readFileSync(path, 'utf8') }
}

const EXPECTED = { same: true, size: BYTES.length, text: '01234', missing: 'ENOENT', onDisk: '01234' }

module.exports = { daily, EXPECTED }
