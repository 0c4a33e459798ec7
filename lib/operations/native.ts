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
import type { Arguments, Dispatch, Performed, Port, PortOptions } from './port.js'

/** `'auto'` takes the first of these that works here: io_uring, threads of our own, `node:fs`. */
export type Backend = 'auto' | 'uring' | 'threads' | 'node'

const BACKENDS: readonly Backend[] = ['auto', 'uring', 'threads', 'node']

/** The environment variable that chooses the backend of a whole process. The option of an engine goes before it. */
const VARIABLE = 'AURAIO_BACKEND'

/** The port as the binding has it: with a method for each operation where {@link Port} has `perform`. */
interface NativePort extends Omit<Port, 'perform'> {
  sync(slot: number, handle: number, dataOnly: boolean): number
  truncate(slot: number, handle: number, length: number): number
  chmod(slot: number, handle: number, mode: number): number
  chown(slot: number, handle: number, uid: number, gid: number): number
  utimes(slot: number, handle: number, accessed: number, modified: number): number
  statLater(slot: number, handle: number): number
}

type Call<K extends Performed> = (port: NativePort, slot: number, handle: number, ...args: Arguments[K]) => number

/** How the binding is called for each operation. */
const CALLS: { readonly [K in Performed]: Call<K> } = {
  sync: (port, slot, handle) => port.sync(slot, handle, false),
  datasync: (port, slot, handle) => port.sync(slot, handle, true),
  truncate: (port, slot, handle, length) => port.truncate(slot, handle, length),
  chmod: (port, slot, handle, mode) => port.chmod(slot, handle, mode),
  // The binding takes 2^32-1 for "leave it as it is". It would take -1 for 0, which is root.
  chown: (port, slot, handle, uid, gid) => port.chown(slot, handle, uid >>> 0, gid >>> 0),
  utimes: (port, slot, handle, accessed, modified) => port.utimes(slot, handle, accessed, modified),
  stat: (port, slot, handle) => port.statLater(slot, handle),
  statBigint: (port, slot, handle) => port.statLater(slot, handle),
}

/** Gives the binding's port a `perform`, by which all its operations are reached. */
function portOf(native: NativePort): Port {
  const perform: Port['perform'] = (kind, slot, handle, ...args) => CALLS[kind](native, slot, handle, ...args)
  return Object.assign(native, { perform })
}

type NativePortConstructor = new (options: PortOptions, dispatch: Dispatch, completions: Int32Array) => NativePort
type Binding = NativeMemory & { NativePort: NativePortConstructor }
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
    if (typeof binding.NativePort === 'function') return binding as Binding
    return { error: new Error(`${file} has no NativePort`) }
  } catch (error) {
    return { error }
  }
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message.split('\n', 1)[0]!
}
