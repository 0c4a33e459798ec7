/**
 * What a user may wish for of the loops that control how many operations a device is given at once: policy, guard, bounds and
 * priority. Names and ranges are checked here. The core decides what comes of the wishes of all users of a device.
 */
import { invalidArgType, invalidArgValue, outOfRange } from '../checks/errors.js'
import { validateInteger } from '../checks/options.js'

/**
 * How the in-flight limit of a device is found. `'knee'` looks for the smallest limit that gives the full throughput. `'aimd'` looks
 * for the largest limit that the guard allows. A number, 1 to 65,536, is the limit itself.
 */
export type Policy = 'knee' | 'aimd' | number

/** Which operations go first when some have to wait for the device. */
export type Priority = 'high' | 'normal' | 'low'

/** The smallest and the largest in-flight limit. */
export interface InFlightBounds {
  min?: number | undefined
  max?: number | undefined
}

/** What an operation, or the handle that it is on, may ask for. */
export interface PriorityOption {
  /**
   * Which operations go first when some have to wait for the device. `'low'` is for bulk jobs. Low operations are never held back
   * for ever.
   * @defaultValue the priority of the handle
   */
  priority?: Priority | undefined
}

/**
 * What an engine wishes for on the devices of its files. The options of an engine, the engine and the port carry this record.
 *
 * Other engines and threads may use the same devices and have other wishes. Of several guards the smallest holds. Of several
 * policies the one that was asked for last holds. Of several maxima the smallest holds, and of several minima the largest that is
 * not above that maximum.
 */
export interface Wish {
  /**
   * The p99 of completion latency, in milliseconds, above which concurrency on a device is cut at once; more than 0, at most
   * 60,000.
   * @defaultValue 10; on a slower device, 20 times the latency of an operation that is alone
   */
  guardP99Ms: number | undefined
  /**
   * How the in-flight limit of a device is found: see {@link Policy}. A number is the limit itself, within the bounds; the guard does
   * not cut it.
   * @defaultValue 'knee'
   */
  policy: Policy
  /**
   * The smallest in-flight limit, 1 to `queueDepth`. More than 1 costs latency if the device is slow.
   * @defaultValue 1
   */
  inFlightMin: number | undefined
  /**
   * The largest in-flight limit, 1 to `queueDepth`. Fewer than the device needs cost throughput.
   * @defaultValue `queueDepth`; on the backend `threads`, the number of its threads
   */
  inFlightMax: number | undefined
  /**
   * The priority of the handles that are opened without one of their own: which operations go first when some have to wait for the
   * device.
   * @defaultValue 'normal'
   */
  priority: Priority
}

/** The part of the record that a handle has: the priority of its operations, and a guard of its own. */
export type HandleWish = Pick<Wish, 'priority' | 'guardP99Ms'>

/** The part of the record that bounds the in-flight limit. */
type BoundsWish = Pick<Wish, 'inFlightMin' | 'inFlightMax'>

/** The record as a user writes it down: whatever is left out is no wish. */
export type WishOptions = { [Name in keyof Wish]?: Wish[Name] | undefined }

/** Stands for the priority of the handle, in an operation that names none itself. */
export const INHERITED = -1

const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']
const POLICIES: readonly Policy[] = ['knee', 'aimd']

const GUARD_MS_MAX = 60_000
const LIMIT_MAX = 65_536

/** The number that stands for a priority in the port: 0 is high, 1 normal, 2 low. */
export function classOf(priority: Priority): number {
  return PRIORITIES.indexOf(priority)
}

export function validatePriority(value: unknown, name: string): Priority {
  return validateName(value, name, PRIORITIES, 'of type string')
}

/** The number of the priority that the options of one operation name. */
export function validateClass(priority: unknown): number {
  return priority === undefined ? INHERITED : classOf(validatePriority(priority, 'options.priority'))
}

/** Undefined means no guard. */
export function validateGuard(value: unknown, name: string): number | undefined {
  if (value === undefined) return undefined
  if (typeof value !== 'number') throw invalidArgType(name, 'of type number', value)
  if (!(value > 0 && value <= GUARD_MS_MAX)) throw outOfRange(name, `> 0 && <= ${GUARD_MS_MAX}`, value)
  return value
}

export function validatePolicy(value: unknown, name: string): Policy {
  if (typeof value === 'number') return validateInteger(value, name, 1, LIMIT_MAX)
  return validateName(value, name, POLICIES, 'one of type string or number')
}

/** The wish of an engine whose rings hold `queueDepth` operations. `options` has been checked to be an object. */
export function validateWish(options: Record<string, unknown>, queueDepth: number): Wish {
  const { guardP99Ms, policy = 'knee', inFlightMin, inFlightMax, priority = 'normal' } = options
  return {
    guardP99Ms: validateGuard(guardP99Ms, 'options.guardP99Ms'),
    policy: validatePolicy(policy, 'options.policy'),
    ...validateBounds(
      { min: inFlightMin, max: inFlightMax },
      ['options.inFlightMin', 'options.inFlightMax'],
      queueDepth,
    ),
    priority: validatePriority(priority, 'options.priority'),
  }
}

/** A bound that is left out stays as it was before. */
export function validateBounds(
  { min, max }: { min?: unknown; max?: unknown },
  [nameMin, nameMax]: readonly [string, string],
  queueDepth: number,
  before: BoundsWish = { inFlightMin: undefined, inFlightMax: undefined },
): BoundsWish {
  const inFlightMin = min === undefined ? before.inFlightMin : validateInteger(min, nameMin, 1, queueDepth)
  const inFlightMax = max === undefined ? before.inFlightMax : validateInteger(max, nameMax, 1, queueDepth)
  if (inFlightMin !== undefined && inFlightMax !== undefined && inFlightMin > inFlightMax) {
    throw outOfRange(nameMin, `<= ${nameMax}, which is ${inFlightMax}`, inFlightMin)
  }
  return { inFlightMin, inFlightMax }
}

function validateName<T>(value: unknown, name: string, allowed: readonly T[], type: string): T {
  if (typeof value !== 'string') throw invalidArgType(name, type, value)
  if (!(allowed as readonly unknown[]).includes(value)) {
    throw invalidArgValue(name, value, `must be one of: ${allowed.map((one) => `'${String(one)}'`).join(', ')}`)
  }
  return value as T
}
