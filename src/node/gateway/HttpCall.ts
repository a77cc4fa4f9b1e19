/** A call of a client: body from the request, answer into the response.
 *
 * Boundary: HTTP/1.1 by `node:http`; what is said about the call in headers is composed here. A short answer that came
 * whole leaves in one write with its length; a longer one is streamed as far as the client reads.
 * Invariants: F1 (an answer, an error in JSON, or a closed connection when the answer had begun). */
import type * as CallError from "../../functions/CallError.ts"
import * as Headers from "../../functions/Headers.ts"
import * as Hop from "../../functions/Hop.ts"
import { Body } from "./Body.ts"
import * as Call from "./Call.ts"
import type * as Exchange from "./Exchange.ts"
import type * as Pool from "./Pool.ts"

export interface Driver {
  readonly now: () => number
  readonly draining: boolean
  readonly abandon: (call: Call.Call) => void
  readonly fail: (call: Call.Call, reason: CallError.Reason) => void
}

export interface Options {
  readonly asked: Call.Asked
  readonly exchange: Exchange.Exchange
  readonly pool: Pool.Pool
  readonly arrivedAt: number
  readonly self: string
  readonly driver: Driver
}

/** Longer bodies are not worth being copied twice. */
const joinedBytes = 8 * 1024

/** Every byte is one character and the other way around. */
const latin1 = ({ buffer, byteLength, byteOffset }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, byteLength).toString("latin1")

const text = (milliseconds: number): string => (Math.round(milliseconds * 100) / 100).toString()

export class HttpCall extends Call.Call {
  readonly #exchange: Exchange.Exchange
  readonly #driver: Driver
  readonly #self: string
  #head: Hop.ReplyHead | undefined
  #told: Hop.Told | undefined
  #held: Array<Uint8Array> = []
  #sent = false
  /** Bytes the reply may still have by its own `content-length`; undefined when it named none. */
  #left: number | undefined

  constructor(options: Options) {
    const { arrivedAt, asked, driver, exchange, pool } = options
    super(asked, pool, { arrivedAt, deadline: arrivedAt + pool.manifest.limits.timeoutMs })
    this.#exchange = exchange
    this.#driver = driver
    this.#self = options.self
    exchange.response.call = this
    if (exchange.hasBody) this.#takeBody()
  }

  #takeBody(): void {
    const { request } = this.#exchange
    const body = new Body(
      { took: () => {}, pause: () => void request.pause(), resume: () => void request.resume() },
      { limit: this.pool.manifest.limits.bodyBytes, announced: this.#exchange.bodyLength }
    )
    this.body = body
    request.on("data", (chunk: Uint8Array) => {
      if (!this.done && !body.push(chunk)) this.#driver.fail(this, "body-too-large")
    })
    request.on("end", () => {
      if (!this.done) body.end()
    })
  }

  localHead(raw: Uint8Array, told: Hop.Told): boolean {
    return this.#take(Hop.decodeReplyHead(raw), told)
  }

  remoteHead(raw: Uint8Array): boolean {
    const reply = Hop.decodeReply(raw)
    if (reply !== undefined) this.start = reply.told.start
    return this.#take(reply?.head, reply?.told)
  }

  #take(head: Hop.ReplyHead | undefined, told: Hop.Told | undefined): boolean {
    if (head === undefined || told === undefined || head.status < 200) return false
    this.#head = head
    this.#told = told
    // What arrived in the same read follows before the next tick: then one write will do.
    process.nextTick(flush, this)
    return true
  }

  protected data(chunk: Uint8Array): boolean {
    if (this.#sent) return this.#write(chunk)
    this.#held.push(chunk)
    return true
  }

  finish(trailer: Uint8Array): void {
    const { response } = this.#exchange
    if (this.#sent) {
      if (this.#left !== undefined && this.#left > 0) response.destroy()
      else response.end()
      return
    }
    const whole = this.#held.length === 1 ? this.#held[0] : Buffer.concat(this.#held)
    const length = whole?.length ?? 0
    if (!this.#sendHead(length, Hop.decodeTrailer(trailer))) return
    if (whole === undefined || length === 0) response.end()
    // As text it leaves joined to the head, in one cheap write instead of one that gathers two pieces.
    else if (length <= joinedBytes) response.end(latin1(whole), "latin1")
    else response.end(whole)
  }

  /** Sends what is held: the rest of the answer takes longer. */
  flush(): void {
    if (this.#sent || this.done || this.#head === undefined) return
    const held = this.#held
    this.#held = []
    if (!this.#sendHead(undefined, undefined)) return
    // Their credit was given when they were held: at most one window.
    for (const chunk of held) this.#write(chunk)
    if (held.length === 0) this.#exchange.response.flushHeaders()
  }

  #write(chunk: Uint8Array): boolean {
    const { response } = this.#exchange
    if (this.#left === undefined) return response.write(chunk)
    const fitting = chunk.length <= this.#left ? chunk : chunk.subarray(0, this.#left)
    // More than it announced would be read as the next answer on this connection.
    if (fitting.length < chunk.length) {
      this.#driver.abandon(this)
      response.destroy()
      return true
    }
    this.#left -= fitting.length
    return response.write(fitting)
  }

  /** False: the head cannot be sent, and an error was sent in its place. */
  #sendHead(whole: number | undefined, execMs: number | undefined): boolean {
    const { request, response } = this.#exchange
    const head = this.#head
    const told = this.#told
    if (head === undefined || told === undefined) return false
    const flat: Array<string> = []
    const { length } = Headers.reply(head.headers, flat)
    const bodiless = request.method === "HEAD" || head.status === 204 || head.status === 304
    const declared = whole === undefined || bodiless ? length : whole
    if (declared !== undefined && head.status !== 204) flat.push("Content-Length", String(declared))
    this.#left = bodiless ? undefined : declared
    const route = this.placedAt - this.arrivedAt
    flat.push(
      "X-Call-Id",
      this.asked.callId,
      "X-Shoal-Start",
      told.start,
      "X-Shoal-Node",
      told.node,
      "X-Shoal-Version",
      this.pool.manifest.version,
      "X-Shoal-Hops",
      told.node === this.#self ? "0" : "1",
      "Server-Timing",
      `route;dur=${text(route)}, queue;dur=${text(told.queue)}, init;dur=${text(told.init)}, exec;dur=${
        text(execMs ?? told.exec)
      }`
    )
    if (this.#driver.draining) flat.push("Connection", "close")
    try {
      response.writeHead(head.status, flat)
    } catch {
      // A name or value that HTTP forbids; nothing was written.
      this.replied = false
      this.#driver.fail(this, "bad-reply")
      return false
    }
    this.#sent = true
    return true
  }

  fail(reason: CallError.Reason, detail: CallError.Detail): void {
    if (this.#sent) this.#exchange.response.destroy()
    else this.#exchange.error(reason, detail)
    this.#sent = true
  }

  refuse(): void {
    this.#exchange.error("no-capacity")
  }
}

const flush = (call: HttpCall): void => call.flush()
