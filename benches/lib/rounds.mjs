/** Peers take turns, so that a machine that slows down slows all of them. The results are medians over the rounds. */
import { availableParallelism, loadavg } from 'node:os'
import { median } from '../../dist/bin/bench/units.js'

const ROUNDS_MIN = 5
const SPREAD_MAX = 1.5
const [loadBefore] = loadavg()

/** @returns `{ [name]: { median, rounds } }`, each a Measurement or a list of them */
export async function alternate(peers, rounds) {
  const results = new Map(peers.map(({ name }) => [name, []]))
  for (let round = 0; round < rounds; round++) {
    for (const [turn, peer] of (round % 2 === 0 ? peers : [...peers].reverse()).entries()) {
      progress(`round ${round + 1} of ${rounds}, ${turn + 1} of ${peers.length}: ${peer.name}`)
      results.get(peer.name).push(await peer.run())
    }
  }
  progress('')
  return Object.fromEntries(peers.map(({ name }) => [name, summary(results.get(name))]))
}

/**
 * The reasons not to judge ratios of these results: too few rounds, a machine with other load, or rounds of one peer that differ
 * by more than half. If a peer got too little CPU, any ratio to it looks good.
 */
export function doubts(results, rounds) {
  const found = []
  const cores = availableParallelism()
  if (rounds < ROUNDS_MIN) found.push(`fewer than ${ROUNDS_MIN} rounds`)
  if (loadBefore > cores) found.push(`the load was ${loadBefore.toFixed(1)} on ${cores} cores before the start`)
  for (const [name, result] of Object.entries(results)) {
    const speeds = result.rounds.map((round) => round.operationsPerSecond ?? round.readGigabytesPerSecond)
    const spread = Math.max(...speeds) / Math.min(...speeds)
    if (spread > SPREAD_MAX) found.push(`${name}: the fastest round was ${spread.toFixed(1)} times the slowest`)
  }
  return found
}

/** The median of each number; for other values the first one. */
function summary(rounds) {
  const entries = Object.entries(rounds[0] ?? {}).map(([key, value]) => [
    key,
    typeof value === 'number' ? median(rounds.map((round) => round[key])) : value,
  ])
  return { median: Object.fromEntries(entries), rounds }
}

function progress(line) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[2K${line.slice(0, process.stderr.columns - 1)}`)
}
