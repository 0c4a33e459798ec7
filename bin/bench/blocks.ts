/**
 * The contents of a benchmark's file: blocks of random bytes. Each begins with its own number, so that eight bytes tell whether a
 * read brought the right block. The bytes are random so that no file system can compress them.
 */
import { randomFillSync } from 'node:crypto'

export const BLOCK_BYTES = 4096
const BLOCK_WORDS = BLOCK_BYTES / 4

/** The only part of WebAssembly that is used here. Node's types do not declare it. */
declare const WebAssembly: { Memory: new (size: { initial: number; maximum: number }) => { buffer: ArrayBuffer } }

/** Memory for a number of blocks, with its two views. */
export interface BlockMemory {
  bytes: Uint8Array
  words: Uint32Array
}

/**
 * Memory that begins at a page, as O_DIRECT needs it. Only the memory of a WebAssembly module does so in every JavaScript program; a
 * Buffer of this size begins 16 bytes after the beginning of a page.
 */
export function allocateBlocks(blocks: number): BlockMemory {
  const pages = Math.ceil((blocks * BLOCK_BYTES) / 65536)
  const { buffer } = new WebAssembly.Memory({ initial: pages, maximum: pages })
  const bytes = new Uint8Array(buffer, 0, blocks * BLOCK_BYTES)
  return { bytes: bytes.fill(0), words: new Uint32Array(buffer, 0, blocks * BLOCK_WORDS) }
}

/** Fills the memory with random bytes. When it is used again for other blocks, only the numbers of the blocks are changed. */
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
