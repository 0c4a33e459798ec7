/** The machine that the numbers were measured on. */
import { readFileSync, realpathSync } from 'node:fs'
import { cpus, freemem, release, totalmem, type } from 'node:os'
import { sep } from 'node:path'

export interface Machine {
  cpu: string
  cores: number
  memoryBytes: number
  kernel: string
  node: string
}

export function machine(): Machine {
  const cores = cpus()
  return {
    cpu: cores[0]?.model.trim() ?? process.arch,
    cores: cores.length,
    memoryBytes: totalmem(),
    kernel: `${type()} ${release()}`,
    node: process.version,
  }
}

/** Memory that the page cache could use: what the system has available, but in a container no more than the container may use. */
export function freeMemory(): number {
  const left = (process as { availableMemory?: () => number }).availableMemory?.() ?? 0
  return left > 0 ? Math.min(left, freemem()) : freemem()
}

/** The name of the file system that a directory is on: that of the mount with the longest path that matches. */
export function fileSystemOf(directory: string): string {
  let name = 'unknown'
  let longest = -1
  try {
    const path = realpathSync(directory)
    for (const line of readFileSync('/proc/self/mountinfo', 'utf8').split('\n')) {
      const [mount, source] = line.split(' - ')
      const point = mount
        ?.split(' ')[4]
        ?.replace(/\\(\d{3})/g, (_, octal: string) => String.fromCharCode(parseInt(octal, 8)))
      const kind = source?.split(' ')[0]
      if (point === undefined || kind === undefined || point.length < longest) continue
      if (path === point || path.startsWith(point.endsWith(sep) ? point : point + sep)) {
        name = kind
        longest = point.length
      }
    }
  } catch {
    // Without /proc the name is unknown. Only the reader of the report needs it.
  }
  return name
}
