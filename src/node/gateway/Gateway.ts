/** One node's gateway: its HTTP listener, its data listener, and the calls between them.
 *
 * Boundary: plain Node, put together here; it knows the control plane only by the messages of `functions/Link.ts`, so
 * that it can be moved to a thread. Decisions are in the pure `Invocation`, `RouteCache` and `AdminGuard`.
 * Invariants: F1, F3 (`drain` loses no accepted call), M5. */
import * as Schema from "effect/Schema"
import type * as Net from "node:net"
import * as Hello from "../../cluster/Hello.ts"
import * as Directory from "../../functions/Directory.ts"
import type * as Executor from "../../functions/Executor.ts"
import type * as Link from "../../functions/Link.ts"
import * as RouteCache from "../../functions/RouteCache.ts"
import * as Tcp from "../Tcp.ts"
import { ControlLink } from "./ControlLink.ts"
import { Front } from "./Front.ts"
import { GatewayMetrics } from "./GatewayMetrics.ts"
import { PeerListener } from "./PeerListener.ts"
import { PeerPool } from "./PeerPool.ts"
import { Placement } from "./Placement.ts"

/** A listener could not be opened. Fault: the operator's (port, rights, address). State: nothing listens. Retry: after
 * the cause is gone. */
export class ListenError extends Schema.TaggedError<ListenError>()("ListenError", {
  reason: Schema.Literals(["port-in-use", "not-permitted", "no-such-address", "failed"]),
  listener: Schema.Literals(["http", "data"]),
  host: Schema.String,
  port: Schema.Finite,
  message: Schema.String
}) {}

export interface Address {
  readonly host: string
  /** 0: any free port. */
  readonly port: number
}

/** Times and sizes with their defaults; milliseconds where not said otherwise. */
export interface Tuning {
  /** how long the control plane may take to say where a version is warm; then it is run here (150). It gives up asking
   * others after 50 by itself, so this is met only when it does not come to answer at all. */
  readonly locateMs: number
  /** a permission to start that took this long is asked for once more (30) */
  readonly doubtMs: number
  /** between two looks for a version that another node starts (15) */
  readonly waitMs: number
  /** how long another node's lease is believed in without hearing of it again (300) */
  readonly leaseMs: number
  readonly resolveMs: number
  readonly bundleMs: number
  readonly adminMs: number
  /** how long a node is skipped whose connection was refused or broke (1000) */
  readonly skipMs: number
  readonly connectMs: number
  /** an unused connection to a node is closed after (60,000) */
  readonly idleMs: number
  /** a route is asked for anew, in the background, after (2000) */
  readonly freshMs: number
  /** how exact timeouts are (20) */
  readonly sweepMs: number
  /** versions in the route cache (10,000) */
  readonly routes: number
  /** calls at once (20,000) */
  readonly calls: number
}

export const tuning: Tuning = {
  locateMs: 150,
  doubtMs: 30,
  waitMs: 15,
  leaseMs: 300,
  resolveMs: 3000,
  bundleMs: 15_000,
  adminMs: 30_000,
  skipMs: 1000,
  connectMs: 1000,
  idleMs: 60_000,
  freshMs: 2000,
  sweepMs: 20,
  routes: 10_000,
  calls: 20_000
}

export type Log = (line: {
  readonly level: "info" | "warn" | "error"
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}) => void

export interface Options {
  readonly http: Address
  readonly data: Address
  readonly self: { readonly id: string; readonly bootId: number; readonly label: string }
  readonly executor: Executor.Executor
  readonly link: Link.GatewayPort
  readonly log: Log
  readonly tuning?: Partial<Tuning>
  /** Who besides programs of this machine may administrate: holders of these tokens. Default: nobody. */
  readonly authorized?: ((token: string) => boolean) | undefined
  /** How data connections are made; default: in clear. */
  readonly tcp?: Tcp.Tcp | undefined
}

export interface Gateway {
  /** Where it listens, with the ports it got. */
  readonly addresses: { readonly http: Address; readonly data: Address }
  /** From now on `/readyz` is 503 and answers close their connection. After `lingerMs` (default 0) of further service
   * nothing new is accepted. Resolves when every accepted call has ended; may be called again. */
  drain(lingerMs?: number): Promise<void>
  /** Ends everything at once. Instances are the executor's to stop. */
  close(): Promise<void>
}

/** Opens both listeners. Rejects with `ListenError`; nothing is left open then. */
export const makeGateway = async (options: Options): Promise<Gateway> => {
  const parts = assemble(options)
  const { front, listener } = parts
  const http = await listen(front.server, "http", options.http)
  try {
    const data = await listen(listener.server, "data", options.data)
    return running(parts, { http, data })
  } catch (error) {
    front.server.close()
    parts.link.close()
    throw error
  }
}

const assemble = (options: Options) => {
  const { executor, http, self, tcp = Tcp.plain } = options
  const tuned: Tuning = { ...tuning, ...options.tuning }
  const now = () => performance.now()
  const metrics = new GatewayMetrics()
  const link = new ControlLink(options.link)
  let epoch = 0
  const hello = (): Hello.Hello => ({
    ...Hello.protocol,
    kind: "data",
    label: self.label,
    id: self.id,
    bootId: self.bootId,
    epoch,
    serializations: []
  })
  const peers = new PeerPool({ self: self.id, tcp, hello, metrics, now, ...tuned })
  const routes = RouteCache.make({ capacity: tuned.routes, freshMs: tuned.freshMs })
  const placement = new Placement({
    ...tuned,
    self: self.id,
    executor,
    link,
    peers,
    metrics,
    now,
    log: (level, message, fields) => options.log({ level, message, fields }),
    maxCalls: tuned.calls,
    routes
  })
  const listener = new PeerListener({
    self: self.id,
    tcp,
    hello,
    helloMs: tuned.connectMs,
    placement,
    metrics,
    complain: (reason, from) =>
      options.log({ level: "warn", message: "refused a data connection", fields: { reason, from } })
  })
  const known = { view: false, catalog: false }
  const front = new Front({
    self: self.id,
    bootId: self.bootId,
    bound: new Set([http.host]),
    authorized: options.authorized,
    placement,
    link,
    metrics,
    gauges: () => gauges({ placement, executor, routes, peers }),
    isReady: () => known.view && known.catalog,
    resolveMs: tuned.resolveMs,
    adminMs: tuned.adminMs
  })
  const begin = () =>
    link.receive({
      view: (view) => {
        known.view = true
        epoch = view.epoch
        peers.update(view.members)
      },
      catalog: (functions) => {
        known.catalog = true
        front.directory = Directory.make(functions)
        placement.retire(front.directory.versions)
      },
      draining: () => {
        placement.draining = true
      }
    })
  return { front, listener, placement, peers, link, begin, now, sweepMs: tuned.sweepMs }
}

type Parts = ReturnType<typeof assemble>

const gauges = (
  of: Pick<Parts, "placement" | "peers"> & {
    readonly executor: Executor.Executor
    readonly routes: RouteCache.RouteCache
  }
): Parameters<GatewayMetrics["text"]>[0] => {
  let instances = 0
  let queued = 0
  for (const pool of of.placement.pools.values()) {
    instances += pool.slots.length
    queued += pool.queue.size
  }
  return {
    inflight: of.placement.calls.size,
    queued,
    instances,
    spares: of.executor.spares,
    routes: RouteCache.size(of.routes),
    peers: of.peers.connections
  }
}

const running = (parts: Parts, addresses: Gateway["addresses"]): Gateway => {
  const { begin, front, link, listener, now, peers, placement, sweepMs } = parts
  placement.env = { SHOAL_SERVER: urlOf(addresses.http) }
  begin()
  const sweeping = setInterval(() => {
    placement.sweep()
    peers.sweep(now())
  }, sweepMs)
  let closed: Promise<void> | undefined
  const stopAccepting = () => {
    if (front.server.listening) front.server.close()
    front.server.closeIdleConnections()
  }
  return {
    addresses,
    drain: async (lingerMs = 0) => {
      placement.draining = true
      if (lingerMs > 0) await new Promise((done) => setTimeout(done, lingerMs))
      stopAccepting()
      await placement.emptied()
      // Answers are written; let the sockets take them.
      await new Promise((done) => setImmediate(done))
      link.post({ _tag: "Drained" })
    },
    close: () => {
      closed ??= (async () => {
        clearInterval(sweeping)
        placement.draining = true
        placement.calls.forEach((call) => placement.fail(call, "draining"))
        stopAccepting()
        front.server.closeAllConnections()
        peers.close()
        link.close()
        await listener.close()
      })()
      return closed
    }
  }
}

/** How a function of this node reaches its gateway. */
const urlOf = ({ host, port }: Address): string => {
  const to = host === "0.0.0.0" ? "127.0.0.1" : host === "::" ? "::1" : host
  return `http://${to.includes(":") ? `[${to}]` : to}:${port}`
}

const reasons: Readonly<Record<string, ListenError["reason"]>> = {
  EADDRINUSE: "port-in-use",
  EACCES: "not-permitted",
  EADDRNOTAVAIL: "no-such-address"
}

const listen = (server: Net.Server, listener: "http" | "data", { host, port }: Address): Promise<Address> =>
  new Promise((done, failed) => {
    const onError = (error: NodeJS.ErrnoException) => {
      const reason = reasons[error.code ?? ""] ?? "failed"
      const what = reason === "port-in-use" ? `port ${port} is in use` : error.message
      failed(new ListenError({ reason, listener, host, port, message: `the ${listener} listener: ${what} (${host})` }))
    }
    server.once("error", onError)
    server.listen({ host, port, backlog: 1024 }, () => {
      server.off("error", onError)
      server.on("error", () => {})
      const bound = server.address()
      done(typeof bound === "object" && bound !== null ? { host: bound.address, port: bound.port } : { host, port })
    })
  })
