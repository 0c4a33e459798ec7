/** A progress bar on stderr. It is drawn only between rounds, since a timer would be measured together with the reads. */

const WIDTH = 24
const CLEAR_LINE = '\r\x1b[2K'

export class Progress {
  readonly #stream: NodeJS.WriteStream | undefined

  /** Draws nothing unless the stream is a terminal. */
  constructor(stream: NodeJS.WriteStream) {
    this.#stream = stream.isTTY ? stream : undefined
  }

  /** @param fraction - how much of the whole is done, 0 to 1 */
  show(fraction: number, what: string): void {
    const filled = Math.round(fraction * WIDTH)
    const bar = '█'.repeat(filled) + '░'.repeat(WIDTH - filled)
    const line = `${bar} ${String(Math.round(fraction * 100)).padStart(3)} %  ${what}`
    this.#stream?.write(CLEAR_LINE + line.slice(0, this.#stream.columns - 1))
  }

  clear(): void {
    this.#stream?.write(CLEAR_LINE)
  }
}
