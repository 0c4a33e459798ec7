/**
 * Chooses and makes the native half. The only importer of the generated binding; where that cannot be loaded, the package
 * still works, over `node:fs`, and `engine.backendReason` says why.
 */
import { existsSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { backendMissing } from '../checks/errors.js'
import { validateOneOf } from '../checks/options.js'
import { PortablePort } from './portable.js'
import type { Dispatch, Port, PortConstructor, PortOptions } from './port.js'
import type { NativeMemory } from '../memory/blocks.js'

/** `auto` takes the best that works here: io_uring, then threads of our own, then `node:fs`. */
export type Backend = 'auto' | 'uring' | 'threads' | 'node'

const BACKENDS: readonly Backend[] = ['auto', 'uring', 'threads', 'node']

/** Set for a whole process; the option of an engine beats it. */
const VARIABLE = 'AURAIO_BACKEND'

type Binding = NativeMemory & { NativePort: PortConstructor }
type Loaded = Binding | { error: unknown }

let loaded: Loaded | undefined

/** What was asked for: by the option, else by the environment, else nothing in particular. */
export function validateBackend(option: unknown): Backend {
  if (option !== undefined) return validateOneOf(option, 'options.backend', BACKENDS)
  const variable = process.env[VARIABLE]
  if (variable === undefined || variable === '') return 'auto'
  return validateOneOf(variable, VARIABLE, BACKENDS)
}

/** @throws ERR_AURAIO_BACKEND if the options name a backend that is not to be had here. */
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
    port = new loaded.NativePort(options, dispatch, completions)
  } catch (error) {
    if (backend !== 'auto') throw backendMissing(backend, firstLine(error), error)
    return new PortablePort(options, dispatch, completions, `the native engine could not start: ${firstLine(error)}`)
  }
  if (backend === 'auto' || port.backend === backend) return port
  const { backendReason } = port
  port.shutdown()
  throw backendMissing(backend, backendReason, undefined)
}

/** The binding's half of memory, if the port is the binding's. */
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
