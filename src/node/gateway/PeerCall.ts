/** A call handed over by another node: its body and its answer travel on the stream it came by.
 *
 * Boundary: it is run here or given back, never forwarded; the entry node takes the reply apart and writes the errors. */
import type * as CallError from "../../functions/CallError.ts"
import * as Hop from "../../functions/Hop.ts"
import type * as Invocation from "../../functions/Invocation.ts"
import type * as Mux from "../../functions/Mux.ts"
import { Body } from "./Body.ts"
import { Call, letGo } from "./Call.ts"
import type * as Pool from "./Pool.ts"

export interface Driver {
  readonly abandon: (call: Call) => void
  readonly fail: (call: Call, reason: CallError.Reason) => void
}

export class PeerCall extends Call {
  readonly #stream: Mux.MuxStream
  readonly #large: boolean

  constructor(options: {
    readonly stream: Mux.MuxStream
    readonly request: Hop.Request
    readonly pool: Pool.Pool
    readonly now: number
    readonly driver: Driver
  }) {
    const { driver, now, pool, request, stream } = options
    const left = Math.min(request.timeoutMs, pool.manifest.limits.timeoutMs)
    super({ ...request, entry: false }, pool, { arrivedAt: now, deadline: now + left })
    this.#stream = stream
    this.#large = request.large
    const body = new Body(
      { took: (bytes) => stream.consumed(bytes), pause: () => {}, resume: () => {} },
      { limit: pool.manifest.limits.bodyBytes, announced: undefined }
    )
    this.body = body
    stream.onData = (chunk) => {
      if (!this.done && !body.push(chunk)) driver.fail(this, "body-too-large")
    }
    stream.onEnd = () => {
      if (!this.done) body.end()
    }
    stream.onCancel = () => driver.abandon(this)
    stream.onError = () => driver.abandon(this)
    stream.onWritable = () => this.drained()
  }

  override accept(): void {
    if (this.#large) this.#stream.head(Hop.accepted)
  }

  localHead(raw: Uint8Array, told: Hop.Told): boolean {
    const head = Hop.encodeReply(told, raw)
    if (this.#large) this.#stream.write(Hop.prefixed(head))
    else this.#stream.head(head)
    return true
  }

  remoteHead(): boolean {
    return false
  }

  protected data(chunk: Uint8Array): boolean {
    return this.#stream.write(chunk)
  }

  finish(trailer: Uint8Array): void {
    this.#stream.end(trailer)
    letGo(this.#stream)
  }

  fail(reason: CallError.Reason, detail: CallError.Detail): void {
    this.#stream.error(Hop.failedCode(reason), detail.path?.join(" ") ?? "")
    letGo(this.#stream)
  }

  refuse(refusal: Invocation.Refusal): void {
    this.#stream.error(Hop.refusedCode(refusal), "")
    letGo(this.#stream)
  }
}
