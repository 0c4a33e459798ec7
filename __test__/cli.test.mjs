// Tests the command as a user runs it: `dist/bin/auraio.js` in a process of its own.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { constants, readFileSync, watch } from 'node:fs'
import { mkdtemp, open, readFile, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import test from 'ava'

const COMMAND = fileURLToPath(new URL('../dist/bin/auraio.js', import.meta.url))
const SHORT = ['--size', '4MiB', '--rounds', '1', '--seconds', '0.05', '--depth', '8']
const LONG = ['--size', '4MiB', '--rounds', '1000', '--seconds', '60']

function start(args, { nodeArgs = [] } = {}) {
  const child = spawn(process.execPath, [...nodeArgs, COMMAND, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  const ended = Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]).then(
    ([stdout, stderr, [code, signal]]) => ({ stdout, stderr, code: code ?? signal }),
  )
  return { child, ended }
}

const onLinux = whereTrue(process.platform === 'linux', 'Linux only')
const onPosix = whereTrue(process.platform !== 'win32', 'Windows has no such signals')
const filling = whereTrue(await canMount(), 'needs to mount a tmpfs of 4 MiB, as root')
const inMemory = whereTrue(await isTmpfs('/dev/shm'), 'needs a tmpfs at /dev/shm')

const run = (args, options) => start(args, options).ended

/** A long run, with the moment when its directory is made, and the moment when it is removed because the file is open. */
function startIn(dir) {
  const changes = watch(dir)
  const made = once(changes, 'change')
  const opened = new Promise((resolve) => {
    changes.on('change', async () => (await readdir(dir)).length === 0 && resolve())
  })
  const { child, ended } = start(['bench', '--dir', dir, ...LONG])
  return { child, ended: ended.finally(() => changes.close()), made, opened }
}

/** User and system time that a process has used, in hundredths of a second. */
function cpuTicksOf(pid) {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return Number(fields[11]) + Number(fields[12])
}

/** A directory for the test, which is removed afterwards. */
async function directory(t) {
  const path = await mkdtemp(join(tmpdir(), 'auraio-cli-'))
  t.teardown(() => rm(path, { recursive: true, force: true }))
  return path
}

/** Checks that there is one line on standard error and nothing on standard output. */
function isOneSentence(t, { stdout, stderr }) {
  t.is(stdout, '')
  t.regex(stderr, /^auraio( bench)?: [^\n]+\n$/)
}

test('help and version go to standard output', async (t) => {
  const { version } = JSON.parse(await readFile(new URL('../package.json', import.meta.url), 'utf8'))
  const [help, benchHelp, shown] = await Promise.all([run(['--help']), run(['bench', '--help']), run(['--version'])])
  t.deepEqual([help.code, benchHelp.code, shown.code], [0, 0, 0])
  t.deepEqual([help.stderr, benchHelp.stderr, shown.stderr], ['', '', ''])
  t.regex(help.stdout, /^Usage: auraio <command>/)
  t.regex(benchHelp.stdout, /--size <size>/)
  t.is(shown.stdout, `${version}\n`)
})

for (const [args, said] of [
  [[], /a command is missing/],
  [['fly'], /unknown command 'fly'/],
  [['--fly'], /Unknown option '--fly'/],
  [['bench', '--fly'], /Unknown option '--fly'/],
  [['bench', 'file'], /Unexpected argument 'file'/],
  [['bench', '--size'], /'--size <value>' argument missing/],
  [['bench', '--size', 'big'], /--size must be a size .* not 'big'/],
  [['bench', '--size', '1GB'], /--size must be a size .* not '1GB'/],
  [['bench', '--size', '1000'], /--size must be a size of 1MiB or more/],
  [['bench', '--rounds', '1.5'], /--rounds must be a whole number from 1 to 1000, not '1.5'/],
  [['bench', '--seconds', '0'], /--seconds must be a number/],
  [['bench', '--depth', '0x10'], /--depth must be a whole number/],
  [['bench', '--depths', '1,2'], /--file and --depths are for --sweep alone/],
  [['bench', '--file', 'data'], /--file and --depths are for --sweep alone/],
  [['bench', '--sweep', '--depth', '4'], /--depth is not for --sweep, which takes --depths/],
  [['bench', '--sweep', '--depths', '1,x'], /each of --depths must be a whole number from 1 to 256, not 'x'/],
  [['bench', '--sweep', '--depths', '257'], /each of --depths must be a whole number from 1 to 256, not '257'/],
  [['bench', '--sweep', '--depths', ''], /each of --depths must be a whole number/],
  [['bench', '--sweep', '--file', 'data', '--dir', '.'], /--file and --dir exclude each other/],
  [['bench', '--sweep', '--file', 'package.json', '--size', '4MiB'], /--size is for a file that is not there yet/],
]) {
  test(`a wrong command line gives one sentence and exit code 2: auraio ${args.join(' ')}`, async (t) => {
    const result = await run(args)
    t.is(result.code, 2)
    isOneSentence(t, result)
    t.regex(result.stderr, said)
  })
}

test('--json prints one object with checked figures, and nothing is left behind', async (t) => {
  const dir = await directory(t)
  const { stdout, stderr, code } = await run(['bench', '--json', '--dir', dir, ...SHORT])
  t.is(stderr, '')
  t.is(code, 0)
  const report = JSON.parse(stdout)
  t.like(report, { directory: dir, fileBytes: 4 * 1024 ** 2, blockBytes: 4096, depth: 8, rounds: 1, notes: [] })
  t.truthy(report.backend && report.backendReason && report.machine.kernel && report.machine.cpu && report.fileSystem)
  for (const comparison of [report.cached, report.direct].filter(Boolean)) {
    for (const peer of ['auraio', 'node:fs/promises']) {
      const { operationsPerSecond, cpuUsPerOperation, p50Us, p99Us } = comparison.median[peer]
      t.true(operationsPerSecond > 0 && cpuUsPerOperation > 0 && p50Us > 0 && p99Us >= p50Us)
      t.is(comparison.rounds[peer].length, 1)
    }
    t.true(comparison.ratio.operationsPerSecond > 0)
  }
  t.is(report.direct === null, typeof report.directReason === 'string')
  t.deepEqual(await readdir(dir), [])
})

test('the table names the backend and both peers', async (t) => {
  const { stdout, code } = await run(['bench', '--dir', await directory(t), ...SHORT])
  t.is(code, 0)
  t.regex(stdout, /^backend {3}\w+: ./m)
  t.regex(stdout, /^cached +operations\/s +CPU us\/op +p50 us +p99 us$/m)
  t.regex(stdout, /^ {2}auraio +[\d,.]+/m)
  t.regex(stdout, /^ {2}node:fs\/promises +[\d,.]+/m)
  t.regex(stdout, /^ {2}ratio +[\d,.]+x/m)
})

test('a directory that does not exist, or is a file, gives one sentence', async (t) => {
  const dir = await directory(t)
  const file = join(dir, 'file')
  await writeFile(file, '')
  const [missing, notOne] = await Promise.all([
    run(['bench', '--dir', join(dir, 'none')]),
    run(['bench', '--dir', file]),
  ])
  t.deepEqual([missing.code, notOne.code], [1, 1])
  isOneSentence(t, missing)
  isOneSentence(t, notOne)
  t.regex(missing.stderr, /does not exist/)
  t.regex(notOne.stderr, /is not a directory/)
})

// No user may make a directory in /sys: root gets EPERM, others get EACCES.
onLinux('a directory that is not writable is one sentence', async (t) => {
  const result = await run(['bench', '--dir', '/sys', ...SHORT])
  t.is(result.code, 1)
  isOneSentence(t, result)
  t.regex(result.stderr, /\/sys is not writable \((EPERM|EACCES|EROFS)\)/)
})

test('too little space for the file gives one sentence, before anything is written', async (t) => {
  const dir = await directory(t)
  const result = await run(['bench', '--dir', dir, '--size', '4096TiB'])
  t.is(result.code, 1)
  isOneSentence(t, result)
  t.regex(result.stderr, /no room in .* free, 4,?096 TiB asked for/)
  t.deepEqual(await readdir(dir), [])
})

filling('a disk that fills up while the file is written is one sentence, and nothing is left behind', async (t) => {
  const dir = await directory(t)
  t.is(await mount(dir), 0)
  t.teardown(() => outcome('umount', [dir]))
  // The disk reports free space that it does not have, as when others fill it at the same time.
  const lie = join(await directory(t), 'lie.cjs')
  await writeFile(lie, `require('node:fs/promises').statfs = async () => ({ bavail: 1e9, blocks: 1e9, bsize: 4096 })`)
  const result = await run(['bench', '--dir', dir, '--size', '16MiB'], { nodeArgs: ['--require', lie] })
  t.is(result.code, 1)
  isOneSentence(t, result)
  t.regex(result.stderr, /no room in .*\(ENOSPC\)/)
  t.deepEqual(await readdir(dir), [])
})

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
]) {
  onPosix(`${signal} ends it with one sentence and leaves nothing behind`, async (t) => {
    const dir = await directory(t)
    const { child, ended, made } = startIn(dir)
    await made
    child.kill(signal)
    const result = await ended
    t.is(result.code, exitCode)
    isOneSentence(t, result)
    t.regex(result.stderr, new RegExp(`interrupted by ${signal}`))
    t.deepEqual(await readdir(dir), [])
  })
}

onLinux('a round that is being measured does not keep SIGINT waiting', async (t) => {
  const dir = await directory(t)
  const { child, ended, opened } = startIn(dir)
  await opened
  const begin = performance.now()
  const cpuBegins = cpuTicksOf(child.pid)
  while (cpuTicksOf(child.pid) - cpuBegins < 50) await nextTurn() // half a second of work: it is reading by now
  child.kill('SIGINT')
  t.is((await ended).code, 130)
  t.true(performance.now() - begin < 10_000, 'before the end of its round of a minute')
})

onPosix('not even SIGKILL leaves anything behind once the file is open', async (t) => {
  const dir = await directory(t)
  const { child, ended, opened } = startIn(dir)
  await opened
  child.kill('SIGKILL')
  t.is((await ended).code, 'SIGKILL')
  t.deepEqual(await readdir(dir), [])
})

inMemory('without O_DIRECT the cached half is printed, and one sentence for the other', async (t) => {
  const args = ['bench', '--dir', '/dev/shm', ...SHORT]
  const [table, json] = await Promise.all([run(args), run([...args, '--json'])])
  t.deepEqual([table.code, json.code], [0, 0])
  t.regex(table.stdout, /^ {2}auraio +[\d,.]+/m)
  t.regex(table.stdout, /^O_DIRECT was not measured: tmpfs keeps its files in memory, not on a device\.$/m)
  t.is(JSON.parse(json.stdout).direct, null)
  t.regex(JSON.parse(json.stdout).directReason, /tmpfs/)
})

onLinux('the direct half is there where the file system takes O_DIRECT', async (t) => {
  const dir = await directory(t)
  const takesDirect = await open(join(dir, 'probe'), constants.O_CREAT | constants.O_RDONLY | constants.O_DIRECT).then(
    (file) => file.close().then(() => true),
    () => false,
  )
  const { direct, directReason, fileSystem } = JSON.parse(
    (await run(['bench', '--dir', dir, '--json', ...SHORT])).stdout,
  )
  if (takesDirect && fileSystem !== 'tmpfs') t.truthy(direct, String(directReason))
  else t.regex(directReason, new RegExp(fileSystem))
})

const SWEEP = ['bench', '--sweep', '--seconds', '0.05', '--rounds', '2', '--depths', '4,1,4,2']

test('a sweep prints every depth once, the knee and the best among them, and the tuned row', async (t) => {
  const dir = await directory(t)
  const { stdout, stderr, code } = await run([...SWEEP, '--dir', dir, '--size', '4MiB'])
  t.is(stderr, '')
  t.is(code, 0)
  t.regex(stdout, /^ +depth +IOPS +p50 us +p99 us +CPU us\/op$/m)
  const rows = [...stdout.matchAll(/^ +(\d+|tuned) +[\d,.]+ +[\d,.]+ +[\d,.]+ +[\d,.]+(.*)$/gm)]
  t.deepEqual(
    rows.map(([, depth]) => depth),
    ['1', '2', '4', 'tuned'],
  )
  t.is(rows.filter(([, , marks]) => marks.includes('knee')).length, 1)
  t.is(rows.filter(([, , marks]) => marks.includes('best')).length, 1)
  t.regex(stdout, /^tuned: [\d.]+x the IOPS of the best depth, [\d.]+x those of the knee, at [\d.]+x its p99$/m)
  t.deepEqual(await readdir(dir), [])
})

test('--json of a sweep is one object, whose knee follows from its rows', async (t) => {
  const dir = await directory(t)
  const report = JSON.parse((await run([...SWEEP, '--json', '--dir', dir, '--size', '4MiB'])).stdout)
  t.like(report, { fileBytes: 4 * 1024 ** 2, callers: 256, rounds: 2, checked: true, interrupted: null })
  t.deepEqual(
    report.rows.map(({ depth, runs }) => [depth, runs.length]),
    [
      [1, 2],
      [2, 2],
      [4, 2],
      ['tuned', 2],
    ],
  )
  const fixed = report.rows.slice(0, 3)
  const most = Math.max(...fixed.map(({ operationsPerSecond }) => operationsPerSecond))
  t.is(report.bestDepth, fixed.find(({ operationsPerSecond }) => operationsPerSecond === most).depth)
  t.is(report.kneeDepth, fixed.find(({ operationsPerSecond }) => operationsPerSecond >= 0.97 * most).depth)
  t.is(report.tuned.operationsOverBest, report.rows[3].operationsPerSecond / most)
  for (const { p50Us, p99Us, cpuUsPerOperation } of report.rows)
    t.true(p99Us >= p50Us && p50Us > 0 && cpuUsPerOperation > 0)
})

test('a sweep makes a named file, keeps it and recognises it; it does not check the bytes of a foreign file, and says so', async (t) => {
  const dir = await directory(t)
  const path = join(dir, 'kept')
  const first = JSON.parse((await run([...SWEEP, '--json', '--file', path, '--size', '2MiB'])).stdout)
  t.deepEqual([first.checked, first.fileBytes], [true, 2 * 1024 ** 2])
  const bytes = await readFile(path)
  t.is(bytes.length, 2 * 1024 ** 2)
  const second = JSON.parse((await run([...SWEEP, '--json', '--file', path])).stdout)
  t.deepEqual([second.checked, second.notes.filter((note) => /not checked/.test(note))], [true, []])
  await writeFile(path, Buffer.alloc(2 * 1024 ** 2, 7))
  const { stdout, code } = await run([...SWEEP, '--file', path])
  t.is(code, 0)
  t.regex(stdout, /^note {6}.*kept was not made by auraio bench: what was read of it was not checked$/m)
  await writeFile(path, 'short')
  const short = await run([...SWEEP, '--file', path])
  t.is(short.code, 1)
  isOneSentence(t, short)
  t.regex(short.stderr, /smaller than 1 MiB/)
  t.is((await run([...SWEEP, '--file', dir])).code, 1)
})

test('a block with the wrong bytes ends a sweep', async (t) => {
  const path = join(await directory(t), 'damaged')
  await run([...SWEEP, '--file', path, '--size', '1MiB'])
  const file = await open(path, 'r+')
  for (let block = 1; block < 255; block++) {
    const isProbed = Array.from({ length: 65 }, (_, probe) => Math.floor((255 * probe) / 64)).includes(block)
    if (!isProbed) await file.write(Buffer.alloc(8), 0, 8, block * 4096)
  }
  await file.close()
  const result = await run([...SWEEP, '--file', path])
  t.is(result.code, 1)
  isOneSentence(t, result)
  t.regex(result.stderr, /bytes that are not that block/)
})

inMemory('a sweep without O_DIRECT says so', async (t) => {
  const { stdout, code } = await run([...SWEEP, '--dir', '/dev/shm', '--size', '2MiB'])
  t.is(code, 0)
  t.regex(stdout, /^note {6}tmpfs keeps its files in memory, not on a device: reads go through the page cache/m)
})

for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
]) {
  onPosix(`${signal} ends a sweep, which prints its results so far and leaves nothing behind`, async (t) => {
    const dir = await directory(t)
    const args = ['bench', '--sweep', '--json', '--dir', dir, '--size', '2MiB', '--seconds', '0.2', '--rounds', '1000']
    const { child, ended } = start([...args, '--depths', '1,2'])
    const begin = cpuTicksOf(child.pid)
    while (cpuTicksOf(child.pid) - begin < 200) await nextTurn() // two seconds of work: several runs are over by now
    child.kill(signal)
    const { stdout, stderr, code } = await ended
    t.deepEqual([code, stderr], [exitCode, ''])
    const report = JSON.parse(stdout)
    t.is(report.interrupted, signal)
    t.true(report.rows.length > 0)
    t.deepEqual(await readdir(dir), [])
  })
}

async function outcome(command, args) {
  const child = spawn(command, args, { stdio: 'ignore' })
  const [code] = await Promise.race([once(child, 'close'), once(child, 'error').then(() => [1])])
  return code
}

function mount(dir) {
  return outcome('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'none', dir])
}

async function canMount() {
  if (process.getuid?.() !== 0) return false
  const dir = await mkdtemp(join(tmpdir(), 'auraio-cli-'))
  const mounted = (await mount(dir)) === 0
  if (mounted) await outcome('umount', [dir])
  await rm(dir, { recursive: true })
  return mounted
}

async function isTmpfs(path) {
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  return mounts.split('\n').some((line) => line.split(' ')[4] === path && line.includes(' - tmpfs '))
}

/** `test`, or `test.skip` with the reason in its name. */
function whereTrue(condition, reason) {
  return condition ? test : (name, body) => test.skip(`${name} (${reason})`, body)
}
