/** A failure that the command expects. The user is told its message and nothing else. */
export class CommandError extends Error {
  /** 1 means that it could not be done here; 2 means that the command line is wrong. */
  readonly exitCode: number

  constructor(message: string, exitCode: 1 | 2 = 1) {
    super(message)
    this.name = 'CommandError'
    this.exitCode = exitCode
  }
}

/** Of a message of `parseArgs` only the first sentence is kept. It says what is wrong; the others explain rare arguments. */
export function asUsageError(error: unknown): CommandError {
  const message = error instanceof Error ? error.message : String(error)
  const [sentence = message] = message.split(/\.(?:\s|$)|\n/, 1)
  return new CommandError(sentence, 2)
}

/** The `code` of a system error, such as `'ENOSPC'`. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}
