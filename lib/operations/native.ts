/**
 * Chooses and makes the port of an engine. Only this file imports the generated binding. If the binding cannot be loaded, the
 * package works over `node:fs`, and `engine.backendReason` says why.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { backendMissing } from '../checks/errors.js'
import { validateOneOf } from '../checks/options.js'
import type { NativeMemory } from '../memory/blocks.js'
import { PortablePort } from './portable.js'
import type { Arguments, Dispatch, Handle, Path, Performed, Port, PortOptions } from './port.js'

/** `'auto'` takes the first of these that works here: io_uring, threads of our own, `node:fs`. */
export type Backend = 'auto' | 'uring' | 'threads' | 'node'

const BACKENDS: readonly Backend[] = ['auto', 'uring', 'threads', 'node']

/** The environment variable that chooses the backend of a whole process. The option of an engine goes before it. */
const VARIABLE = 'AURAIO_BACKEND'

/** The port as the binding has it: its `perform` takes every operation by its number, and the arguments as two lists. */
interface NativePort extends Omit<Port, 'perform'> {
  perform(slot: number, kind: number, handle: Handle, numbers: readonly number[], paths: readonly Path[]): number
}

/** What the binding gets for an operation. Without an open file, the handle is {@link NO_FILE}. */
type Call = [handle: Handle, numbers: readonly number[], paths?: readonly Path[]]

/** The binding does not look at the handle of an operation on no open file. */
const NO_FILE: Handle = 0

/** How the binding is called for each operation. A row's place is its number: the rows stand in the order of kinds.rs. */
export const CALLS: { readonly [K in Performed]: (...args: Arguments[K]) => Call } = {
  sync: (file) => [file, []],
  syncData: (file) => [file, []],
  statFile: (file) => [file, []],
  statPath: (path, _, follow) => [NO_FILE, [Number(follow)], [path]],
  truncate: (file, length) => [file, [length]],
  rename: (from, to) => [NO_FILE, [], [from, to]],
  removeFile: (path) => [NO_FILE, [], [path]],
  removeDir: (path) => [NO_FILE, [], [path]],
  createDir: (path, mode) => [NO_FILE, [mode], [path]],
  hardLink: (from, to) => [NO_FILE, [], [from, to]],
  symlink: (text, path) => [NO_FILE, [], [text, path]],
  setMode: (file, mode) => [file, [mode]],
  setOwner: (file, uid, gid) => [file, [uid, gid]],
  setTimes: (file, accessed, modified) => [file, [accessed, modified]],
  copyFileRange: (source, start, target, position, length) => [source, [start, target, position, length]],
}

const KINDS = Object.keys(CALLS) as Performed[]

const NUMBERS = Object.fromEntries(KINDS.map((kind, number) => [kind, number])) as Record<Performed, number>

/** Gives the binding's port the `perform` of {@link Port}. */
function portOf(native: NativePort): Port {
  const performNative = native.perform.bind(native)
  const perform: Port['perform'] = (kind, slot, ...args) => {
    const [handle, numbers, paths = []] = CALLS[kind](...args)
    return performNative(slot, NUMBERS[kind], handle, numbers, paths)
  }
  return Object.assign(native, { perform })
}

/** The names of the binding's kinds, in this file's spelling: `statPath` for `StatPath`. */
function kindsOf({ NativePort }: Binding): string[] {
  return NativePort.kinds().map((name) => name.charAt(0).toLowerCase() + name.slice(1))
}

interface NativePortClass {
  new (options: PortOptions, dispatch: Dispatch, completions: Int32Array): NativePort
  /** The names of the operations that `perform` takes, in the order of their numbers. */
  kinds(): string[]
}

type Binding = NativeMemory & { NativePort: NativePortClass }
type Loaded = Binding | { error: unknown }

let loaded: Loaded | undefined

/** The backend that was asked for: by the option, or else by the environment variable. */
export function validateBackend(option: unknown): Backend {
  if (option !== undefined) return validateOneOf(option, 'options.backend', BACKENDS)
  const variable = process.env[VARIABLE]
  if (variable === undefined || variable === '') return 'auto'
  return validateOneOf(variable, VARIABLE, BACKENDS)
}

/** @throws ERR_AURAIO_BACKEND if the options name a backend that does not work here. */
export function createPort(
  options: PortOptions & { backend: Backend },
  dispatch: Dispatch,
  completions: Int32Array,
): Port {
  const { backend } = options
  if (backend === 'node') return new PortablePort(options, dispatch, completions, "the backend 'node' was asked for")
  loaded ??= load()
  if ('error' in loaded) {
    const reason = `the native binding could not be loaded: ${firstLine(loaded.error)}`
    if (backend !== 'auto') throw backendMissing(backend, reason, loaded.error)
    return new PortablePort(options, dispatch, completions, reason)
  }
  let port: Port
  try {
    port = portOf(new loaded.NativePort(options, dispatch, completions))
  } catch (error) {
    if (backend !== 'auto') throw backendMissing(backend, firstLine(error), error)
    return new PortablePort(options, dispatch, completions, `the native engine could not start: ${firstLine(error)}`)
  }
  if (backend === 'auto' || port.backend === backend) return port
  const { backendReason } = port
  port.shutdown()
  throw backendMissing(backend, backendReason, undefined)
}

/** The binding's functions for memory; undefined if the port is not the binding's. */
export function memoryOf(port: Port): NativeMemory | undefined {
  if (port instanceof PortablePort || loaded === undefined || 'error' in loaded) return undefined
  return loaded
}

function load(): Loaded {
  try {
    // `napi build` writes the binding to the root of the package. A build may also put a copy into dist/.
    const copied = path.join(__dirname, '../../binding.js')
    const file = existsSync(copied) ? copied : path.join(__dirname, '../../../binding.js')
    const binding = require(file) as Partial<Binding>
    if (typeof binding.NativePort?.kinds !== 'function') return { error: new Error(`${file} is of another version`) }
    // The numbers of operations cross, and not their names. With other numbers, another operation would be performed.
    const same = kindsOf(binding as Binding).join() === KINDS.join()
    return same ? (binding as Binding) : { error: new Error(`${file} is of another version: its operations differ`) }
  } catch (error) {
    return { error }
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0]!
}
