// tsc compiles this file, and nobody runs it: code for node:fs/promises must compile against this package.
import type { BigIntStats, Stats } from 'node:fs'
import type { FileHandle as NodeFileHandle, open as nodeOpen } from 'node:fs/promises'
import {
  Engine,
  lstat,
  open,
  stat,
  type ControlDecision,
  type EngineStats,
  type FileHandle,
  type LaneStats,
  type LatencyHistogram,
  type Lease,
  type Policy,
  type PoolStats,
  type Priority,
} from 'auraio'

type Offered =
  | 'fd'
  | 'read'
  | 'write'
  | 'readv'
  | 'writev'
  | 'readFile'
  | 'writeFile'
  | 'appendFile'
  | 'stat'
  | 'sync'
  | 'datasync'
  | 'truncate'
  | 'chmod'
  | 'chown'
  | 'utimes'
  | 'close'
  | typeof Symbol.asyncDispose

declare const handle: FileHandle
handle satisfies Pick<NodeFileHandle, Offered>
;((path, flags, mode) => open(path, flags, mode)) satisfies (
  ...args: Parameters<typeof nodeOpen>
) => Promise<Pick<NodeFileHandle, Offered>>

export async function uses(): Promise<void> {
  await using file = await open('x', 'r', { direct: true, mode: 0o600 })
  const { bytesRead, buffer }: { bytesRead: number; buffer: Uint32Array } = await file.read(
    new Uint32Array(4),
    0,
    16,
    5n,
  )
  const made: Buffer = (await file.read({ position: 0 })).buffer
  const fresh: Buffer = (await file.read({ length: 100, position: 0 })).buffer
  await open('x', 'r', { direct: 'strict' })
  // @ts-expect-error: neither a boolean nor 'strict'
  await open('x', 'r', { direct: 'lax' })
  const text: string = await file.readFile('utf8')
  const bytes: Buffer = await file.readFile()
  const nanoseconds: bigint = (await file.stat({ bigint: true })).mtimeNs
  const paths: [Stats, BigIntStats] = [await stat('x'), await lstat(new URL('file:///x'), { bigint: true })]
  const either: Stats | BigIntStats = await Engine.default.stat('x', { bigint: bytesRead > 1 })
  const { bytesCopied }: { bytesCopied: number } = await file.copyRange(file, { start: 0n, length: 5, position: 10 })
  // @ts-expect-error: a handle, not a descriptor
  await file.copyRange(3)
  // @ts-expect-error: an offset is a number
  await file.copyRange(file, { start: '0' })
  const { buffers }: { buffers: [Buffer, DataView] } = await file.readv([made, new DataView(made.buffer)])
  const stats: EngineStats = Engine.default.stats()
  file.on('close', () => undefined)
  const engine = new Engine({ pool: { bytesMax: 2 ** 30, debug: false } })
  using lease: Lease = engine.acquire(4096)
  using waited = await engine.acquireAsync(4096, { alignment: 8192, signal: AbortSignal.timeout(1) })
  const lent: Buffer<ArrayBuffer> = lease.buffer
  const disposable: Disposable = lease
  const aligned: Buffer<ArrayBuffer> = engine.allocate(4096, { alignment: 512 })
  engine.registerBuffers([aligned, new DataView(aligned.buffer)])
  await engine.unregisterBuffers([aligned])
  await engine.unregisterBuffers()
  const [adopted]: FileHandle[] = engine.registerFiles([3, file])
  engine.updateFile(file, adopted ?? 3)
  await engine.unregisterFiles([file])
  const { bytesRegistered }: PoolStats = engine.stats().pool
  const tuned = new Engine({ guardP99Ms: 2, policy: 16, inFlightMin: 1, inFlightMax: 64, priority: 'low' })
  tuned.policy = 'aimd'
  tuned.guardP99Ms = undefined
  tuned.setInFlight({ max: 32 })
  const policy: Policy = tuned.policy
  const priority: Priority = file.priority
  file.guardP99Ms = 2
  await open('x', 'r', { guardP99Ms: 2, priority: 'high' })
  await file.read(made, { position: 0, priority: 'high' })
  await file.readv([made], 0, { priority: 'low' })
  await file.write('x', null, 'utf8', { priority: 'low' })
  await file.writeFile('x', { priority: 'low' })
  const [lane]: LaneStats[] = tuned.stats().lanes
  const histogram: LatencyHistogram = tuned.histogram({ lane: file.lane ?? 0, kind: 'total' })
  tuned.on('phase', (decision: ControlDecision) => console.log(decision.device, decision.to))
  console.log(policy, priority, lane?.byClass.high.totalP99Us, histogram.percentiles)
  // @ts-expect-error: no such policy
  tuned.policy = 'fastest'
  // @ts-expect-error: no such class
  await file.read(made, { priority: 'urgent' })
  // @ts-expect-error: found, not set
  file.lane = 1
  // @ts-expect-error: no such event
  tuned.on('phases', () => undefined)
  // @ts-expect-error: memory is asked for by size
  engine.acquire('4096')
  // @ts-expect-error: only what waits can be stopped
  engine.acquire(4096, { signal: AbortSignal.timeout(1) })
  // @ts-expect-error: views, not their memory
  engine.registerBuffers([aligned.buffer])
  // @ts-expect-error: made by an engine only
  new LeaseClass(undefined, 4096)
  console.log(waited.size, lent, disposable, bytesRegistered)
  // @ts-expect-error: bytes, not numbers
  await file.write(5)
  // @ts-expect-error: not one of the backends
  new Engine({ backend: 'bogus' })
  // @ts-expect-error: made by open only
  new FileHandleClass(undefined)
  console.log(paths, either, bytesCopied)
  console.log(bytesRead, buffer, fresh, text, bytes, nanoseconds, buffers, stats)
}

declare const FileHandleClass: typeof FileHandle
declare const LeaseClass: typeof Lease
