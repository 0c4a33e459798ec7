// A directory for a test, which is removed when the test ends.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'

export function tempDirectory(t) {
  const directory = mkdtempSync(path.join(process.env.AURAIO_TEST_DIR ?? tmpdir(), 'auraio-test-'))
  t.teardown(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

export function tempFile(t, name = 'file.bin') {
  return path.join(tempDirectory(t), name)
}

/** Bytes that differ from position to position in a block, and from block to block. */
export function pattern(length, seed = 1) {
  const bytes = Buffer.alloc(length)
  let state = seed >>> 0 || 1
  for (let at = 0; at < length; at++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    bytes[at] = state
  }
  return bytes
}

/** Like deepEqual, but fast for megabytes, and with a short message when it fails. */
export function sameBytes(t, actual, expected) {
  if (Buffer.compare(actual, expected) === 0) return t.pass()
  const first = actual.findIndex((byte, at) => byte !== expected[at])
  t.fail(`${actual.length} bytes, ${expected.length} expected; the first difference is at ${first}`)
}
