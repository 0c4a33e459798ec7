/**
 * What a benchmark's file holds: blocks of random bytes that each begin with their own number, so that a read can be
 * checked by looking at eight bytes. Random, so that no file system makes it small by compression.
 */
import { randomFillSync } from 'node:crypto'

export const BLOCK_BYTES = 4096
const BLOCK_WORDS = BLOCK_BYTES / 4

/** The one part of it that is used; Node's own types leave WebAssembly to those of the browser. */
declare const WebAssembly: { Memory: new (size: { initial: number; maximum: number }) => { buffer: ArrayBuffer } }

/** Memory for a number of blocks, with its two views. */
export interface BlockMemory {
  bytes: Uint8Array
  words: Uint32Array
}

/**
 * Page-aligned, as O_DIRECT wants it. JavaScript has no other way to ask for that: the memory of a WebAssembly module
 * begins on a page, while a Buffer of this size begins 16 bytes into one.
 */
export function allocateBlocks(blocks: number): BlockMemory {
  const pages = Math.ceil((blocks * BLOCK_BYTES) / 65536)
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const bytes = new Uint8Array(buffer, 0, blocks * BLOCK_BYTES)
  return { bytes: bytes.fill(0), words: new Uint32Array(buffer, 0, blocks * BLOCK_WORDS) }
}

/** Random bytes; only the stamps differ when it is used again for other blocks. */
export function fillRandom(memory: BlockMemory): void {
  randomFillSync(memory.bytes)
}

/** Writes a block's number into the `at`-th block of the memory. */
export function stamp(words: Uint32Array, at: number, block: number): void {
  words[at * BLOCK_WORDS] = block
  words[at * BLOCK_WORDS + 1] = ~block
}

/** Whether the `at`-th block of the memory is the block of that number. */
export function isStamped(words: Uint32Array, at: number, block: number): boolean {
  return words[at * BLOCK_WORDS] === block && words[at * BLOCK_WORDS + 1] === ~block >>> 0
}
