/** The body of one request in a worker: what has come and was not read yet.
 *
 * Boundary: it takes the data of a call's stream from the first moment, also while the call waits for its turn, and
 * becomes a `ReadableStream` only for a handler that is called. Credit goes back as the function reads, or at once when
 * it does not want the rest.
 * Invariants: M5 (it holds at most one window of its stream). */
import type * as Mux from "../../functions/Mux.ts"

export class RequestBody {
  readonly #stream: Mux.MuxStream
  readonly #chunks: Array<Uint8Array> = []
  #ended = false
  #wanted = true
  #failed: Error | undefined
  #waiting: ReadableStreamDefaultController<Uint8Array> | undefined
  #controller: ReadableStreamDefaultController<Uint8Array> | undefined

  constructor(stream: Mux.MuxStream) {
    this.#stream = stream
    stream.onData = (chunk) => {
      if (!this.#wanted) return stream.consumed(chunk.length)
      this.#chunks.push(chunk)
      this.#wake()
    }
    stream.onEnd = () => {
      this.#ended = true
      this.#wake()
    }
  }

  readable(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#controller = controller
        if (this.#failed !== undefined) controller.error(this.#failed)
      },
      pull: (controller) => this.#give(controller),
      cancel: () => {
        this.#wanted = false
        for (const chunk of this.#chunks.splice(0)) this.#stream.consumed(chunk.length)
      }
    }, { highWaterMark: 0 })
  }

  /** The call was given up: what still reads fails. */
  fail(error: Error): void {
    this.#failed = error
    this.#waiting = undefined
    this.#chunks.length = 0
    this.#controller?.error(error)
  }

  #wake(): void {
    if (this.#waiting !== undefined) this.#give(this.#waiting)
  }

  #give(controller: ReadableStreamDefaultController<Uint8Array>): void {
    const chunk = this.#chunks.shift()
    this.#waiting = chunk === undefined && !this.#ended ? controller : undefined
    if (chunk !== undefined) {
      controller.enqueue(chunk)
      this.#stream.consumed(chunk.length)
    } else if (this.#ended) controller.close()
  }
}
