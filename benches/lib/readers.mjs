/** The peers of the read benches. Each has a name, and a `run()` that measures one round in a process of its own. */
import { output, script } from './processes.mjs'

/**
 * @param reader `name`; `peer`: 'auraio', 'promises', 'readSync' or 'nothing'; `load`: see read-process.mjs; `node`: the binary;
 *   `env`; `engine`: options of the engine
 */
export function nodeReader({ name, peer, load, node, env, engine }) {
  return { name, run: () => script('read-process.mjs', { peer, load, engine }, { node, env }) }
}

/**
 * fio's io_uring engine on the same file for the same time. `--invalidate=0`, because fio would otherwise drop the page cache.
 * `--norandommap`, because the other peers do not remember either which blocks they have read. `--ramp_time`, because the other
 * peers warm up for the same time before they are measured. fio does not check the bytes.
 */
export function fioReader({ name, load, batch, registered = false }) {
  const args = [
    '--name=bench', `--filename=${load.path}`, '--readonly', '--rw=randread', '--bs=4k', `--size=${load.fileBytes}`,
    '--ioengine=io_uring', `--iodepth=${load.depth}`, `--direct=${load.direct ? 1 : 0}`, '--invalidate=0',
    '--norandommap', '--randrepeat=0', '--time_based', `--runtime=${Math.round(load.seconds * 1000)}ms`,
    '--ramp_time=500ms',
    '--lat_percentiles=1', '--clat_percentiles=0', '--output-format=json',
    ...(registered ? ['--fixedbufs=1', '--registerfiles=1'] : []),
    ...(batch > 1 ? [`--iodepth_batch_submit=${batch}`, `--iodepth_batch_complete_max=${batch}`] : []),
  ] // prettier-ignore
  return { name, run: async () => fioMeasurement(await output('fio', args)) }
}

/** fio may print notes before the JSON object. */
function fioMeasurement(stdout) {
  const [job] = JSON.parse(stdout.slice(stdout.indexOf('{'))).jobs
  const { total_ios: operations, runtime, iops, lat_ns: latency } = job.read
  return {
    operations,
    seconds: runtime / 1000,
    operationsPerSecond: iops,
    cpuUsPerOperation: (((job.usr_cpu + job.sys_cpu) / 100) * job.job_runtime * 1000) / operations, // without the ramp
    p50Us: latency.percentile['50.000000'] / 1000,
    p99Us: latency.percentile['99.000000'] / 1000,
    p999Us: latency.percentile['99.900000'] / 1000,
  }
}

/** fio's version. If fio is missing, it prints that, and answers `undefined`. */
export async function fioVersion() {
  try {
    return (await output('fio', ['--version'])).trim()
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
    console.error('bench: fio is not installed, so it is not among the peers')
    return undefined
  }
}
