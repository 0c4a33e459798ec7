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

/** What a handle wishes for: the priority of its operations, and a guard of its own. */
export interface HandleWish {
  priority: Priority
  guardP99Ms: number | undefined
}

/** The bounds of the in-flight limit that an engine wishes for; undefined is none. */
export interface BoundsWish {
  inFlightMin: number | undefined
  inFlightMax: number | undefined
}

/** What an engine wishes for. */
export interface EngineWish extends HandleWish, BoundsWish {
  policy: Policy
}

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

/** The wishes of an engine whose rings hold `queueDepth` operations. `options` has been checked to be an object. */
export function validateEngineWish(options: Record<string, unknown>, queueDepth: number): EngineWish {
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
