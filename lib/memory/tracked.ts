/**
 * Memory that somebody besides the caller has to know of: blocks that the pool has lent, and buffers that were registered. The
 * ArrayBuffer has a property, the note, that leads to whoever tracks it. An operation reads the note, and tells the tracker when it
 * begins and when it has ended. An ordinary ArrayBuffer has no note; an operation on it pays for reading one property.
 */
import process from 'node:process'
import { markAsUntransferable } from 'node:worker_threads'
import { untransferable } from '../checks/errors.js'

/** Told of the operations on an ArrayBuffer. */
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

/** False if the ArrayBuffer cannot take the note, because it was frozen. */
export function track(memory: ArrayBuffer, tracked: Tracked): boolean {
  return Reflect.defineProperty(memory, TRACKED, { value: tracked, configurable: true })
}

export function untrack(memory: ArrayBuffer): void {
  Reflect.deleteProperty(memory, TRACKED)
}

/** The methods of an ArrayBuffer that take its memory away, as far as the runtime has them. */
const TRANSFERS = ['transfer', 'transferToFixedLength'].filter((name) => name in ArrayBuffer.prototype)

/** Deno lets external memory be posted to another thread unless it is marked. Node and Bun never do. */
const MARKS_EXTERNAL = process.versions['deno'] !== undefined

/** Makes the transfer of a block throw. A transfer would take the memory away from its lease. */
export function guardBlock(memory: ArrayBuffer): void {
  if (MARKS_EXTERNAL) markAsUntransferable(memory)
  refuseTransfer(memory)
}

/** The same, for memory of the user's own. This cannot be undone. */
export function guardBuffer(memory: ArrayBuffer): void {
  // The memory of a WebAssembly module cannot be transferred anyway. If it were marked, the process would end when it grows.
  if (isTransferable(memory)) markAsUntransferable(memory)
  refuseTransfer(memory)
}

/** In Node 22, the methods of the ArrayBuffer work even if it is marked, so they are replaced. */
function refuseTransfer(memory: ArrayBuffer): void {
  for (const name of TRANSFERS) Reflect.defineProperty(memory, name, { value: refuse, configurable: true })
}

function refuse(): never {
  throw untransferable()
}

/**
 * Finds out without a transfer. The ArrayBuffer is put twice on a list to be transferred. Node refuses the list in any case, and
 * says that it has a duplicate only if the ArrayBuffer itself could be transferred. Deno accepts such a list, so it is not asked.
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
