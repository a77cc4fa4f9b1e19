/** One instance as its pool sees it: how much it has to do, and whether its loop turns.
 *
 * Boundary: numbers and what follows from them; the pool sends the question for a sign of life and acts on the silence.
 * A function may compute for as long as its time allows, and meanwhile its thread reads nothing. So a question goes ahead
 * of calls that are sent while others run; what was sent after a question that is still open was never looked at.
 * Questions are only asked when there is something to send: an instance that waits for the network costs nothing. */
import type * as Executor from "../../functions/Executor.ts"

/** A sign of life this old (milliseconds) no longer vouches for the next call. */
export const quietMs = 10
/** After so long without an answer no more calls are sent: they wait, and most of the time not for long. */
export const doubtMs = 40
/** After so long others are started in its place, and calls it never looked at are moved. */
export const stuckMs = 250
/** After so long it is ended, if one of its calls ran out of time. */
export const deadMs = 1000

export class Slot {
  readonly instance: Executor.Instance
  inflight = 0
  idleSince: number
  /** When it last gave a sign of life. */
  heardAt: number
  /** When the question for a sign of life was sent that is still open; 0 without one. */
  askedAt = 0
  /** When to ask, because a call was abandoned that may still be running; Infinity without reason. */
  checkAt = Infinity
  /** A call ran out of time: it lives only if it answers. */
  doomed = false
  stuck = false
  /** It has been stuck before: the log has its line. */
  noted = false
  /** It was silent for too long and is being ended: calls sent after `askedAt` never reached it. */
  killed = false
  ended: Executor.ExitReason | undefined

  constructor(instance: Executor.Instance, now: number) {
    this.instance = instance
    this.idleSince = this.heardAt = now
  }

  /** Calls may be sent to it. */
  takes(now: number): boolean {
    return this.askedAt === 0 || this.#silence(now) <= doubtMs
  }

  /** The next call needs a question ahead of it. */
  isQuiet(now: number): boolean {
    return this.inflight > 0 && this.askedAt === 0 && now - this.heardAt > quietMs
  }

  seemsStuck(now: number): boolean {
    return this.askedAt !== 0 && this.#silence(now) >= stuckMs
  }

  seemsDead(now: number): boolean {
    return this.doomed && this.askedAt !== 0 && this.#silence(now) >= deadMs
  }

  /** It had not looked at a call sent then. */
  ignored(sentAt: number): boolean {
    return this.askedAt !== 0 && sentAt >= this.askedAt
  }

  /** We were not there to hear its answer: what is silent is judged anew. */
  pardon(now: number): void {
    if (this.askedAt !== 0) this.heardAt = now
  }

  heard(now: number): void {
    this.heardAt = now
    this.stuck = false
  }

  #silence(now: number): number {
    return now - Math.max(this.askedAt, this.heardAt)
  }
}
