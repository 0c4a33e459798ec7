// Compiled by tsc, never run: what is written for node:fs/promises must compile against this package.
import type { FileHandle as NodeFileHandle, open as nodeOpen } from 'node:fs/promises'
import { Engine, open, type EngineStats, type FileHandle, type Lease, type PoolStats } from 'auraio'

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
  console.log(bytesRead, buffer, fresh, text, bytes, nanoseconds, buffers, stats)
}

declare const FileHandleClass: typeof FileHandle
declare const LeaseClass: typeof Lease
