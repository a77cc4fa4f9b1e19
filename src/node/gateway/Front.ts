/** The HTTP listener: functions, administration, and the probes of load balancers and monitors.
 *
 * Boundary: finds out what a request wants and whether it may; calls go to `Placement`, administration over the link.
 * Nothing is read of a body before it is known who takes it.
 * Invariants: F1, M5 (administration bodies and their number are bounded). */
import * as Http from "node:http"
import * as AdminGuard from "../../functions/AdminGuard.ts"
import * as Directory from "../../functions/Directory.ts"
import * as Headers from "../../functions/Headers.ts"
import * as Invocation from "../../functions/Invocation.ts"
import type * as Link from "../../functions/Link.ts"
import * as Target from "../../functions/Target.ts"
import type { ControlLink } from "./ControlLink.ts"
import * as Exchange from "./Exchange.ts"
import type { GatewayMetrics } from "./GatewayMetrics.ts"
import { HttpCall } from "./HttpCall.ts"
import type { Placement } from "./Placement.ts"

/** A deployed bundle as base64 inside JSON. */
const maxAdminBytes = 24 * 1024 * 1024
const maxAdmin = 16
/** Of clients; more are closed at once. */
const maxConnections = 20_000
const metricsMs = 1000

export interface Options {
  readonly self: string
  readonly bootId: number
  readonly bound: ReadonlySet<string>
  /** Whether a token belongs to a key of the cluster; undefined when that has none. */
  readonly authorized: ((token: string) => boolean) | undefined
  readonly placement: Placement
  readonly link: ControlLink
  readonly metrics: GatewayMetrics
  readonly gauges: () => Parameters<GatewayMetrics["text"]>[0]
  readonly isReady: () => boolean
  readonly resolveMs: number
  readonly adminMs: number
}

type Server = Http.Server<typeof Http.IncomingMessage, typeof Exchange.Response>

export class Front {
  readonly server: Server
  directory = Directory.empty
  readonly #options: Options
  readonly #callIdPrefix: string
  #callIds = 0
  #admin = 0

  constructor(options: Options) {
    this.#options = options
    this.#callIdPrefix = `${options.bootId.toString(36)}-`
    this.server = Http.createServer<typeof Http.IncomingMessage, typeof Exchange.Response>({
      ServerResponse: Exchange.Response,
      keepAlive: true,
      noDelay: true,
      keepAliveTimeout: 65_000
    }, (request, response) => this.#accept(request, response))
    this.server.maxConnections = maxConnections
    this.server.on("clientError", (_error, socket) => {
      options.metrics.reject("http")
      if (!socket.writable) return
      socket.end("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
    })
  }

  #accept(request: Http.IncomingMessage, response: Exchange.Response): void {
    const { placement } = this.#options
    const url = request.url ?? "/"
    const sent = request.headers["x-call-id"]
    const callId = Headers.callId(typeof sent === "string" ? sent : undefined)
      ?? this.#callIdPrefix + (++this.#callIds).toString(36)
    const exchange = new Exchange.Exchange({ request, response, callId, state: placement })
    if (url.startsWith(Target.prefix)) return this.#invoke(exchange, url)
    const query = url.indexOf("?")
    const path = query === -1 ? url : url.slice(0, query)
    if (path.startsWith("/system/")) return this.#administer(exchange, path, query === -1 ? "" : url.slice(query + 1))
    switch (path) {
      case "/healthz":
        return exchange.answer(200, "application/json", "{\"status\":\"ok\"}")
      case "/readyz":
        return this.#ready(exchange)
      case "/metrics":
        return this.#metrics(exchange)
      default:
        return exchange.error("not-found", { message: "functions are at /function/NAME" })
    }
  }

  #ready(exchange: Exchange.Exchange): void {
    if (this.#options.placement.draining) return exchange.error("draining")
    if (!this.#options.isReady()) return exchange.error("unavailable", { message: "not yet part of a cluster" })
    exchange.answer(200, "application/json", "{\"status\":\"ready\"}")
  }

  // --- functions

  #invoke(exchange: Exchange.Exchange, url: string): void {
    const arrivedAt = this.#options.placement.now()
    const target = Target.parse(url)
    if (target === undefined) return exchange.error("not-found", { message: "no such function" })
    const manifest = Directory.resolve(this.directory, target.name, target.ref)
    if (manifest !== undefined) return this.#call(exchange, { target, manifest, arrivedAt })
    const { link, resolveMs } = this.#options
    link.ask({ _tag: "Resolve", name: target.name, ref: target.ref }, resolveMs, (answer) => {
      if (exchange.response.destroyed) return
      if (answer?._tag !== "Resolved") {
        return exchange.error("unavailable", { message: "nobody could say whether the function exists" })
      }
      if (answer.manifest !== undefined) {
        return this.#call(exchange, { target, manifest: answer.manifest, arrivedAt })
      }
      exchange.error(answer.unavailable ? "unavailable" : "not-found", { message: "no such function" })
    })
  }

  #call(
    exchange: Exchange.Exchange,
    wanted: { readonly target: Target.Target; readonly manifest: Link.Version; readonly arrivedAt: number }
  ): void {
    const { placement, self } = this.#options
    const { manifest, target } = wanted
    const { request, response } = exchange
    const { headers } = request
    const deep = headers["x-shoal-depth"]
    const depth = Headers.depth(typeof deep === "string" ? deep : undefined)
    if (Invocation.breach({ self, hops: 0, depth, path: [] }) !== undefined) {
      return exchange.error("loop", {
        path: [self],
        message: `more than ${Invocation.maxDepth} calls inside each other`
      })
    }
    const length = exchange.bodyLength
    if (length !== undefined && length > manifest.limits.bodyBytes) {
      return exchange.error("body-too-large", { message: `the body may have ${manifest.limits.bodyBytes} bytes` })
    }
    if (placement.isFull) return exchange.error("no-capacity")
    const call = new HttpCall({
      asked: {
        callId: exchange.callId,
        method: request.method ?? "GET",
        url: target.url,
        headers: Headers.request(request.rawHeaders, headers.connection),
        depth,
        hops: 0,
        path: none,
        entry: true
      },
      exchange,
      pool: placement.pool(manifest),
      arrivedAt: wanted.arrivedAt,
      self,
      driver: placement
    })
    response.on("close", closed)
    response.on("drain", drained)
    response.driver = placement
    placement.begin(call)
  }

  // --- administration

  #administer(exchange: Exchange.Exchange, path: string, query: string): void {
    const { authorized, bound } = this.#options
    const { request } = exchange
    const remote = request.socket.remoteAddress ?? ""
    const refusal = AdminGuard.refusal({ remote, headers: request.headers, bound, authorized })
    if (refusal !== undefined) {
      this.#options.metrics.reject("guard")
      return exchange.error("forbidden", { message: refusal })
    }
    if ((exchange.bodyLength ?? 0) > maxAdminBytes) return exchange.error("body-too-large")
    if (this.#admin >= maxAdmin) return exchange.error("no-capacity")
    this.#admin++
    exchange.response.on("close", () => this.#admin--)
    const chunks: Array<Uint8Array> = []
    let size = 0
    request.on("data", (chunk: Uint8Array) => {
      size += chunk.length
      if (size <= maxAdminBytes) chunks.push(chunk)
      else exchange.error("body-too-large")
    })
    request.on("end", () => {
      if (size > maxAdminBytes) return
      const body = size === 0 ? undefined : new Uint8Array(Buffer.concat(chunks))
      this.#ask(exchange, {
        _tag: "Admin",
        method: request.method ?? "GET",
        path,
        query,
        body,
        callId: exchange.callId
      })
    })
  }

  #ask(exchange: Exchange.Exchange, question: Omit<Link.ToControl & { readonly _tag: "Admin" }, "id">): void {
    this.#options.link.ask(question, this.#options.adminMs, (answer) => {
      if (answer?._tag !== "AdminReply") return exchange.error("unavailable", { message: "no answer in time" })
      exchange.answer(answer.status, answer.contentType, answer.body)
    })
  }

  #metrics(exchange: Exchange.Exchange): void {
    const { gauges, link, metrics } = this.#options
    const question = {
      _tag: "Admin",
      method: "GET",
      path: "/metrics",
      query: "",
      body: undefined,
      callId: exchange.callId
    } as const
    link.ask(question, metricsMs, (answer) => {
      const control = answer?._tag === "AdminReply" && answer.status === 200 ? Buffer.from(answer.body).toString() : ""
      exchange.answer(200, "text/plain; version=0.0.4; charset=utf-8", metrics.text(gauges()) + control)
    })
  }
}

const none: ReadonlyArray<string> = []

/** Shared by all responses: the client has gone, or everything was sent. */
function closed(this: Exchange.Response): void {
  const { call, driver } = this
  if (call !== undefined && !call.done) driver?.abandon(call)
}

function drained(this: Exchange.Response): void {
  this.call?.drained()
}
