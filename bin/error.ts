/** A failure that the command foresaw: its message is the whole of what the user is told. */
export class CommandError extends Error {
  /** 1: it could not be done here; 2: the command line is wrong. */
  readonly exitCode: number

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

/** `parseArgs` explains at length how to pass odd positional arguments; its first sentence says what is wrong. */
export function asUsageError(error: unknown): CommandError {
  const message = error instanceof Error ? error.message : String(error)
  const [sentence = message] = message.split(/\.(?:\s|$)|\n/, 1)
  return new CommandError(sentence, 2)
}

/** The `code` of a system error, such as `'ENOSPC'`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
