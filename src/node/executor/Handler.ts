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
  #gone: DOMException | undefined
  readonly #listeners: Array<(error: DOMException) => void> = []

  constructor(callId: string, deadline: number) {
    this.callId = callId
    this.deadline = deadline
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#gone !== undefined) this.#controller.abort(this.#gone)
    }
    return this.#controller.signal
  }

  waitUntil(work: Promise<unknown>): void {
    Promise.resolve(work).catch((error: unknown) => console.error("waitUntil:", error))
  }

  abort(reason: string): void {
    if (this.#gone !== undefined) return
    this.#gone = new DOMException(reason, "AbortError")
    this.#controller?.abort(this.#gone)
    for (const listener of this.#listeners) listener(this.#gone)
  }

  /** For the call: told once when it is given up. */
  onAbort(listener: (error: DOMException) => void): void {
    if (this.#gone !== undefined) listener(this.#gone)
    else this.#listeners.push(listener)
  }
}

/** The body of a request: what has come and was not read yet, at most one window of the stream. Credit goes back as it
 * is read, or at once when the function does not want it. */
const requestBody = (stream: Mux.MuxStream, context: CallContext): ReadableStream<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let ended = false
  let wanted = true
  let waiting: ReadableStreamDefaultController<Uint8Array> | undefined
  const give = (controller: ReadableStreamDefaultController<Uint8Array>): void => {
    const chunk = chunks.shift()
    waiting = chunk === undefined && !ended ? controller : undefined
    if (chunk !== undefined) {
      controller.enqueue(chunk)
      stream.consumed(chunk.length)
    } else if (ended) controller.close()
  }
  stream.onData = (chunk) => {
    if (!wanted) return stream.consumed(chunk.length)
    chunks.push(chunk)
    if (waiting !== undefined) give(waiting)
  }
  stream.onEnd = () => {
    ended = true
    if (waiting !== undefined) give(waiting)
  }
  return new ReadableStream<Uint8Array>({
    start: (controller) => context.onAbort((error) => controller.error(error)),
    pull: give,
    cancel: () => {
      wanted = false
      for (const chunk of chunks.splice(0)) stream.consumed(chunk.length)
    }
  }, { highWaterMark: 0 })
}

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
    const response = await handler(makeRequest(stream, head, context), context)
    if (stream.finished) return
    if (!(response instanceof Response)) {
      return stream.error("handler-error", `the handler returned ${nameOf(response)} instead of a Response`)
    }
    if (response.bodyUsed) return stream.error("handler-error", "the body of the returned Response was used already")
    const reply: Executor.ReplyHead = { status: response.status, headers: [...response.headers] }
    stream.head(Buffer.from(JSON.stringify(reply)))
    if (response.body !== null) await sendBody(stream, response.body, context)
    stream.end(Buffer.from(`{"execMs":${(performance.now() - started).toFixed(3)}}`))
  } catch (error) {
    stream.error("handler-error", describe(error))
  }
}

const nameOf = (value: unknown): string =>
  typeof value === "object" && value !== null ? value.constructor?.name ?? "an object" : String(typeof value)

/** A request whose signal is that of its call, made only when somebody asks for it. */
class CallRequest extends Request {
  readonly #context: CallContext

  constructor(url: string, init: RequestInit, context: CallContext) {
    super(url, init)
    this.#context = context
  }

  // The type of `Request` has it as a property, so it cannot be overridden by a getter in the class.
  static {
    Object.defineProperty(this.prototype, "signal", {
      get(this: CallRequest) {
        return this.#context.signal
      }
    })
  }
}

const makeRequest = (stream: Mux.MuxStream, head: Executor.CallHead, context: CallContext): Request => {
  const headers = new Headers()
  for (const [name, value] of head.headers) headers.append(name, value)
  const url = `http://function${head.url}`
  const { method } = head
  if (method === "GET" || method === "HEAD") return new CallRequest(url, { method, headers }, context)
  return new CallRequest(url, { method, headers, body: requestBody(stream, context), duplex: "half" }, context)
}

const sendBody = async (
  stream: Mux.MuxStream,
  body: ReadableStream<Uint8Array>,
  context: CallContext
): Promise<void> => {
  const reader = body.getReader()
  let resume: (() => void) | undefined
  context.onAbort((error) => {
    reader.cancel(error).catch(() => {})
    resume?.()
  })
  stream.onWritable = () => resume?.()
  while (!stream.finished) {
    const { done, value } = await reader.read()
    if (done) return
    if (!(value instanceof Uint8Array)) throw new TypeError("the body of the Response is not made of bytes")
    if (!stream.write(value) && !stream.finished) await new Promise<void>((resolve) => resume = resolve)
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
