/** The request body of one call on its way to whoever runs it, kept at first so that it can be sent once more.
 *
 * Boundary: bytes only. The source pushes and is told to pause; the stream that takes them says when it is full.
 * Invariants: M5 (at most one window here before a stream is there, `replayBytes` kept afterwards). */
import * as Invocation from "../../functions/Invocation.ts"
import type * as Mux from "../../functions/Mux.ts"

/** Where a body comes from. */
export interface Source {
  /** So many bytes have gone on: more may come. */
  readonly took: (bytes: number) => void
  readonly pause: () => void
  readonly resume: () => void
}

export class Body {
  readonly #source: Source
  readonly #limit: number
  readonly #announced: number | undefined
  #kept: Array<Uint8Array> | undefined = []
  #keptBytes = 0
  #owed = 0
  #received = 0
  #paused = false
  #ended = false
  #stream: Mux.MuxStream | undefined

  constructor(source: Source, length: { readonly limit: number; readonly announced: number | undefined }) {
    this.#source = source
    this.#limit = length.limit
    this.#announced = length.announced
  }

  /** It is, or may become, more than can be sent twice. */
  get large(): boolean {
    if (this.#ended) return this.#received > Invocation.replayBytes
    return this.#announced === undefined || this.#announced > Invocation.replayBytes
  }

  /** It can still be sent from its beginning. */
  get replayable(): boolean {
    return this.#kept !== undefined
  }

  /** Takes a chunk. False: the body is over its limit. */
  push(chunk: Uint8Array): boolean {
    this.#received += chunk.length
    if (this.#received > this.#limit) return false
    const stream = this.#stream
    this.#keptBytes += chunk.length
    if (this.#kept !== undefined) {
      if (stream === undefined || this.#keptBytes <= Invocation.replayBytes) this.#kept.push(chunk)
      else this.#kept = undefined
    }
    if (stream === undefined) {
      this.#owed += chunk.length
      if (this.#keptBytes >= Invocation.replayBytes) this.#pause()
    } else if (stream.write(chunk)) this.#source.took(chunk.length)
    else {
      this.#owed += chunk.length
      this.#pause()
    }
    return true
  }

  end(): void {
    this.#ended = true
    this.#stream?.end()
  }

  /** Sends what is here, and from now on everything, to this stream. Only while it is replayable. */
  attach(stream: Mux.MuxStream): void {
    this.#stream = stream
    stream.onWritable = () => this.#resume()
    let writable = true
    for (const chunk of this.#kept ?? []) writable = stream.write(chunk)
    if (this.#keptBytes > Invocation.replayBytes) this.#kept = undefined
    if (this.#ended) stream.end()
    else if (writable) this.#resume()
  }

  /** The stream is gone; wait for the next one, or for the end of the call. */
  detach(): void {
    if (this.#stream !== undefined) this.#stream.onWritable = undefined
    this.#stream = undefined
  }

  #pause(): void {
    if (this.#paused) return
    this.#paused = true
    this.#source.pause()
  }

  #resume(): void {
    const owed = this.#owed
    this.#owed = 0
    if (owed > 0) this.#source.took(owed)
    if (!this.#paused) return
    this.#paused = false
    this.#source.resume()
  }
}
