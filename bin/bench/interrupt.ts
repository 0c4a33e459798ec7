/** Signals end the benchmark with a sentence; the file goes with the process's `exit` event. */

const EXIT_CODES = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const

/** From now on, each of the signals writes its sentence to stderr and ends the process. */
export function endOnSignal(sentence: (signal: string) => string): void {
  for (const [signal, exitCode] of Object.entries(EXIT_CODES)) {
    process.on(signal, () => {
      process.stderr.write(sentence(signal))
      process.exit(exitCode)
    })
  }
}
