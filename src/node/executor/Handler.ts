/** Runs the calls of one function in its worker: a stream becomes a `Request`, the handler's `Response` a stream.
 *
 * Boundary: the web objects are made here, not in the gateway. Bodies stream both ways with the credit of the stream;
 * a call without body costs no stream object. What the handler throws is told to the agent, never to the caller.
 * Invariants: F1 (each call ends with an end or an error on its stream). */
import type * as Executor from "../../functions/Executor.ts"
import type * as Mux from "../../functions/Mux.ts"
import * as Control from "./Control.ts"
import * as Lines from "./Lines.ts"
import { RequestBody } from "./RequestBody.ts"
import type * as Turns from "./Turns.ts"

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
  // Below the first frame of this file there is nothing of the function.
  const lines = text.split("\n")
  const ours = lines.findIndex((line) => line.startsWith("    at ") && line.includes(import.meta.url))
  return (ours === -1 ? text : lines.slice(0, ours).join("\n")).slice(0, Control.MaxMessage)
}

class CallContext implements Context {
  readonly callId: string
  readonly deadline: number
  readonly depth: number
  #controller: AbortController | undefined
  #gone: DOMException | undefined
  readonly #listeners: Array<(error: DOMException) => void> = []

  constructor({ callId, depth, timeoutMs }: Executor.CallHead) {
    this.callId = callId
    this.deadline = Date.now() + timeoutMs
    this.depth = depth
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

/** Takes a call: its body from now on, its handler when `turns` say so. */
export const call = (handler: Handler, stream: Mux.MuxStream, head: Executor.CallHead, turns: Turns.Turns): void => {
  const started = performance.now()
  const context = new CallContext(head)
  stream.onCancel = () => context.abort("the call was given up")
  stream.onError = (_, message) => context.abort(message)
  const body = head.method === "GET" || head.method === "HEAD" ? undefined : new RequestBody(stream)
  if (body !== undefined) context.onAbort((error) => body.fail(error))
  turns.add(() => {
    if (stream.finished) return
    void Lines.currentCall.run(context, async () => {
      try {
        const response = await handler(makeRequest(head, context, body), context)
        if (!stream.finished) await reply(stream, response, context)
        stream.end(Buffer.from(`{"execMs":${(performance.now() - started).toFixed(3)}}`))
      } catch (error) {
        stream.error("handler-error", describe(error))
      }
    })
  })
}

const reply = async (stream: Mux.MuxStream, response: unknown, context: CallContext): Promise<void> => {
  if (!(response instanceof Response)) {
    return stream.error("handler-error", `the handler returned ${nameOf(response)} instead of a Response`)
  }
  const { body, bodyUsed, status } = response
  if (bodyUsed || body?.locked === true) {
    return stream.error("handler-error", "the body of the returned Response was used already")
  }
  const head: Executor.ReplyHead = { status, headers: [...response.headers] }
  stream.head(Buffer.from(JSON.stringify(head)))
  if (body !== null) await sendBody(stream, body, context)
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

const makeRequest = (head: Executor.CallHead, context: CallContext, body: RequestBody | undefined): Request => {
  const headers = new Headers()
  for (const [name, value] of head.headers) headers.append(name, value)
  const { method } = head
  const init: RequestInit = body === undefined
    ? { method, headers }
    : { method, headers, body: body.readable(), duplex: "half" }
  return new CallRequest(`http://function${head.url}`, init, context)
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
