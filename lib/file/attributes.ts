/**
 * The methods of a FileHandle that neither read nor write: metadata, durability, and the wishes for the control loops. Each
 * function checks the arguments of one method, in Node's order, and starts its operation. Those that answer with a promise
 * reject it, and never throw.
 */
import type { BigIntStats, Stats } from 'node:fs'
import { rejection } from '../checks/errors.js'
import { validateInteger, validateMode, validateObject, validateOwner, validateTime } from '../checks/options.js'
import { validateGuard, validatePriority } from '../control/wishes.js'
import type { OpenFile } from './open-file.js'
import { makeStats } from './stat.js'

export function stat(file: OpenFile, options: unknown): Promise<Stats | BigIntStats> {
  return attempt(file, 'fstat', () => {
    const { bigint } = options === undefined ? {} : (validateObject(options, 'options') as { bigint?: unknown })
    const fields = file.slots.stat(file, Boolean(bigint))
    return fields instanceof Promise ? fields.then(makeStats) : Promise.resolve(makeStats(fields))
  })
}

export function sync(file: OpenFile): Promise<void> {
  return attempt(file, 'fsync', () => file.slots.perform('sync', [file.handle]))
}

export function datasync(file: OpenFile): Promise<void> {
  return attempt(file, 'fdatasync', () => file.slots.perform('syncData', [file.handle]))
}

export function truncate(file: OpenFile, length: unknown): Promise<void> {
  return attempt(file, 'ftruncate', () =>
    file.slots.perform('truncate', [file.handle, Math.max(0, validateInteger(length, 'len'))]),
  )
}

export function chmod(file: OpenFile, mode: unknown): Promise<void> {
  return attempt(file, 'fchmod', () => file.slots.perform('setMode', [file.handle, validateMode(mode)]))
}

export function chown(file: OpenFile, uid: unknown, gid: unknown): Promise<void> {
  return attempt(file, 'fchown', () =>
    file.slots.perform('setOwner', [file.handle, validateOwner(uid, 'uid'), validateOwner(gid, 'gid')]),
  )
}

export function utimes(file: OpenFile, atime: unknown, mtime: unknown): Promise<void> {
  return attempt(file, 'futimes', () =>
    file.slots.perform('setTimes', [file.handle, validateTime(atime, 'atime'), validateTime(mtime, 'mtime')]),
  )
}

/** @throws if the file is closed or the name is not one of a priority */
export function setPriority(file: OpenFile, priority: unknown): void {
  file.assertOpen('priority')
  file.setPriority(validatePriority(priority, 'priority'))
}

/** @throws if the file is closed or the guard is out of range */
export function setGuard(file: OpenFile, milliseconds: unknown): void {
  file.assertOpen('guardP99Ms')
  file.setGuard(validateGuard(milliseconds, 'guardP99Ms'))
}

/** Starts an operation on an open file. What `start` throws, and that the file is closed, becomes a rejection. */
function attempt<T>(file: OpenFile, syscall: string, start: () => Promise<T>): Promise<T> {
  try {
    file.assertOpen(syscall)
    return start()
  } catch (error) {
    return rejection(error)
  }
}
