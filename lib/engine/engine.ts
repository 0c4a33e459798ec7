/**
 * The class `Engine`: a port with its rings, the operations in flight on it, and the files that were opened on it. Most programs use
 * the default engine and never name it.
 */
import type { Buffer } from 'node:buffer'
import { EventEmitter } from 'node:events'
import type { BigIntStats, Stats } from 'node:fs'
import { engineClosed, rejection } from '../checks/errors.js'
import { validateDirect, validateFlags, validateMode, validatePath } from '../checks/options.js'
import { checkPermission } from '../checks/permission.js'
import {
  validateGuard,
  validatePriority,
  type HandleWish,
  type InFlightBounds,
  type Policy,
  type Priority,
} from '../control/wishes.js'
import { makeFileHandle, type FileHandle } from '../file/handle.js'
import { OpenFile } from '../file/open-file.js'
import type { OpenOptions } from '../file/open-options.js'
import { RegisteredFiles } from '../file/registered.js'
import { statPath, type StatOptions } from '../file/stat-path.js'
import type { Lease } from '../memory/lease.js'
import {
  allocateAligned,
  applyPoolOptions,
  poolOf,
  validateAcquireOptions,
  validateLeaseSize,
  type AcquireAsyncOptions,
  type AcquireOptions,
} from '../memory/memory.js'
import { ALIGNMENT_MIN, type LeasePool } from '../memory/pool.js'
import { RegisteredBuffers } from '../memory/registered.js'
import type { EngineEvents } from '../metrics/decision.js'
import { laneStats, type EngineStats, type LatencyHistogram } from '../metrics/stats.js'
import { createPort, memoryOf } from '../operations/native.js'
import { Slots } from '../operations/slots.js'
import { validateEngineOptions, type CheckedOptions, type EngineOptions } from './options.js'
import { Tuning, type HistogramOptions } from './tuning.js'

const MODE_DEFAULT = 0o666

let defaultEngine: Engine | undefined

/**
 * Emits `'phase'` when the control loop of a lane goes into another phase. The channel `auraio:control` of
 * `node:diagnostics_channel` hears of every decision, also of those that do not change the phase.
 *
 * @example
 * ```js
 * import { Engine } from 'auraio'
 *
 * const engine = new Engine({ queueDepth: 256 })
 * engine.on('phase', ({ device, mode, phase, reason, from, to }) => console.log(device, mode, phase, reason, from, to))
 * const file = await engine.open('data.bin')
 * await file.read(Buffer.alloc(4096), 0, 4096, 0)
 * await engine.close() // closes the file too
 * ```
 */
export class Engine extends EventEmitter<EngineEvents> {
  readonly #tuning: Tuning
  readonly #slots: Slots
  readonly #pool: LeasePool
  readonly #registeredBuffers: RegisteredBuffers
  readonly #registeredFiles: RegisteredFiles
  readonly #files = new Set<OpenFile>()
  #closing: Promise<void> | undefined
  #lastStats: EngineStats | undefined

  /**
   * @throws ERR_AURAIO_BACKEND if `backend` names one that does not work here.
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
    const checked = validateEngineOptions(options)
    super()
    this.#slots = this.#makeSlots(checked)
    const { port } = this.#slots
    this.#tuning = new Tuning(port, this, checked)
    this.#registeredBuffers = new RegisteredBuffers(port)
    this.#registeredFiles = new RegisteredFiles(this.#slots, this.#files, () => this.#tuning.handleWish())
    this.#pool = poolOf(memoryOf(port))
    applyPoolOptions(this.#pool, checked.pool)
  }

  /**
   * The engine of the module's own functions. Each thread has one. It is made when it is first used, and again when it is used after
   * it was closed.
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
   * Opens a file. The arguments are those of Node's `open`, but an options object may take the place of the mode.
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
      const wish = this.#wishOf(options)
      checkPermission(name, plainFlags)
      return this.#slots.open(name, plainFlags, mode, direct, wish) as Promise<FileHandle>
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * What the system knows of the file at a path. Resolves with an `fs.Stats`, or with `bigint` with a `BigIntStats`. The arguments and
   * the errors are those of Node's `stat`.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const { size } = await Engine.default.stat('data.bin')
   * const { mtimeNs } = await Engine.default.stat('data.bin', { bigint: true })
   * console.log(size, typeof mtimeNs)
   * ```
   */
  stat(path: string | Uint8Array | URL, options?: StatOptions & { bigint?: false | undefined }): Promise<Stats>
  stat(path: string | Uint8Array | URL, options: StatOptions & { bigint: true }): Promise<BigIntStats>
  stat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats>
  async stat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats> {
    if (this.#closing !== undefined) throw engineClosed()
    return await statPath(this.#slots, path, options, true)
  }

  /**
   * Like {@link stat}, but if the path is a symbolic link, of the link itself.
   *
   * @example
   * ```js
   * import { symlinkSync } from 'node:fs'
   * import { Engine } from 'auraio'
   *
   * symlinkSync('data.bin', 'link')
   * console.log((await Engine.default.lstat('link')).isSymbolicLink())
   * ```
   */
  lstat(path: string | Uint8Array | URL, options?: StatOptions & { bigint?: false | undefined }): Promise<Stats>
  lstat(path: string | Uint8Array | URL, options: StatOptions & { bigint: true }): Promise<BigIntStats>
  lstat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats>
  async lstat(path: string | Uint8Array | URL, options?: StatOptions): Promise<Stats | BigIntStats> {
    if (this.#closing !== undefined) throw engineClosed()
    return await statPath(this.#slots, path, options, false)
  }

  /**
   * Lends aligned memory. If the kernel allows it, the memory is registered, so that reads and writes on it cost less. Release the
   * lease, or declare it with `using`. The contents are undefined at first. A call takes tens of nanoseconds.
   *
   * `size` is 1 byte to 1 GiB. A lease that is garbage collected without a release gives its memory back all the same, with the
   * warning `AURAIO_LEASE_LEAKED`. On the backend `node` the memory is ordinary and not aligned.
   *
   * @throws ERR_AURAIO_POOL_EXHAUSTED when the pool is at its ceiling (`pool.bytesMax`); {@link acquireAsync} waits there.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('data.bin')
   * {
   *   using block = Engine.default.acquire(4096)
   *   await file.read(block.buffer, 0, 4096, 0)
   *   console.log(block.buffer[0])
   * } // released here
   * const wide = Engine.default.acquire(65536, { alignment: 2 ** 21 })
   * wide.release()
   * await file.close()
   * ```
   */
  acquire(size: number, options?: AcquireOptions): Lease {
    if (this.#closing !== undefined) throw engineClosed()
    const checked = validateLeaseSize(size)
    if (options === undefined) return this.#pool.acquire(checked, ALIGNMENT_MIN)
    return this.#pool.acquire(checked, validateAcquireOptions(options).alignment)
  }

  /**
   * Like {@link acquire}, but if the pool is at its ceiling, it waits until memory is released, here or in another thread. Who asked
   * first is served first. {@link drain} waits for these calls too, and {@link close} rejects them.
   *
   * Free memory that another thread keeps comes back to the pool when that thread releases a lease the next time.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const block = await Engine.default.acquireAsync(4096, { signal: AbortSignal.timeout(1000) })
   * block.release()
   * ```
   */
  acquireAsync(size: number, options?: AcquireAsyncOptions): Promise<Lease> {
    try {
      if (this.#closing !== undefined) throw engineClosed()
      const checked = validateLeaseSize(size)
      const { alignment, signal } = validateAcquireOptions(options)
      return this.#pool.acquireLater(this.#slots, checked, alignment, signal)
    } catch (error) {
      return rejection(error)
    }
  }

  /**
   * Makes an ordinary Buffer that is aligned and zeroed: for O_DIRECT without leases, and for memory that is kept or transferred. The
   * garbage collector frees it. It is not memory of the pool, and not registered. On the backend `node` it is not aligned.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const buffer = Engine.default.allocate(1_000_000)
   * console.log(buffer.length, buffer[0] === 0)
   * ```
   */
  allocate(size: number, options?: AcquireOptions): Buffer<ArrayBuffer> {
    if (this.#closing !== undefined) throw engineClosed()
    return allocateAligned(this.#pool, size, options)
  }

  /**
   * Registers the caller's own memory with the kernel, which then need not pin its pages for each operation. Memory of leases needs
   * no such call. A view has 1 byte to 1 GiB. There may be 16,384 views.
   *
   * The engine keeps the ArrayBuffers reachable until {@link unregisterBuffers}. They can never be transferred again, not even after
   * that. The memory of a WebAssembly module may be registered, but must not grow as long as it is. If the limit of locked memory
   * (RLIMIT_MEMLOCK) does not suffice, less is registered; `stats().pool.bytesRegistered` and `backendReason` tell.
   *
   * @throws ERR_INVALID_ARG_VALUE for views of a SharedArrayBuffer or a resizable ArrayBuffer, views that overlap, and memory that
   * is registered already; ERR_AURAIO_TOO_MANY_BUFFERS; ERR_AURAIO_NOT_REGISTRABLE for memory that belongs to a file. If it throws,
   * nothing has been registered.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const engine = Engine.default
   * const buffer = engine.allocate(1 << 20)
   * engine.registerBuffers([buffer])
   * const file = await open('data.bin')
   * await file.read(buffer, 0, 65536, 0)
   * await file.close()
   * await engine.unregisterBuffers([buffer])
   * ```
   */
  registerBuffers(views: readonly NodeJS.ArrayBufferView[]): void {
    if (this.#closing !== undefined) throw engineClosed()
    this.#registeredBuffers.register(views)
  }

  /**
   * Undoes {@link registerBuffers} for these views, or for all. Resolves when the operations on their ArrayBuffers have completed and
   * the kernel has unregistered them. {@link close} does this too.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const buffer = Buffer.alloc(65536)
   * Engine.default.registerBuffers([buffer])
   * await Engine.default.unregisterBuffers()
   * ```
   */
  async unregisterBuffers(views?: readonly NodeJS.ArrayBufferView[]): Promise<void> {
    await this.#registeredBuffers.unregister(views)
  }

  /**
   * Makes handles for descriptors that somebody else opened (`node:fs`, a socket). The engine duplicates each descriptor, so the
   * number given here may be closed, and used for another file. The duplicate and the number share the file's position. Close the
   * handles, or call {@link unregisterFiles}.
   *
   * If a handle of this engine is given, or its `fd`, the answer has that handle. All these files take places in the rings' tables of
   * registered files, as long as there are places. A file that this engine opened takes one by itself when it is used often.
   *
   * @throws EBADF for a number that is no open descriptor, or a handle that is closed; ERR_AURAIO_FOREIGN_DESCRIPTOR if the backend
   * cannot duplicate descriptors (`node`, Windows). If it throws, nothing has been registered.
   *
   * @example
   * ```js
   * import { closeSync, openSync } from 'node:fs'
   * import { Engine } from 'auraio'
   *
   * const fd = openSync('data.bin')
   * const [file] = Engine.default.registerFiles([fd])
   * closeSync(fd)
   * await file.read(Buffer.alloc(16), 0, 16, 0)
   * await file.close()
   * ```
   */
  registerFiles(files: readonly (number | FileHandle)[]): FileHandle[] {
    if (this.#closing !== undefined) throw engineClosed()
    return this.#registeredFiles.register(files)
  }

  /**
   * Gives a handle another file. Operations from now on go to a duplicate of `file`. Operations that have begun finish on the file
   * before, which is closed then. Nobody is told of an error of that close, so call `sync()` first if it matters.
   *
   * @example
   * ```js
   * import { closeSync, openSync } from 'node:fs'
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine()
   * const log = await engine.open('log.txt', 'a')
   * const fd = openSync('log.1.txt', 'a')
   * engine.updateFile(log, fd)
   * closeSync(fd)
   * await log.write('in the new file')
   * await engine.close()
   * ```
   */
  updateFile(handle: FileHandle, file: number | FileHandle): void {
    if (this.#closing !== undefined) throw engineClosed()
    this.#registeredFiles.update(handle, file)
  }

  /**
   * Closes the handles that {@link registerFiles} made for descriptors of others: these, or all. Handles of files that the engine
   * opened stay open.
   *
   * @example
   * ```js
   * import { closeSync, openSync } from 'node:fs'
   * import { Engine } from 'auraio'
   *
   * const fd = openSync('data.bin')
   * const [file] = Engine.default.registerFiles([fd])
   * await Engine.default.unregisterFiles()
   * console.log(file.fd === -1)
   * closeSync(fd)
   * ```
   */
  async unregisterFiles(handles?: readonly FileHandle[]): Promise<void> {
    await this.#registeredFiles.unregister(handles)
  }

  /**
   * The p99 of completion latency, in milliseconds, above which concurrency is cut at once on the devices that this engine uses.
   * undefined means that it is chosen automatically. It can be set under load.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ guardP99Ms: 2 })
   * engine.guardP99Ms = 5
   * engine.guardP99Ms = undefined
   * await engine.close()
   * ```
   */
  get guardP99Ms(): number | undefined {
    return this.#tuning.wish.guardP99Ms
  }

  set guardP99Ms(milliseconds: number | undefined) {
    this.#tuning.setGuard(milliseconds)
  }

  /**
   * How the in-flight limit is found: `'knee'`, `'aimd'`, or a number that is the limit. It can be set under load. Operations in flight
   * finish, and those that wait follow the new limit.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ policy: 32 })
   * engine.policy = 'knee'
   * await engine.close()
   * ```
   */
  get policy(): Policy {
    return this.#tuning.wish.policy
  }

  set policy(policy: Policy) {
    this.#tuning.setPolicy(policy)
  }

  /**
   * The priority of the handles that are opened from now on without one of their own. Handles that are open keep theirs; to change it,
   * set {@link FileHandle.priority}.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine({ priority: 'low' })
   * const bulk = await engine.open('data.bin')
   * engine.priority = 'high'
   * const interactive = await engine.open('data.bin')
   * console.log(bulk.priority, interactive.priority) // low high
   * await engine.close()
   * ```
   */
  get priority(): Priority {
    return this.#tuning.wish.priority
  }

  set priority(priority: Priority) {
    this.#tuning.setPriority(priority)
  }

  /**
   * The smallest in-flight limit that this engine wishes for. undefined means no wish; then it is 1.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.inFlightMin) // undefined
   * ```
   */
  get inFlightMin(): number | undefined {
    return this.#tuning.wish.inFlightMin
  }

  /**
   * The largest in-flight limit that this engine wishes for. undefined means no wish; then it is as many operations as a ring, or the
   * threads, can hold.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * console.log(Engine.default.inFlightMax) // undefined
   * ```
   */
  get inFlightMax(): number | undefined {
    return this.#tuning.wish.inFlightMax
  }

  /**
   * Sets the smallest and the largest in-flight limit, each 1 to the engine's `queueDepth`. A bound that is left out stays as it was.
   * It can be called under load.
   *
   * @throws ERR_OUT_OF_RANGE if the smallest is above the largest. Then nothing has changed.
   *
   * @example
   * ```js
   * import { Engine } from 'auraio'
   *
   * const engine = new Engine()
   * engine.setInFlight({ min: 4, max: 64 })
   * engine.setInFlight({ max: 128 })
   * console.log(engine.inFlightMin, engine.inFlightMax) // 4 128
   * await engine.close()
   * ```
   */
  setInFlight(bounds: InFlightBounds): void {
    this.#tuning.setBounds(bounds)
  }

  /**
   * The latencies of one lane since the process first used it, those of all engines and threads. (The percentiles of
   * {@link Engine.stats} are those of the last one to two seconds.)
   *
   * @throws ERR_INVALID_ARG_VALUE if there is no such lane. A lane never goes away, so its number is a mistake. The backend `node` has
   * no lanes.
   *
   * @example
   * ```js
   * import { Engine, open } from 'auraio'
   *
   * const file = await open('data.bin')
   * await file.read()
   * if (file.lane !== undefined) {
   *   const { count, percentiles } = Engine.default.histogram({ lane: file.lane, kind: 'total' })
   *   console.log(count, percentiles.at(-1))
   * }
   * await file.close()
   * ```
   */
  histogram(options: HistogramOptions): LatencyHistogram {
    return this.#tuning.histogram(options)
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
   * The numbers of what the engine has done and is doing. After `close`, they are those of its end.
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
    const { port } = this.#slots
    return {
      backend,
      rings: port.stats().rings,
      lanes: port.lanes().map(laneStats),
      pool: this.#pool.stats(),
    }
  }

  /**
   * Resolves once no operation is in flight. It also waits for operations that begin in the meantime. Await it before the process
   * exits, since an exit ends the operations that are in flight.
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
   * Finishes the operations that have begun, closes the handles that are still open, and gives back rings and descriptors. From the
   * call on, `open` rejects with `ERR_AURAIO_ENGINE_CLOSED`. A second call resolves together with the first.
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

  #makeSlots({ port }: CheckedOptions): Slots {
    return new Slots(
      (dispatch, completions) => createPort(port, dispatch, completions),
      (fd, handle, direct, wish) =>
        makeFileHandle(new OpenFile(this.#slots, this.#files, fd, handle, direct).take(wish)),
      (upTo) => this.#tuning.available(upTo),
    )
  }

  /** The wishes of a handle that is opened with these options. */
  #wishOf({ guardP99Ms, priority }: OpenOptions): HandleWish {
    const asked = priority === undefined ? undefined : validatePriority(priority, 'options.priority')
    const own = this.#tuning.handleWish()
    return { priority: asked ?? own.priority, guardP99Ms: validateGuard(guardP99Ms, 'options.guardP99Ms') }
  }

  async #shutDown(): Promise<void> {
    const failures: unknown[] = []
    this.#slots.cancelAcquisitions()
    do {
      const closes = await Promise.allSettled([...this.#files].map((file) => file.closeByOwner()))
      for (const close of closes) if (close.status === 'rejected') failures.push(close.reason)
      await this.#slots.idle() // opens that had begun have added their files by now; these are closed in the next round
    } while (this.#files.size > 0)
    this.#lastStats = this.stats()
    this.#tuning.end()
    this.#slots.port.shutdown()
    this.#registeredBuffers.clear()
    if (failures.length > 0) throw failures[0]
  }
}

function isOptions(value: unknown): value is OpenOptions {
  return typeof value === 'object' && value !== null
}
