/** The options of `open` and `engine.open`, beside the path and the flags. */
import type { Priority } from '../control/wishes.js'

export interface OpenOptions {
  /**
   * Permissions of a file that is created, before the umask of the process is applied.
   * @defaultValue 0o666
   */
  mode?: number | string | undefined
  /**
   * Adds O_DIRECT: transfers go between the device and the buffer, and not through the page cache. This has two costs.
   * Nothing is cached for the next reader. And the buffer, the position and the length of a transfer should be multiples of
   * what the device and the file system ask for; a multiple of 4096 is always enough. A transfer that is not aligned is
   * copied, or goes through the page cache where it writes a part of a block; `engine.stats()` counts it as `bounced`.
   *
   * With `'strict'` a transfer that is not aligned is rejected with `EINVAL`, and the message names the alignment.
   * On the backend `node`, `true` opens the file without O_DIRECT.
   * @defaultValue false
   */
  direct?: boolean | 'strict' | undefined
  /**
   * The p99 of completion latency, in milliseconds, above which the engine at once lowers concurrency on the file's device.
   * More than 0, and at most 60,000. It holds for as long as the file is open. If several files or engines set one for a
   * device, the smallest holds.
   * @defaultValue no guard but the engine's
   */
  guardP99Ms?: number | undefined
  /**
   * Which operations go first when some have to wait for the device.
   * @defaultValue the priority of the engine
   */
  priority?: Priority | undefined
}
