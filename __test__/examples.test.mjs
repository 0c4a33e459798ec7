// Runs every example: the @example blocks of all that index.ts exports, and the JavaScript of README.md. Each is a program of its
// own, in a directory with a data.bin, a hello.txt and this package.
import { execFile } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import test from 'ava'
import * as auraio from 'auraio'
import { nodeAtLeast } from './helpers/backends.mjs'
import { pattern, tempDirectory } from './helpers/temp.mjs'

const root = new URL('..', import.meta.url)
const sources = [
  'README.md',
  'lib/engine/engine.ts',
  'lib/file/handle.ts',
  'lib/fs/open.ts',
  'lib/fs/stat.ts',
  'lib/memory/lease.ts',
  'lib/metrics/schema.ts',
]

function textOf(source) {
  return readFileSync(new URL(source, root), 'utf8')
}

/** The fenced blocks of JavaScript, each with the line that it begins at. In a comment, the leading ` * ` is removed. */
function examples(source) {
  const found = []
  let block
  textOf(source)
    .split('\n')
    .forEach((line, at) => {
      const text = source.endsWith('.ts') ? line.replace(/^\s*\* ?/, '') : line
      if (block === undefined && /^```(js|ts|mjs)$/.test(text)) block = { line: at + 1, code: [] }
      else if (block !== undefined && text === '```') {
        found.push({ line: block.line, code: block.code.join('\n') })
        block = undefined
      } else block?.code.push(text)
    })
  return found
}

for (const source of sources) {
  for (const { line, code } of examples(source)) {
    const name = `${source}:${line} runs`
    if (/\busing\b/.test(code.replaceAll(/\/\/.*/g, '')) && !nodeAtLeast(24)) {
      test.skip(`${name} (Node ${process.version} has no 'using')`, () => undefined)
      continue
    }
    test(name, async (t) => {
      const directory = tempDirectory(t)
      mkdirSync(`${directory}/node_modules`)
      symlinkSync(fileURLToPath(root), `${directory}/node_modules/auraio`, 'dir')
      writeFileSync(`${directory}/data.bin`, pattern(100_000))
      writeFileSync(`${directory}/hello.txt`, 'hello\n')
      writeFileSync(`${directory}/example.mjs`, code)
      const { stderr } = await promisify(execFile)(process.execPath, ['example.mjs'], { cwd: directory })
      t.is(stderr, '')
    })
  }
}

/** The public methods of a class and of its base classes, except Node's. */
function methodsOf(prototype) {
  if ([undefined, Object.prototype, EventEmitter.prototype].includes(prototype)) return []
  return [...Object.getOwnPropertyNames(prototype), ...methodsOf(Object.getPrototypeOf(prototype))]
}

test('every public method and function has an example', (t) => {
  const text = sources.map(textOf).join('\n')
  const documented = [
    ...text.matchAll(/```\n\s+\*\/\n\s*(?:export )?(?:async |static |function |get |class |const )*(\w+)/g),
  ]
  const names = new Set(documented.map(([, name]) => name))
  const expected = Object.entries(auraio).flatMap(([name, value]) => {
    return [name, ...methodsOf(value.prototype)]
  })
  const missing = expected.filter((name) => !names.has(name) && !['FileHandle', 'Engine', 'Lease'].includes(name))
  // the constructor of a handle is not public; the constructors of the other classes have their examples at the class
  t.deepEqual(
    missing.filter((name) => name !== 'constructor'),
    [],
  )
})
