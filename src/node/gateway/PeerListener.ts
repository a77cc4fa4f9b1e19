/** Takes the data connections of other nodes and the calls on them.
 *
 * Boundary: checks hello and heads, refuses what breaks a rule and counts it; the rest is `Placement`'s.
 * Invariants: M5 (at most `maxConnections`), F1. */
import type * as Net from "node:net"
import type * as Hello from "../../cluster/Hello.ts"
import * as Hop from "../../functions/Hop.ts"
import * as Invocation from "../../functions/Invocation.ts"
import type * as Mux from "../../functions/Mux.ts"
import { Complaints } from "../../membership/Complaints.ts"
import type { Tcp } from "../Tcp.ts"
import * as DataSocket from "./DataSocket.ts"
import type { GatewayMetrics } from "./GatewayMetrics.ts"
import { PeerCall } from "./PeerCall.ts"
import type { Placement } from "./Placement.ts"

export const maxConnections = 4096

export interface Options {
  readonly self: string
  readonly tcp: Tcp
  readonly hello: () => Hello.Hello
  readonly helloMs: number
  readonly placement: Placement
  readonly metrics: GatewayMetrics
  /** Tells of a peer whose bytes were refused, once per peer and minute. */
  readonly complain?: (reason: string, from: string) => void
}

export class PeerListener {
  readonly server: Net.Server
  readonly #options: Options
  readonly #connections = new Set<DataSocket.DataSocket>()
  readonly #complaints = new Complaints()

  constructor(options: Options) {
    this.#options = options
    this.server = options.tcp.createServer((socket) => this.#accept(socket))
    this.server.maxConnections = maxConnections
  }

  /** Ends what is left and stops listening. */
  close(): Promise<void> {
    return new Promise((done) => {
      this.server.close(() => done())
      for (const connection of this.#connections) connection.close()
    })
  }

  #accept(socket: Net.Socket): void {
    const { hello, helloMs } = this.#options
    const from = socket.remoteAddress ?? ""
    const connection: DataSocket.DataSocket = new DataSocket.DataSocket({
      socket,
      role: "server",
      hello,
      helloMs,
      onOpen: (stream, head) => this.#opened(stream, head),
      onReady: () => {},
      onClosed: ({ broken }) => {
        this.#connections.delete(connection)
        if (broken !== undefined) this.#refused(broken, from)
      }
    })
    this.#connections.add(connection)
  }

  #refused(reason: string, from: string): void {
    const { complain, metrics } = this.#options
    metrics.reject(reason)
    if (complain !== undefined && this.#complaints.due(from, performance.now())) complain(reason, from)
  }

  #opened(stream: Mux.MuxStream, head: Uint8Array): void {
    const { metrics, placement, self } = this.#options
    const request = Hop.decodeRequest(head)
    if (request === undefined) {
      metrics.reject("call-head")
      return stream.error(Hop.failedCode("bad-request"), "")
    }
    metrics.received++
    const breach = Invocation.breach({ ...request, self })
    if (breach !== undefined) return stream.error(Hop.failedCode(breach), [...request.path, self].join(" "))
    const pool = placement.pools.get(request.version)
    if (pool === undefined || placement.isFull) {
      metrics.refused++
      return stream.error(Hop.refusedCode(pool === undefined ? "not-warm" : "busy"), "")
    }
    placement.begin(new PeerCall({ stream, request, pool, now: placement.now(), driver: placement }))
  }
}
