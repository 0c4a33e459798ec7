/** Signals end the benchmark. The file is removed in the `exit` event of the process. */

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

/** From now on, a signal writes its sentence to stderr and ends the process. */
export function endOnSignal(sentence: (signal: string) => string): void {
  for (const [signal, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(signal, () => {
      process.stderr.write(sentence(signal))
      process.exit(exitCode)
    })
  }
}

/** The signal that ended a sweep early, once one has come. */
export interface Interruption {
  signal: AbortSignal
  /** The name of the signal, and the exit code for it. */
  by: { name: string; exitCode: number } | undefined
}

/** From now on, the first signal asks the sweep to end. A second one ends the process. */
export function stopOnSignal(): Interruption {
  const controller = new AbortController()
  const interruption: Interruption = { signal: controller.signal, by: undefined }
  for (const [name, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(name, () => {
      if (interruption.by !== undefined) process.exit(exitCode)
      interruption.by = { name, exitCode }
      controller.abort()
    })
  }
  return interruption
}
