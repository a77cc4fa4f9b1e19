/** The accepting side of connections between nodes.
 *
 * Job: listens, reads and checks the caller's hello, answers with ours, and hands the stream to the RPC server of the
 * serialization both speak, with the caller's identity beside it. Strangers, junk and slow hellos are refused, counted
 * and forgotten.
 * Boundary: which calls exist is decided by whoever runs an RPC server on `sockets`. */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as NetAddress from "effect/net/NetAddress"
import type * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Socket from "effect/socket/Socket"
import * as SocketServer from "effect/socket/SocketServer"
import { Complaints } from "../membership/Complaints.ts"
import { formatAddress, Transport, type TransportError } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"
import * as Hello from "./Hello.ts"
import * as Peers from "./Peers.ts"

/** The peer on whose connection a call arrived; in the context of every RPC handler. */
export class Caller extends Context.Service<Caller, {
  readonly id: string
  readonly bootId: number
  readonly epoch: number
}>()("shoal/cluster/Caller") {}

export class PeerServer extends Context.Service<PeerServer, {
  readonly address: Address
  /** One socket server per serialization; each serves the accepted streams that chose it. */
  readonly sockets: ReadonlyArray<{
    readonly server: SocketServer.SocketServer["Service"]
    readonly serialization: Layer.Layer<RpcSerialization.RpcSerialization>
  }>
}>()("shoal/cluster/PeerServer") {}

/** Connections refused before they became one, by reason. */
export const rejected = Metric.counter("shoal_peer_rejected_total", {
  description: "Streams from other nodes refused at the hello",
  incremental: true
})

/** Connections served at once; more are closed at once and counted. */
const limit = 4096
const helloTimeout = "2 seconds"

/** A reason may come from the peer: as a label only what is known here is counted by itself. */
const counted = new Set([
  "too many connections",
  "closed before its hello",
  "no hello in time",
  "not serving yet",
  "not a shoal peer",
  "hello too large",
  "malformed hello",
  "other cluster label",
  "no common protocol version",
  "no common serialization",
  "expected a control connection"
])
const maxReason = 100

const countedAs = (reason: string): string => {
  const [name = ""] = reason.split(":", 1)
  return counted.has(name) ? name : "other"
}

type Handler = (socket: Socket.Socket) => Effect.Effect<void>

export const layer = (options: {
  readonly self: Peers.Self
  readonly bind: Address
}): Layer.Layer<PeerServer, TransportError, Transport> =>
  Layer.effect(
    PeerServer,
    Effect.gen(function*() {
      const transport = yield* Transport
      const listener = yield* transport.listen(options.bind)
      const handlers = new Map<string, Handler>()
      let open = 0
      const complaints = new Complaints()
      const refuse = (reason: string, remote: Address) =>
        Effect.gen(function*() {
          yield* Metric.update(Metric.withAttributes(rejected, { reason: countedAs(reason) }), 1)
          if (!complaints.due(remote.host, yield* Clock.currentTimeMillis)) return
          yield* Effect.annotateLogs(Effect.logWarning("refused a peer connection"), {
            reason: reason.slice(0, maxReason),
            from: formatAddress(remote)
          })
        })
      const serve = Effect.fnUntraced(function*(socket: Socket.Socket, remote: Address) {
        if (open >= limit) return yield* refuse("too many connections", remote)
        open++
        yield* greet(options.self, handlers, socket).pipe(
          Effect.catchTags({
            HelloRejected: (error) => refuse(error.reason, remote),
            SocketError: () => refuse("closed before its hello", remote)
          }),
          Effect.scoped,
          Effect.ensuring(Effect.sync(() => open--))
        )
      })
      yield* Effect.forkScoped(Effect.orDie(listener.run(serve)))
      return PeerServer.of({
        address: listener.address,
        sockets: Peers.serializations.map(([name, serialization]) => ({
          serialization,
          server: SocketServer.SocketServer.of({
            address: NetAddress.inetAddressFromIpStringUnsafe(listener.address.host, listener.address.port),
            run: (handler) => runHandler(handlers, name, handler)
          })
        }))
      })
    })
  )

const greet = Effect.fnUntraced(function*(
  self: Peers.Self,
  handlers: ReadonlyMap<string, Handler>,
  socket: Socket.Socket
) {
  const reader = yield* socket.reader
  const writer = yield* socket.writer
  const own = yield* Peers.ownHello(self, "control")
  const { hello, pull } = yield* Effect.timeoutOrElse(Peers.readHello(reader.pull), {
    duration: helloTimeout,
    orElse: () => Effect.fail(new Peers.HelloRejected({ reason: "no hello in time" }))
  })
  const chosen = hello.serializations.find((name) => handlers.has(name))
  const handler = chosen === undefined ? undefined : handlers.get(chosen)
  const refused = Hello.refusal(own, hello) ?? (handler === undefined ? "not serving yet" : undefined)
  if (refused !== undefined || handler === undefined || chosen === undefined) {
    yield* writer.write(Hello.toBytes({ ...own, refused: refused ?? "not serving yet" }))
    return yield* new Peers.HelloRejected({ reason: refused ?? "not serving yet" })
  }
  yield* writer.write(Hello.toBytes({ ...own, serializations: [chosen] }))
  const established = Socket.make({
    reader: Effect.succeed({ pull, upgrade: reader.upgrade }),
    writer: Effect.succeed(writer)
  })
  yield* Effect.provideService(handler(established), Caller, {
    id: hello.id,
    bootId: hello.bootId,
    epoch: hello.epoch
  })
})

/** Registers the handler for streams of one serialization until it is interrupted. */
const runHandler = Effect.fnUntraced(function*<R, E, A>(
  handlers: Map<string, Handler>,
  name: string,
  handler: (socket: Socket.Socket) => Effect.Effect<A, E, R>
): Effect.fn.Return<never, SocketServer.SocketServerError, R> {
  const context = yield* Effect.context<R>()
  handlers.set(name, (socket) =>
    Effect.contextWith((own: Context.Context<never>) =>
      handler(socket).pipe(
        Effect.ignoreCause({ log: "Debug", message: "a peer connection ended with a defect" }),
        Effect.provideContext(Context.merge(context, own))
      )
    ))
  return yield* Effect.ensuring(Effect.never, Effect.sync(() => handlers.delete(name)))
})
