/**
 * An engine: a native half with its rings, the operations on it, and the files that were opened on it. Most programs use
 * the default one and never name it.
 */
import { engineClosed, rejection } from './errors.js'
import { makeFileHandle, type FileHandle } from './file-handle.js'
import { createPort, validateBackend, type Backend } from './native.js'
import { OpenFile } from './open-file.js'
import {
  validateDirect,
  validateFlags,
  validateInteger,
  validateMode,
  validateObject,
  validateOneOf,
  validatePath,
  type OpenOptions,
} from './options.js'
import { checkPermission } from './permission.js'
import { Slots } from './slots.js'
import type { EngineStats } from './stats.js'

/** `core`: the ring of the core that the submission runs on. `thread`: a ring of this thread's own. */
export type Routing = 'core' | 'thread'

export interface EngineOptions {
  /**
   * Forces a backend; beats the environment variable AURAIO_BACKEND.
   * @defaultValue 'auto'
   */
  backend?: Backend | undefined
  /**
   * Which ring an operation goes to.
   * @defaultValue 'thread', which measures better (docs/decisions/0001-routing.md)
   */
  routing?: Routing | undefined
  /**
   * Operations that one ring may hold in flight, 1 to 32768; more wait in order. A ring of 1024 costs about 40 KiB of
   * locked memory (RLIMIT_MEMLOCK).
   * @defaultValue 1024
   */
  queueDepth?: number | undefined
  /**
   * Operations handed to the kernel in one system call, 1 to 1024, if that many come within one tick. More means less
   * CPU per operation; fewer means that the device starts sooner.
   * @defaultValue 32
   */
  submitBatch?: number | undefined
}

const MODE_DEFAULT = 0o666

let defaultEngine: Engine | undefined

/**
 * @example
 * ```js
 * import { Engine } from 'auraio'
 *
 * const engine = new Engine({ queueDepth: 256 })
 * const file = await engine.open('data.bin')
 * await file.read(Buffer.alloc(4096), 0, 4096, 0)
 * await engine.close() // closes the file too
 * ```
 */
export class Engine {
  readonly #slots: Slots
  readonly #files = new Set<OpenFile>()
  #closing: Promise<void> | undefined
  #lastStats: EngineStats | undefined

  /**
   * @throws ERR_AURAIO_BACKEND if `backend` is forced and not to be had here.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ backend: 'auto', routing: 'thread', queueDepth: 512, submitBatch: 8 })
   * await engine.close()
   * ```
   */
  constructor(options: EngineOptions = {}) {
    validateObject(options, 'options')
    const { backend, routing = 'thread', queueDepth = 1024, submitBatch = 32 } = options
    const checked = {
      backend: validateBackend(backend),
      routing: validateOneOf(routing, 'options.routing', ['core', 'thread']),
      queueDepth: validateInteger(queueDepth, 'options.queueDepth', 1, 32768),
      submitBatch: validateInteger(submitBatch, 'options.submitBatch', 1, 1024),
    }
    this.#slots = new Slots(
      (dispatch, completions) => createPort(checked, dispatch, completions),
      (fd, handle, direct) => makeFileHandle(new OpenFile(this.#slots, this.#files, fd, handle, direct)),
    )
  }

  /**
   * The engine of the module's own functions: one for each thread, made when it is first asked for, and again after it
   * was closed.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('data.bin')
   * await file.read()
   * console.log(Engine.default.stats().rings.length)
   * await file.close()
   * ```
   */
  static get default(): Engine {
    if (defaultEngine === undefined || defaultEngine.#closing !== undefined) defaultEngine = new Engine()
    return defaultEngine
  }

  /**
   * Opens a file. As Node's `open`, plus an options object in the place of the mode.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine()
   * const file = await engine.open('new.txt', 'w+', { mode: 0o600 })
   * await file.writeFile('hello')
   * await engine.close()
   * ```
   */
  open(
    path: string | Uint8Array | URL,
    flags: string | number = 'r',
    modeOrOptions: number | string | OpenOptions | null = null,
  ): Promise<FileHandle> {
    try {
      if (this.#closing !== undefined) throw engineClosed()
      const name = validatePath(path)
      const options = isOptions(modeOrOptions) ? modeOrOptions : { mode: modeOrOptions ?? undefined }
      const plainFlags = validateFlags(flags)
      const direct = validateDirect(options.direct, plainFlags)
      const mode = validateMode(options.mode, MODE_DEFAULT)
      checkPermission(name, plainFlags)
      return this.#slots.open(name, plainFlags, mode, direct) as Promise<FileHandle>
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Which backend this engine runs on: `'uring'`, `'threads'` or `'node'`.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.backend)
   * ```
   */
  get backend(): string {
    return this.#slots.port.backend
  }

  /**
   * One sentence that says why it runs on that backend.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.backendReason)
   * ```
   */
  get backendReason(): string {
    return this.#slots.port.backendReason
  }

  /**
   * What the engine has done and is doing. After `close`, how it was at the end.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * for (const ring of Engine.default.stats().rings) console.log(ring.cpu, ring.completed / ring.enters)
   * ```
   */
  stats(): EngineStats {
    if (this.#lastStats !== undefined) return structuredClone(this.#lastStats)
    const { backend } = this
    return { backend, rings: this.#slots.port.stats().rings.map((ring) => ({ ...ring })) }
  }

  /**
   * Resolves once nothing is in flight: what had begun by the call, and what began while that was going on. A process
   * that exits takes what is in flight with it; this is what to await before.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('new.txt', 'w')
   * for (let part = 0; part < 10; part++) file.write('x', part)
   * await Engine.default.drain()
   * await file.close()
   * ```
   */
  drain(): Promise<void> {
    return this.#slots.idle()
  }

  /**
   * Finishes what has begun, closes the handles that are still open, and gives back rings and descriptors. From the call
   * on, `open` rejects with `ERR_AURAIO_ENGINE_CLOSED`. Closing again resolves with the first close.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine()
   * await engine.open('data.bin')
   * await engine.close()
   * ```
   */
  close(): Promise<void> {
    this.#closing ??= this.#shutDown()
    return this.#closing
  }

  /** The same as {@link close}, for `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #shutDown(): Promise<void> {
    const failures: unknown[] = []
    do {
      const closes = await Promise.allSettled([...this.#files].map((file) => file.closeByOwner()))
      for (const close of closes) if (close.status === 'rejected') failures.push(close.reason)
      await this.#slots.idle() // opens that were under way have given their handles by now
    } while (this.#files.size > 0)
    this.#lastStats = this.stats()
    this.#slots.port.shutdown()
    if (failures.length > 0) throw failures[0]
  }
}

function isOptions(value: unknown): value is OpenOptions {
  return typeof value === 'object' && value !== null
}
