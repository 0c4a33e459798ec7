// The imports of lib/ go one way: no file imports itself by way of others, and no folder does. Imports of types count too, since
// a reader has to follow them just the same.
import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const LIB = fileURLToPath(new URL('../lib', import.meta.url))

/** `import ... from './x.js'`, `export ... from './x.js'`, `import './x.js'`, and `import('./x.js')` of a type or at run time. */
const IMPORT = /(?:\bfrom\s+|\bimport\s+|\bimport\s*\(\s*|\brequire\s*\(\s*)['"](\.{1,2}\/[^'"]+)['"]/g

/** The files of lib/ by name, each with the names of the files that it imports. */
function importsOfLib() {
  const names = readdirSync(LIB, { recursive: true }).filter((name) => name.endsWith('.ts'))
  return new Map(
    names.map((name) => {
      const text = withoutComments(readFileSync(path.join(LIB, name), 'utf8'))
      return [portable(name), importsOf(text).map((target) => portable(path.join(path.dirname(name), target)))]
    }),
  )
}

function importsOf(text) {
  return [...text.matchAll(IMPORT)].map(([, target]) => target.replace(/\.js$/, '.ts'))
}

function withoutComments(text) {
  return text.replace(/\/\*[\s\S]*?\*\//g, '').replace(/^\s*\/\/.*$/gm, '')
}

function portable(name) {
  return path.normalize(name).split(path.sep).join('/')
}

/** The same graph between the top-level folders. */
function between(imports, folderOf) {
  const folders = new Map()
  for (const [name, targets] of imports) {
    const from = folderOf(name)
    const known = folders.get(from) ?? []
    folders.set(from, [...known, ...targets.map(folderOf).filter((to) => to !== from)])
  }
  return folders
}

/** The names on one cycle, the first of them at both ends; undefined if there is none. */
function cycleIn(imports) {
  const done = new Set()
  const trail = []
  const visit = (name) => {
    if (trail.includes(name)) return [...trail.slice(trail.indexOf(name)), name]
    if (done.has(name)) return undefined
    trail.push(name)
    for (const target of imports.get(name) ?? []) {
      const cycle = visit(target)
      if (cycle !== undefined) return cycle
    }
    trail.pop()
    done.add(name)
    return undefined
  }
  for (const name of imports.keys()) {
    const cycle = visit(name)
    if (cycle !== undefined) return cycle
  }
  return undefined
}

const folderOf = (name) => name.split('/')[0]

test('every import of lib/ is of a file that is there', (t) => {
  const imports = importsOfLib()
  t.true(imports.size > 20)
  for (const [name, targets] of imports) {
    for (const target of targets) if (!target.startsWith('..')) t.true(imports.has(target), `${name} imports ${target}`)
  }
})

test('every file of lib/ is in a folder', (t) => {
  t.deepEqual(
    [...importsOfLib().keys()].filter((name) => !name.includes('/')),
    [],
  )
})

test('no file of lib/ imports itself by way of others', (t) => {
  t.is(cycleIn(importsOfLib())?.join(' -> '), undefined)
})

test('no folder of lib/ imports itself by way of others', (t) => {
  t.is(cycleIn(between(importsOfLib(), folderOf))?.join(' -> '), undefined)
})

test('index.ts re-exports, and does nothing else', (t) => {
  const text = withoutComments(readFileSync(path.join(LIB, '../index.ts'), 'utf8'))
  t.is(text.replace(/export (?:type )?\{[^}]*\} from '[^']+'/g, '').trim(), '')
})

test('only operations/native.ts imports the generated binding', (t) => {
  const importers = [...importsOfLib().keys()].filter((name) => /['"/]binding(\.js|\.cjs)?['"]/.test(source(name)))
  t.deepEqual(importers, ['operations/native.ts'])
})

function source(name) {
  return withoutComments(readFileSync(path.join(LIB, name), 'utf8'))
}

test('a cycle is found, whatever form its imports have', (t) => {
  const text = "import type { A } from './a.js'\nexport * from '../b.js'\nlet c: import('./c.js').C\nimport './d.js'\n"
  t.deepEqual(importsOf(text), ['./a.ts', '../b.ts', './c.ts', './d.ts'])
  const files = new Map([
    ['one/a.ts', ['two/b.ts']],
    ['two/b.ts', []],
    ['two/c.ts', ['one/d.ts']],
    ['one/d.ts', []],
  ])
  t.is(cycleIn(files), undefined)
  t.deepEqual(cycleIn(between(files, folderOf)), ['one', 'two', 'one'])
  files.set('two/b.ts', ['one/a.ts'])
  t.deepEqual(cycleIn(files), ['one/a.ts', 'two/b.ts', 'one/a.ts'])
})
