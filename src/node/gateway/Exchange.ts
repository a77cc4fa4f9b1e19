/** One HTTP request with its response, and the platform's own answers to it.
 *
 * Boundary: knows HTTP and the form of errors, nothing of functions. */
import * as Http from "node:http"
import * as CallError from "../../functions/CallError.ts"
import type { Call } from "./Call.ts"

/** A response that knows its call, so that events on it need no closure per request. */
export class Response extends Http.ServerResponse {
  call: Call | undefined
  /** Whom to tell when the client goes away before the call is done. */
  driver: { readonly abandon: (call: Call) => void } | undefined
}

export interface State {
  readonly draining: boolean
}

export class Exchange {
  readonly request: Http.IncomingMessage
  readonly response: Response
  readonly callId: string
  readonly #state: State

  constructor(options: {
    readonly request: Http.IncomingMessage
    readonly response: Response
    readonly callId: string
    readonly state: State
  }) {
    this.request = options.request
    this.response = options.response
    this.callId = options.callId
    this.#state = options.state
  }

  get hasBody(): boolean {
    const { headers } = this.request
    const length = headers["content-length"]
    return headers["transfer-encoding"] !== undefined || (length !== undefined && length !== "0")
  }

  /** Length of the body as announced; undefined for a chunked one. */
  get bodyLength(): number | undefined {
    const length = this.request.headers["content-length"]
    return length === undefined ? undefined : Number(length)
  }

  error(reason: CallError.Reason, detail?: CallError.Detail): void {
    const extra: Array<string> = []
    const after = CallError.retryAfter(reason)
    if (after !== undefined) extra.push("Retry-After", String(after))
    this.answer(CallError.status(reason), "application/json", CallError.body(reason, this.callId, detail), extra)
  }

  answer(status: number, contentType: string, body: string | Uint8Array, extra: ReadonlyArray<string> = []): void {
    const { response } = this
    if (response.headersSent || response.destroyed) return
    const bytes = typeof body === "string" ? Buffer.from(body) : body
    const headers = ["Content-Type", contentType, "Content-Length", String(bytes.length), "X-Call-Id", this.callId]
    if (this.#state.draining) headers.push("Connection", "close")
    response.writeHead(status, [...headers, ...extra])
    response.end(bytes)
  }
}
