// Writes dist/index.mjs and dist/index.d.mts after `tsc`. They are a wrapper, so that `import` gets the same objects as
// `require`. A program that uses both then has one engine, one slot table, and one class for `instanceof`.
import { writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'

const dist = new URL('../dist/', import.meta.url)
const names = Object.keys(createRequire(import.meta.url)(new URL('index.js', dist).pathname)).sort()

writeFileSync(
  new URL('index.mjs', dist),
  `import auraio from './index.js'\n\nexport const { ${names.join(', ')} } = auraio\n`,
)
writeFileSync(new URL('index.d.mts', dist), `export * from './index.js'\n`)
