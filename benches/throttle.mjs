/**
 * Question: how soon does the guard lower the limit when a disk becomes slower under load, and how soon is the full throughput
 * back when it recovers? 256 callers make O_DIRECT random reads of 4 KiB with a guard of 2 ms, and a cgroup throttles the disk for
 * a third of the time (blkio, version 1; needs root).
 */
import { existsSync } from 'node:fs'
import { COMMON_HELP, CommandError, dataset, positive, program } from './lib/program.mjs'
import { script } from './lib/processes.mjs'
import { figure, report } from './lib/report.mjs'
import { alternate, doubts } from './lib/rounds.mjs'

const CALLERS = 256
const GUARD_MS = 2
const ROOT = '/sys/fs/cgroup/blkio'

await program({
  help: `Usage: node benches/throttle.mjs [options]

  --iops <n>         reads a second while throttled (default: 5000)
${COMMON_HELP}`,
  options: { iops: { type: 'string' } },
  async run({ rounds, json, iops: text = '5000', ...where }) {
    const iops = positive('--iops', text)
    if (!existsSync(`${ROOT}/blkio.throttle.read_iops_device`) || process.getuid() !== 0) {
      throw new CommandError('this bench needs the blkio controller of cgroup version 1, and root: run it as root')
    }
    const file = await dataset(where)
    if (file.directReason) throw new CommandError(`no direct reads in ${file.directory}: ${file.directReason}`)
    const load = { path: file.path, fileBytes: file.fileBytes, depth: CALLERS, direct: true }
    const group = `${ROOT}/auraio-bench-${process.pid}`
    const run = () => script('throttle-process.mjs', { group, iops, guardP99Ms: GUARD_MS, load })
    const results = await alternate([{ name: 'auraio', run }], rounds)
    const { operationsPerSecond, p99Us, throttledPerSecond, afterPerSecond, cutAfterMs } = results.auraio.median
    const figures = [
      figure('p99 / guard, before', p99Us / 1000 / GUARD_MS, { max: 1.1 }),
      figure('ms from the throttle to the cut (first late completion after 2 ms at least)', cutAfterMs, { max: 52 }),
      figure('throttled, after 1 s: operations/s / what the throttle allows', throttledPerSecond / iops, { min: 0.95 }),
      figure('freed, after 1 s: operations/s / before', afterPerSecond / operationsPerSecond, { min: 0.95 }),
    ]
    const bench = `A throttle of ${iops} reads/s on and off, guard ${GUARD_MS} ms, medians of ${rounds} rounds`
    const columns = {
      operationsPerSecond: 'before/s',
      p99Us: 'p99 us',
      limitBefore: 'limit',
      throttledPerSecond: 'throttled/s',
      throttledP99Us: 'throttled p99 us',
      limitThrottled: 'limit throttled',
      cutAfterMs: 'cut after ms',
      afterPerSecond: 'after/s',
      limitAfter: 'limit after',
    }
    report({ bench, file, columns, results, figures, doubts: doubts(results, rounds) }, json)
  },
})
