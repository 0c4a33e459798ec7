/** Sizes and numbers, in the form in which people write and read them. */

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

/** The bytes of `'512MiB'`, `'1.5 GiB'`, `'64k'` or `'4096'`; NaN for any other text. Units are powers of 1024. */
export function parseSize(text: string): number {
  const match = /^(\d+(?:\.\d+)?) ?(?:([KMGT])i?B?|B)?$/i.exec(text)
  if (match === null || /[KMGT]B$/i.test(text)) return NaN // 1GB means 10^9 to some and 2^30 to others
  const exponent = ' KMGT'.indexOf((match[2] ?? ' ').toUpperCase())
  return Math.floor(Number(match[1]) * 1024 ** exponent)
}

/** `'1 GiB'`, `'1.5 GiB'`: in the largest unit of which there is at least one, with at most one decimal. */
export function formatSize(bytes: number): string {
  const exponent = bytes < 1 ? 0 : Math.min(Math.floor(Math.log2(bytes) / 10), UNITS.length - 1)
  return `${Number((bytes / 1024 ** exponent).toFixed(1))} ${UNITS[exponent] ?? 'B'}`
}

/** Below a thousand three significant digits, above it whole numbers with separators: `1.24`, `61.3`, `812,345`. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '-'
  if (value >= 1000) return Math.round(value).toLocaleString('en-US')
  return value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2)
}

/** The middle value; of an even number of values, the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const upper = sorted[sorted.length >> 1] ?? NaN
  const lower = sorted[(sorted.length - 1) >> 1] ?? NaN
  return (lower + upper) / 2
}
