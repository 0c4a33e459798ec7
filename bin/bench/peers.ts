/** The two peers that are compared, and the rounds in which they take turns. */
import { randomReads } from './reads.js'
import type { Load, Measurement, Readable } from './reads.js'
import { median } from './units.js'

export const PEERS = ['auraio', 'node:fs/promises'] as const
export type Peer = (typeof PEERS)[number]

/** The results of one peer: medians over the rounds. */
export type Figures = Pick<Measurement, 'operationsPerSecond' | 'cpuUsPerOperation' | 'p50Us' | 'p99Us'>
export const FIGURES = ['operationsPerSecond', 'cpuUsPerOperation', 'p50Us', 'p99Us'] as const

export interface Comparison {
  median: Record<Peer, Figures>
  /** auraio's median divided by that of node:fs/promises. */
  ratio: Figures
  rounds: Record<Peer, Measurement[]>
}

const WARM_UP_SECONDS_MAX = 0.5

/**
 * Warms up each peer, then runs the rounds. The order of the peers changes from round to round. `onRound` is told how many rounds are
 * done (one peer's turn is half a round), and whose turn it is.
 */
export async function compare(
  files: Record<Peer, Readable>,
  load: Load,
  rounds: number,
  onRound: (done: number, peer: Peer) => void,
): Promise<Comparison> {
  const warmUp = { ...load, seconds: Math.min(WARM_UP_SECONDS_MAX, load.seconds) }
  for (const peer of PEERS) await randomReads(files[peer], warmUp)
  const results: Record<Peer, Measurement[]> = { auraio: [], 'node:fs/promises': [] }
  for (let round = 0; round < rounds; round++) {
    for (const [turn, peer] of (round % 2 === 0 ? PEERS : [...PEERS].reverse()).entries()) {
      onRound(round + turn / PEERS.length, peer)
      results[peer].push(await randomReads(files[peer], load))
    }
  }
  const ours = medians(results.auraio)
  const theirs = medians(results['node:fs/promises'])
  return {
    median: { auraio: ours, 'node:fs/promises': theirs },
    ratio: figures((name) => ours[name] / theirs[name]),
    rounds: results,
  }
}

function medians(measurements: readonly Measurement[]): Figures {
  return figures((name) => median(measurements.map((measurement) => measurement[name])))
}

function figures(value: (name: keyof Figures) => number): Figures {
  return {
    operationsPerSecond: value('operationsPerSecond'),
    cpuUsPerOperation: value('cpuUsPerOperation'),
    p50Us: value('p50Us'),
    p99Us: value('p99Us'),
  }
}
