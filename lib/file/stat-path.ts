/** Stats a path: the arguments are checked in Node's order, and Node's permission model is asked as Node's own `stat` asks it. */
import { constants, type BigIntStats, type Stats } from 'node:fs'
import { validateObject, validatePath } from '../checks/options.js'
import { checkPermission } from '../checks/permission.js'
import type { Slots } from '../operations/slots.js'
import { makeStats } from './stat.js'

export interface StatOptions {
  /**
   * Whether the numbers are bigints, with times in nanoseconds.
   * @defaultValue false
   */
  bigint?: boolean | undefined
}

/** Without `follow`, it is the stat of the link itself if the path's last part is a symbolic link. */
export async function statPath(
  slots: Slots,
  path: unknown,
  options: unknown,
  follow: boolean,
): Promise<Stats | BigIntStats> {
  const name = validatePath(path)
  const { bigint } = options === undefined ? {} : (validateObject(options, 'options') as { bigint?: unknown })
  checkPermission(name, constants.O_RDONLY)
  return makeStats(await slots.perform('statPath', [name, Boolean(bigint), follow]))
}
