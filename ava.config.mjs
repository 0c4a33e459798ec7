/**
 * TypeScript tests run through a loader; the package itself is tested as built, by its own name (`import 'auraio'`). What a
 * test starts as a Worker is plain JavaScript, since Node 20 gives a Worker no loader.
 */
export default {
  files: ['__test__/**/*.test.{ts,mts,cts,mjs}', 'scripts/**/*.test.mjs'],
  extensions: { ts: 'commonjs', mts: 'module', cts: 'commonjs', mjs: true },
  // `gc()` lets a test ask what happens once an object is forgotten.
  nodeArguments: ['--import=tsx', '--expose-gc'],
  // A process for each file: a test that ends its process, or changes its limits, harms no other.
  workerThreads: false,
  timeout: '2m',
}
