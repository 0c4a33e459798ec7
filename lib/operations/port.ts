/**
 * The port: what the TypeScript side needs of an engine's native half, and nothing more.
 *
 * It has two implementations: the Rust binding (`crates/auraio-node`), and lib/operations/portable.ts over `node:fs` for where the
 * binding cannot be loaded. Everything crosses as numbers and views. An operation is one call, with the number of a slot that the
 * caller chose. Its completion comes back as three 32-bit numbers, the first of which is the slot.
 *
 * The caller keeps every view, and its ArrayBuffer, reachable from the call until the slot's completion.
 */
import type { Wish, WishOptions } from '../control/wishes.js'
import type { NativeDecision } from '../metrics/decision.js'
import type { NativeHistogram, NativeLaneStats, RingStats } from '../metrics/stats.js'

/** The number by which a port knows an open file. */
export type Handle = number

/** A path with no NUL in it. */
export type Path = string | Uint8Array

/**
 * The operations that have no method of their own in the port, and the arguments of each: the open files that it works on (none,
 * one or two), and whatever else it takes. They stand in the order of crates/auraio-node/src/kinds.rs.
 */
export interface Arguments {
  sync: [file: Handle]
  syncData: [file: Handle]
  statFile: [file: Handle, bigint: boolean]
  /** Without `follow`, it is the stat of the link itself if the path's last part is one. */
  statPath: [path: Path, bigint: boolean, follow: boolean]
  truncate: [file: Handle, length: number]
  rename: [from: Path, to: Path]
  removeFile: [path: Path]
  removeDir: [path: Path]
  createDir: [path: Path, mode: number]
  hardLink: [from: Path, to: Path]
  symlink: [text: Path, path: Path]
  setMode: [file: Handle, mode: number]
  /** -1 leaves the user or the group as it is. */
  setOwner: [file: Handle, uid: number, gid: number]
  /** Seconds since 1970, with fractions. */
  setTimes: [file: Handle, accessed: number, modified: number]
  copyFileRange: [source: Handle, start: number, target: Handle, position: number, length: number]
}

/** The kinds of operations that {@link Port.perform} takes. */
export type Performed = keyof Arguments

export interface Port {
  /** `'uring'`, `'threads'`, or `'node'` for the portable one. */
  readonly backend: string
  /** One sentence that says why it is this backend. */
  readonly backendReason: string

  /*
   * Operations. Each answers 0 if it was accepted: then a completion will come. A negated errno means that it was refused: then
   * no completion will come. `slot` is below SLOTS_MAX, and no other operation uses it. `handle` is the number that `open`
   * completed with. `position` -1 is the file's own position.
   */
  read(slot: number, handle: number, view: ArrayBufferView, ...part: Part): number
  write(slot: number, handle: number, view: ArrayBufferView, ...part: Part): number
  readv(slot: number, handle: number, views: ArrayBufferView[], position: number): number
  writev(slot: number, handle: number, views: ArrayBufferView[], position: number): number
  /** Every other operation. */
  perform<K extends Performed>(kind: K, slot: number, ...args: Arguments[K]): number
  /** Waits for the handle's operations, then closes the file. From the call on, no other method knows the handle. */
  close(slot: number, handle: number): number
  /**
   * Completes with the descriptor and the new handle. With `bounce`, `flags` has O_DIRECT, and transfers of any alignment are
   * accepted.
   */
  open(slot: number, path: Path, flags: number, mode: number, bounce: boolean): number
  /**
   * Calls `fstat` at once, if that cannot block. Answers 0 when `out` is filled, a negated errno, or 1 when it could block: then
   * the operation `statFile` is to be performed. `out` has {@link STAT_FIELDS} numbers.
   */
  stat(handle: number, out: StatFields): number
  /** Whether the file has positions: false for pipes, sockets and terminals. Never waits. */
  seekable(handle: number): boolean
  /**
   * Two numbers for a direct file: the addresses of its transfers have to be multiples of the first, and positions and lengths of
   * the second. An empty list for any other file, and where the numbers are not known.
   */
  directAlignment(handle: number): number[]
  /** Hands over what the operation `statFile` or `statPath` found. To be called once, after the completion. */
  takeStat(slot: number, out: StatFields): void
  /**
   * Waits for a block of the pool, in line with the acquisitions of other threads. Completes with 0 or a negated errno. After 0,
   * `takeBlock` hands the ArrayBuffer over, once. Size and alignment are those of `lendBlock` (crates/auraio-node/src/lend.rs).
   */
  acquireLater(slot: number, bytes: number, alignment: number): number
  takeBlock(slot: number): ArrayBuffer | number
  /**
   * Registers memory with the kernel, or as much of it as the kernel's limits allow. Answers a number for
   * {@link unregisterMemory}, or a negated errno. Until it is unregistered, the caller keeps the memory where it is.
   */
  registerMemory(view: ArrayBufferView): number
  /** To be called only when no operation on the memory is in flight. */
  unregisterMemory(id: number): void
  /** Makes the rings put the file into their tables of registered files, the next time that each of them uses it. */
  registerFile(handle: number): void
  /** Makes a duplicate of a descriptor. Answers its own handle and the flags it was opened with, or a negated errno. */
  adopt(fd: number): Adopted | number

  /*
   * What controls how many operations a device is given. A priority is a number: 0 is high, 1 normal, 2 low. The arguments have been
   * checked, and no call waits.
   */
  /** Sets the priority of the next operation that this port accepts, and of that one only. -1 takes it back. */
  nextPriority(priority: number): void
  /** Sets the priority of a file's operations from now on. Answers 0, or a negated errno. */
  setPriority(handle: number, priority: number): number
  /** Sets a file's own guard; 0 is none. Answers 0, or a negated errno. */
  setGuard(handle: number, milliseconds: number): number
  /**
   * Replaces the wish of the engine. Without a policy, the policy stays as it was, and does not count as the one that was asked for
   * last. Answers 0, or a negated errno.
   */
  setWish(wish: WishOptions): number
  /** The number of the lane of a file, or -1 if it has none. */
  laneOf(handle: number): number
  /** Every lane of the process. */
  lanes(): NativeLaneStats[]
  /** The latencies of a lane since the process first used it; null if there is no such lane. */
  histogram(lane: number, kind: 'completion' | 'total'): NativeHistogram | null
  /** How many decisions the control loops of the process have taken. */
  decisionsSoFar(): number
  /** The decisions after the one with this number, the oldest first. Only the latest are kept. */
  decisions(after: number): NativeDecision[]

  /** Asks for the operation to end early. It still completes: with `-ECANCELED`, or as it would have without the call. */
  cancel(slot: number): void

  /**
   * Hands the queued operations to the kernel, in one system call. With `reap`, the completions that are there by then are written
   * to the array `completions`, and the answer is how many. If the array is full, more may be waiting: call again. Without `reap`,
   * the answer is 0, and completions come through the dispatcher in the next turn of the event loop.
   */
  flush(reap: boolean): number
  /** The numbers of the port's rings. */
  stats(): PortStats
  /** Gives rings and descriptors back. All operations have completed by then. Every later call answers `-EBADF`. */
  shutdown(): void
}

export interface Adopted {
  fd: number
  handle: number
  flags: number
}

/** Which part of a view, and the position in the file. A position alone means the whole view. */
export type Part = [offset: number, length: number, position: number] | [position: number]

export interface PortStats {
  rings: RingStats[]
}

/** The options of a port. */
export interface PortOptions {
  /** `'auto'`, `'uring'` or `'threads'`. */
  backend: string
  /** `'core'` or `'thread'`. */
  routing: string
  /** Operations that one ring may hold in flight, 1 to 32768. */
  queueDepth: number
  /** How many queued SQEs are handed to the kernel without waiting for a flush, 1 to 1024. 0 means that the core finds it. */
  submitBatch: number
  /** Whether rings register memory and files. */
  register: boolean
  wish: Wish
}

/**
 * The port calls it from the event loop, once for each wake-up. `count` completions are in the array `completions` that the port
 * was made with. It never throws.
 */
export type Dispatch = (count: number) => void

/**
 * How many numbers one completion has in the array: the slot, `low` and `high`. `low` is a negated errno or the low 32 bits of the
 * result, and `high` is -1 or the high 32 bits. An `open` completes with the descriptor in `low` and the handle in `high`. If the
 * slot is -1, it is no completion: the control loops have taken decisions, and `low` and `high` have the number of the latest.
 */
export const COMPLETION_STRIDE = 3

/** How many slots one port may use. The largest number of a slot is one less. */
export const SLOTS_MAX: number = 1 << 20

/**
 * The fields of a stat, in the order in which they are written: dev, mode, nlink, uid, gid, rdev, blksize, ino, size,
 * blocks, then seconds and nanoseconds of atime, mtime, ctime and birthtime.
 */
export const STAT_FIELDS = 18

/** The numbers of one stat, in the order of {@link STAT_FIELDS}. */
export type StatFields = Float64Array | BigInt64Array
