/**
 * What a user may wish for of the loops that govern depth: policy, guard, bounds, class. Names and ranges are checked here;
 * what comes of the wishes of all users of a device is decided in the core.
 */
import { invalidArgType, invalidArgValue, outOfRange } from '../checks/errors.js'
import { validateInteger } from '../checks/options.js'

/**
 * How the in-flight limit of a device is found. `'knee'` looks for the smallest limit with the full throughput, `'aimd'` for the
 * largest that the guard allows; a number, 1 to 65,536, is the limit itself.
 */
export type Policy = 'knee' | 'aimd' | number

/** Which operations go first where some have to wait. */
export type Priority = 'high' | 'normal' | 'low'

/** The smallest and the largest in-flight limit. */
export interface InFlightBounds {
  min?: number | undefined
  max?: number | undefined
}

/** What an operation, or the handle that it is on, may ask for. */
export interface PriorityOption {
  /**
   * Goes before or behind others where operations wait for the device; `'low'` is for bulk jobs. Nothing starves.
   * @defaultValue that of the handle
   */
  priority?: Priority | undefined
}

/** What a handle asks for: its class, and a guard of its own. */
export interface HandleWish {
  priority: Priority
  guardP99Ms: number | undefined
}

/** The bounds that an engine asks for; undefined is none. */
export interface BoundsWish {
  inFlightMin: number | undefined
  inFlightMax: number | undefined
}

/** What an engine asks for. */
export interface EngineWish extends HandleWish, BoundsWish {
  policy: Policy
}

/** The class of an operation that names none: that of its handle. */
export const INHERITED = -1

const PRIORITIES: readonly Priority[] = ['high', 'normal', 'low']
const POLICIES: readonly Policy[] = ['knee', 'aimd']

const GUARD_MS_MAX = 60_000
const LIMIT_MAX = 65_536

/** The number of a class across the port. */
export function classOf(priority: Priority): number {
  return PRIORITIES.indexOf(priority)
}

export function validatePriority(value: unknown, name: string): Priority {
  return validateName(value, name, PRIORITIES, 'of type string')
}

/** The class that the options of one operation ask for. */
export function validateClass(priority: unknown): number {
  return priority === undefined ? INHERITED : classOf(validatePriority(priority, 'options.priority'))
}

/** Undefined is no guard of one's own. */
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

/** The wishes of an engine with so many places in a ring. `options` is an object already. */
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

/** What is left out stays as it was before. */
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
