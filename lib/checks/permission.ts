/**
 * Node's permission model. The system calls of an addon go past it (`--allow-addons`), so `open` asks it first, as Node's own
 * `open` does. In a process without `--permission`, this costs one look at `process.permission`.
 */
import { constants } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { accessDenied } from './errors.js'
import { pathText } from './options.js'

interface Permission {
  has(scope: string, reference: string): boolean
}

const { O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND } = constants

/** @throws ERR_ACCESS_DENIED if the process was started with `--permission` and may not open this. */
export function checkPermission(file: string | Uint8Array, flags: number): void {
  const { permission } = process as { permission?: Permission }
  if (permission === undefined) return
  const resource = path.resolve(pathText(file))
  const writes = (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND)) !== 0
  const reads = (flags & O_WRONLY) === 0
  if (reads && !permission.has('fs.read', resource)) throw accessDenied('FileSystemRead', resource)
  if (writes && !permission.has('fs.write', resource)) throw accessDenied('FileSystemWrite', resource)
}
