// Writes dist/index.mjs and dist/index.d.mts after `tsc`: a wrapper that gives `import` the very objects that `require` has,
// so that a program which uses both has one engine, one slot table and one class to ask `instanceof` of.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const dist = new URL('../dist/', import.meta.url)
const names = Object.keys(createRequire(import.meta.url)(new URL('index.js', dist).pathname)).sort()

writeFileSync(
  new URL('index.mjs', dist),
  `import auraio from './index.js'\n\nexport const { ${names.join(', ')} } = auraio\n`,
)
writeFileSync(new URL('index.d.mts', dist), `export * from './index.js'\n`)
