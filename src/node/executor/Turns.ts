/** Gives calls of one worker their turns, so that its loop comes around between them.
 *
 * Boundary: calls often arrive many in one chunk. Run one after the other, a hundred calls of some milliseconds each
 * would hold back the first answer until the last was made, and the loop would seem dead to a ping. So a turn takes as
 * many calls as lately fitted into a few milliseconds, what they did after their first `await` included.
 * Invariants: M5 (it holds at most the streams of one connection). */

const TurnMs = 3
const MaxBatch = 256

export class Turns {
  readonly #queue: Array<() => void> = []
  readonly #between: () => void
  #scheduled = false
  #started = 0
  #ran = 0
  #batch = MaxBatch
  #average = 0

  /** `between` is called between two turns. */
  constructor(between: () => void) {
    this.#between = between
  }

  add(job: () => void): void {
    if (!this.#scheduled) {
      this.#scheduled = true
      this.#started = performance.now()
      this.#ran = 0
      setImmediate(this.#turn)
    }
    if (this.#queue.length > 0 || !this.#room()) {
      this.#queue.push(job)
      return
    }
    this.#ran++
    job()
  }

  readonly #turn = (): void => {
    const now = performance.now()
    if (this.#ran > 0) {
      this.#average = this.#average * 0.75 + (now - this.#started) / this.#ran * 0.25
      this.#batch = Math.max(1, Math.min(MaxBatch, Math.floor(TurnMs / Math.max(this.#average, 0.001))))
    }
    if (this.#queue.length === 0) {
      this.#scheduled = false
      return
    }
    this.#between()
    this.#started = now
    this.#ran = 0
    // This one runs after the loop has read what has come.
    setImmediate(this.#turn)
    while (this.#queue.length > 0 && this.#room()) {
      this.#ran++
      this.#queue.shift()?.()
    }
  }

  #room(): boolean {
    return this.#ran < this.#batch && (this.#ran === 0 || performance.now() - this.#started < TurnMs)
  }
}
