/** Runs the calls of one function in its worker: a stream becomes a `Request`, the handler's `Response` a stream.
 *
 * Boundary: the web objects are made here, not in the gateway. Bodies stream both ways with the credit of the stream;
 * a call without body costs no stream object. What the handler throws is told to the agent, never to the caller.
 * Invariants: F1 (each call ends with an end or an error on its stream). */
import type * as Executor from "../../functions/Executor.ts"
import type * as Mux from "../../functions/Mux.ts"
import * as Control from "./Control.ts"
import * as Lines from "./Lines.ts"

/** Handed to a handler as its third argument. */
export interface Context {
  readonly callId: string
  /** Milliseconds since the epoch when the gateway gives the call up. */
  readonly deadline: number
  /** Aborted when the caller is gone or the call was given up. */
  readonly signal: AbortSignal
  /** Keeps an eye on work that goes on after the answer: its failure becomes a log line. */
  waitUntil(work: Promise<unknown>): void
}

export type Handler = (request: Request, context: Context) => unknown

/** The function of a module: its default export, or that one's `fetch`. */
export const find = (module: unknown, env: Readonly<Record<string, string>>): Handler | undefined => {
  const exported = typeof module === "object" && module !== null && "default" in module ? module.default : undefined
  if (typeof exported === "function") return (request, context) => exported(request, env, context)
  if (typeof exported !== "object" || exported === null || !("fetch" in exported)) return undefined
  const { fetch } = exported
  if (typeof fetch !== "function") return undefined
  return (request, context) => fetch.call(exported, request, env, context)
}

export const describe = (error: unknown): string => {
  const text = error instanceof Error ? error.stack ?? `${error.name}: ${error.message}` : `thrown: ${String(error)}`
  return text.slice(0, Control.MaxMessage)
}

class CallContext implements Context {
  readonly callId: string
  readonly deadline: number
  #controller: AbortController | undefined
  #gone: string | undefined

  constructor(callId: string, deadline: number) {
    this.callId = callId
    this.deadline = deadline
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#gone !== undefined) this.abort(this.#gone)
    }
    return this.#controller.signal
  }

  waitUntil(work: Promise<unknown>): void {
    Promise.resolve(work).catch((error: unknown) => console.error("waitUntil:", error))
  }

  abort(reason: string): void {
    this.#gone = reason
    this.#controller?.abort(new DOMException(reason, "AbortError"))
  }
}

/** The body of a request: chunks that came, until somebody reads them. Holds at most one window of its stream. */
const requestBody = (stream: Mux.MuxStream): ReadableStream<Uint8Array> =>
  new ReadableStream<Uint8Array>({
    start: (controller) => {
      stream.onData = (chunk) => controller.enqueue(chunk)
      stream.onEnd = () => controller.close()
    },
    pull: () => {}
  })

export const call = (handler: Handler, stream: Mux.MuxStream, text: string): void => {
  const head: Executor.CallHead = JSON.parse(text)
  void Lines.currentCall.run(head.callId, () => run(handler, stream, head))
}

const run = async (handler: Handler, stream: Mux.MuxStream, head: Executor.CallHead): Promise<void> => {
  const started = performance.now()
  const context = new CallContext(head.callId, Date.now() + head.timeoutMs)
  stream.onCancel = () => context.abort("the call was given up")
  stream.onError = (_, message) => context.abort(message)
  try {
    const bodiless = head.method === "GET" || head.method === "HEAD"
    const headers = new Headers()
    for (const [name, value] of head.headers) headers.append(name, value)
    const request = new Request(`http://function${head.url}`, {
      method: head.method,
      headers,
      ...(bodiless ? {} : { body: requestBody(stream), duplex: "half" })
    })
    const response = await handler(request, context)
    if (!(response instanceof Response)) {
      return stream.error("handler-error", `the handler returned ${typeof response} instead of a Response`)
    }
    stream.head(Buffer.from(JSON.stringify({ status: response.status, headers: [...response.headers] })))
    if (response.body !== null) {
      for await (const chunk of response.body) {
        if (!stream.write(chunk)) await new Promise<void>((resolve) => stream.onWritable = resolve)
        if (stream.finished) return
      }
    }
    stream.end(Buffer.from(JSON.stringify({ execMs: performance.now() - started })))
  } catch (error) {
    stream.error("handler-error", describe(error))
  }
}

/** Touches what Node loads on first use. */
export const warm = async (): Promise<void> => {
  const request = new Request("http://function/", { method: "POST", body: "x", headers: { a: "b" } })
  await request.text()
  const stream = new ReadableStream<Uint8Array>({ start: (controller) => controller.close() })
  await new Response(stream, { headers: new Headers({ a: "b" }) }).arrayBuffer()
  await new Response("x").text()
  new AbortController().abort()
  new URL("http://function/")
}
