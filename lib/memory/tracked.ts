/**
 * Memory that is not the caller's alone: blocks that the pool has lent, buffers that were registered. Its ArrayBuffer
 * carries a note of it, so that an operation finds it with one look, and tells it when it begins and when it has ended.
 * An ordinary ArrayBuffer has no note, and costs that look.
 */
import process from 'node:process'
import { markAsUntransferable } from 'node:worker_threads'
import { untransferable } from '../checks/errors.js'

/** What wants to know of the operations on an ArrayBuffer. */
export interface Tracked {
  /** @throws if no operation may be started on it */
  begin(): void
  end(): void
}

const TRACKED: unique symbol = Symbol('auraio.tracked')

interface Note {
  [TRACKED]?: Tracked
}

export function trackedOf(memory: ArrayBufferLike): Tracked | undefined {
  return (memory as Note)[TRACKED]
}

/** False if the ArrayBuffer takes no note: it was frozen. */
export function track(memory: ArrayBuffer, tracked: Tracked): boolean {
  return Reflect.defineProperty(memory, TRACKED, { value: tracked, configurable: true })
}

export function untrack(memory: ArrayBuffer): void {
  Reflect.deleteProperty(memory, TRACKED)
}

/** What a runtime may have for taking an ArrayBuffer's memory away. */
const TRANSFERS = ['transfer', 'transferToFixedLength'].filter((name) => name in ArrayBuffer.prototype)

/** Deno lets external memory be posted to another thread; Node and Bun do not. */
const MARKS_EXTERNAL = process.versions['deno'] !== undefined

/** Has the transfer of a block throw, rather than pull the memory from under the lease. */
export function guardBlock(memory: ArrayBuffer): void {
  if (MARKS_EXTERNAL) markAsUntransferable(memory)
  refuseTransfer(memory)
}

/** The same for memory of the user's own. It cannot be undone. */
export function guardBuffer(memory: ArrayBuffer): void {
  // To mark what cannot be transferred anyway (WebAssembly's memory) would end the process when it grows.
  if (isTransferable(memory)) markAsUntransferable(memory)
  refuseTransfer(memory)
}

/** Marked or not, Node 22 lets these methods through. */
function refuseTransfer(memory: ArrayBuffer): void {
  for (const name of TRANSFERS) Reflect.defineProperty(memory, name, { value: refuse, configurable: true })
}

function refuse(): never {
  throw untransferable()
}

/**
 * Asks without transferring: the second mention is refused, but only where the first was not. Deno, which does not mind
 * it, is not asked.
 */
function isTransferable(memory: ArrayBuffer): boolean {
  if (MARKS_EXTERNAL) return true
  try {
    structuredClone(undefined, { transfer: [memory, memory] })
    return false
  } catch (error) {
    return String(error).includes('duplicate')
  }
}
