import js from '@eslint/js'
import { defineConfig } from 'eslint/config'
import tseslint from 'typescript-eslint'

const NODE_GLOBALS = [
  'AbortController',
  'AbortSignal',
  'Buffer',
  'DOMException',
  'Event',
  'EventTarget',
  'MessageChannel',
  'TextDecoder',
  'TextEncoder',
  'URL',
  'WebAssembly',
  'clearImmediate',
  'clearInterval',
  'clearTimeout',
  'console',
  'gc',
  'performance',
  'process',
  'queueMicrotask',
  'setImmediate',
  'setInterval',
  'setTimeout',
  'structuredClone',
]

const nodeGlobals = Object.fromEntries(NODE_GLOBALS.map((name) => [name, 'readonly']))

export default defineConfig(
  { ignores: ['binding.js', 'binding.d.ts', 'dist/', 'target/', 'npm/'] },
  {
    linterOptions: { reportUnusedDisableDirectives: 'error' },
  },
  js.configs.recommended,
  {
    files: ['**/*.{ts,mts,cts}'],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: { project: ['tsconfig.json', 'tsconfig.test.json'], tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/consistent-type-exports': 'error',
      '@typescript-eslint/explicit-module-boundary-types': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      // isolatedDeclarations asks for some of the annotations that this rule would take away.
      '@typescript-eslint/no-inferrable-types': 'off',
      // An arrow or a return that hands on a void call is plain enough.
      '@typescript-eslint/no-confusing-void-expression': 'off',
      // `void error.stack` reads a getter for what reading it does.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      // Handing on what was caught, which is of unknown type.
      '@typescript-eslint/prefer-promise-reject-errors': ['error', { allowThrowingUnknown: true }],
      // The way to say that an index is within bounds, under noUncheckedIndexedAccess.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // `(value: void) => void` is how Promise itself types a resolve without a value.
      '@typescript-eslint/no-invalid-void-type': 'off',
    },
  },
  {
    // A test hands over wrong types on purpose, to see them refused.
    files: ['__test__/**'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-call': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unnecessary-type-assertion': 'off',
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    // Loads the binding when an engine is first made, and survives if it cannot be.
    files: ['lib/operations/native.ts'],
    rules: { '@typescript-eslint/no-require-imports': 'off' },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    languageOptions: { globals: nodeGlobals },
  },
  {
    rules: {
      eqeqeq: ['error', 'always'],
      'no-console': 'error',
      'no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      'object-shorthand': 'error',
      'prefer-const': 'error',
    },
  },
  {
    files: ['benches/**', '__test__/**', 'bin/**'],
    rules: { 'no-console': 'off' },
  },
  {
    // A file or a function that is longer usually holds two ideas. Comments do not count, so documentation costs nothing.
    files: ['index.ts', 'lib/**', 'bin/**'],
    rules: {
      'max-lines': ['error', { max: 500, skipBlankLines: true, skipComments: true }],
      'max-lines-per-function': ['error', { max: 70, skipBlankLines: true, skipComments: true }],
    },
  },
  {
    files: ['**/*.{ts,mts,cts}'],
    rules: { 'no-unused-vars': 'off', '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }] },
  },
)
