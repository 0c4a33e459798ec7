/** Makes `fs.Stats` and `BigIntStats` of a port's numbers. The classes are Node's own, so that `instanceof` and dates work. */
import { Stats, statSync, type BigIntStats } from 'node:fs'
import type { StatFields } from '../operations/port.js'

/** The indexes of the mode and the size among the numbers; see `STAT_FIELDS` in lib/operations/port.ts. */
export const STAT_MODE = 1
export const STAT_SIZE = 8

/** The index of the first time. Seconds, then nanoseconds, of atime, mtime, ctime and birthtime follow. */
const STAT_TIMES = 10

type AnyConstructor = new (...fields: (number | bigint)[]) => unknown

/** The class behind `Stats`. `Stats` itself, when called, warns that it is deprecated; this class does not. */
const StatsClass = (Stats.prototype as { constructor: unknown }).constructor as AnyConstructor

/** In Node 26 the constructor takes seconds and nanoseconds of each time (18 arguments); in Node 20 milliseconds (14). */
const TAKES_TIMESPECS = StatsClass.length >= 18

let BigIntStatsClass: AnyConstructor | undefined

export function makeStats(fields: StatFields): Stats | BigIntStats {
  return fields instanceof Float64Array ? numbers(fields) : bigints(fields)
}

function numbers(fields: Float64Array): Stats {
  if (TAKES_TIMESPECS) return new StatsClass(...fields) as Stats
  const head = fields.subarray(0, STAT_TIMES)
  const times = [0, 2, 4, 6].map((at) => fields[STAT_TIMES + at]! * 1e3 + fields[STAT_TIMES + at + 1]! / 1e6)
  return new StatsClass(...head, ...times) as Stats
}

function bigints(fields: BigInt64Array): BigIntStats {
  BigIntStatsClass ??= statSync(__filename, { bigint: true }).constructor as AnyConstructor // Node does not export it
  const head = fields.subarray(0, STAT_TIMES)
  const times = [0, 2, 4, 6].map((at) => fields[STAT_TIMES + at]! * 1_000_000_000n + fields[STAT_TIMES + at + 1]!)
  return new BigIntStatsClass(...head, ...times) as BigIntStats
}
