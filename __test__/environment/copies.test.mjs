// Several copies of the package in one process: each has its own state, and none disturbs another.
import { copyFileSync, cpSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs'
import path from 'node:path'
import test from 'ava'
import { ROOT, run } from '../helpers/child.mjs'
import { EXPECTED } from '../helpers/daily.cjs'
import { tempDirectory } from '../helpers/temp.mjs'

const BINARY = readdirSync(ROOT).find((name) => /^auraio\..+\.node$/.test(name))

/** The package as in node_modules, but with a copy of the binary, so that the system loads it again. */
function packageCopy(t, place = copyFileSync) {
  const copy = path.join(tempDirectory(t), 'node_modules', 'auraio')
  cpSync(path.join(ROOT, 'dist'), path.join(copy, 'dist'), { recursive: true })
  for (const file of ['package.json', 'binding.js']) copyFileSync(path.join(ROOT, file), path.join(copy, file))
  place(path.join(ROOT, BINARY), path.join(copy, BINARY))
  return copy
}

const ROUTINGS = ['thread', 'core']

const ready = BINARY === undefined ? test.skip : test

for (const routing of ROUTINGS) {
  ready(`two copies of the addon and a link to one work side by side (routing ${routing})`, async (t) => {
    const directory = tempDirectory(t)
    const script = `
      const [directory, routing, ...copies] = args
      const packages = ['auraio', ...copies].map((name) => require(name))
      const engines = packages.map(({ Engine }) => new Engine({ routing }))
      tell(engines.map((engine) => engine.backend).filter((backend) => backend === 'node').length)
      tell(new Set(packages.map(({ Engine }) => Engine)).size)
      for (let round = 0; round < 3; round++) {
        tell(await Promise.all(engines.map((engine, at) => daily(engine, directory + '/' + at))))
      }
      await engines[0].close()
      tell(await daily(engines[1], directory + '/after'))
      await Promise.all(engines.slice(1).map((engine) => engine.close()))`
    const copies = [packageCopy(t), packageCopy(t), packageCopy(t, symlinkSync)]
    const all = Array(4).fill(EXPECTED)
    t.deepEqual(await run(t, script, { args: [directory, routing, ...copies] }), [0, 4, all, all, all, EXPECTED])
  })

  ready(
    `two copies, with engines left open and a FIFO read in flight, end with the process (routing ${routing})`,
    async (t) => {
      const directory = tempDirectory(t)
      const script = `
      const [directory, routing, ...copies] = args
      require('node:child_process').execFileSync('mkfifo', [directory + '/fifo'])
      for (const copy of copies) {
        const engine = new (require(copy).Engine)({ routing })
        const file = await engine.open(directory + '/fifo', 'r+')
        if (engine.backend !== 'node') file.read(Buffer.alloc(10))
        for (let at = 0; at < 40; at++) file.write('x').catch(() => {})
      }
      tell('done')
      await turn()
      process.exit()`
      t.deepEqual(await run(t, script, { args: [directory, routing, packageCopy(t), packageCopy(t)] }), ['done'])
    },
  )

  ready(`a vm context, a second one, and Workers of both copies work at once (routing ${routing})`, async (t) => {
    const directory = path.join(tempDirectory(t), 'files')
    mkdirSync(directory)
    const script = `
      const vm = require('node:vm')
      const { dirname, resolve, join } = require('node:path')
      const { createRequire } = require('node:module')
      const { Worker } = require('node:worker_threads')
      const { once } = require('node:events')
      const [directory, routing, copy] = args
      // CommonJS in a context: relative files are loaded in the context, everything else from outside.
      const loadIn = (context, main) => {
        const modules = new Map()
        const load = (file) => {
          if (modules.has(file)) return modules.get(file).exports
          const module = { exports: {} }
          modules.set(file, module)
          const outside = createRequire(file)
          const inside = (name) => {
            const found = name.startsWith('.') ? outside.resolve(name) : undefined
            return found?.endsWith('.js') && !found.endsWith('binding.js') ? load(found) : outside(name)
          }
          const code = fs.readFileSync(file, 'utf8')
          const run = vm.compileFunction(code, ['exports', 'require', 'module', '__filename', '__dirname'], { parsingContext: context, filename: file })
          run(module.exports, inside, module, file, dirname(file))
          return module.exports
        }
        return load(main)
      }
      const own = require.resolve('auraio')
      const contexts = [0, 1].map(() => vm.createContext({ process, Buffer, AbortController, setImmediate, queueMicrotask, structuredClone, FinalizationRegistry, WeakRef }))
      const packages = [...contexts.map((context) => loadIn(context, own)), require(copy), require(own)]
      tell(new Set(packages.map(({ Engine }) => Engine)).size)
      const engines = packages.map(({ Engine }) => new Engine({ routing }))
      tell(engines.map((engine) => engine.backend).filter((backend) => backend === 'node').length)
      const workers = [0, 1, 2].map((at) => new Worker('./__test__/helpers/daily-worker.cjs', { workerData: { path: directory + '/w' + at, options: { routing } } }))
      const results = workers.map((worker) => once(worker, 'message').then(([result]) => result))
      const exits = workers.map((worker) => once(worker, 'exit').then(([code]) => code))
      tell(await Promise.all([...engines.map((engine, at) => daily(engine, directory + '/' + at)), ...results]))
      tell(await Promise.all(exits))
      // a view of the context's own memory
      const view = vm.runInContext('new Uint8Array(16)', contexts[0])
      const file = await engines[3].open(directory + '/0')
      tell((await file.read(view, 0, 16, 0)).bytesRead)
      await Promise.all(engines.map((engine) => engine.close()))`
    t.deepEqual(await run(t, script, { args: [directory, routing, packageCopy(t)] }), [
      4,
      0,
      Array(7).fill(EXPECTED),
      [0, 0, 0],
      5,
    ])
  })
}
