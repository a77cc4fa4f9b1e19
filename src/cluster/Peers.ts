/** Connections to other nodes for calls of the control plane.
 *
 * Job: one stream per peer, opened on demand behind our own hello, kept while it is used, closed when idle; typed
 * clients of any RPC group on top of it; and the accepting side, which checks the hello and hands the stream to the RPC
 * server of the serialization that both speak.
 * Boundary: who is a member and what is said is decided above. A connection that breaks is never retried here: the
 * caller learns it at once (`closed`), because a refused reconnect is evidence. */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as RcMap from "effect/RcMap"
import * as Result from "effect/Result"
import type * as Rpc from "effect/rpc/Rpc"
import * as RpcClient from "effect/rpc/RpcClient"
import type * as RpcClientError from "effect/rpc/RpcClientError"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcMessage from "effect/rpc/RpcMessage"
import * as RpcSerialization from "effect/rpc/RpcSerialization"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Tracer from "effect/Tracer"
import { formatAddress, HandshakeFailed, Transport } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"
import * as Hello from "./Hello.ts"

/** Which process to talk to. A connection belongs to one run of one member at one address. */
export interface Peer {
  readonly id: string
  readonly bootId: number
  readonly rpc: Address
}

/** The peer could not be reached or did not accept us. Fault: the peer, the network or, for `Incompatible`, the
 * configuration. State: nothing was sent. Retry: safe; `Refused` means that no process listens there. */
export class PeerUnavailable extends Schema.TaggedError<PeerUnavailable>()("PeerUnavailable", {
  id: Schema.String,
  reason: Schema.Literals(["Refused", "Timeout", "Incompatible", "OtherMember", "Closed"]),
  detail: Schema.String
}) {}

/** An open connection to a peer. */
export interface Connection {
  readonly peer: Peer
  readonly hello: Hello.Hello
  readonly protocol: RpcClient.Protocol["Service"]
  /** Completes when the connection is gone. */
  readonly closed: Effect.Effect<void>
  readonly isClosed: () => boolean
  readonly scope: Scope.Scope
  readonly nextRequestId: () => RpcMessage.RequestId
}

/** What a node says of itself in every hello. */
export interface Self {
  readonly id: string
  readonly bootId: number
  readonly label: string
  /** epoch of the reign this node obeys, now */
  readonly epoch: Effect.Effect<number>
}

export class Peers extends Context.Service<Peers, {
  /** The connection to `peer`, shared by all who use it at the same time and closed 60 s after the last. */
  readonly connect: (peer: Peer) => Effect.Effect<Connection, PeerUnavailable, Scope.Scope>
}>()("shoal/cluster/Peers") {}

/** Serializations by name, best first. The binary one is bound to Effect's exact message layout, so its name carries
 * the Effect version it was built with; nodes of two releases fall back to newline-delimited JSON. */
export const serializations: ReadonlyArray<readonly [string, Layer.Layer<RpcSerialization.RpcSerialization>]> = [
  ["binary/effect-4.1.0", RpcSerialization.layerSchemaBinary()],
  ["ndjson", RpcSerialization.layerNdjson]
]

const helloTimeout = "2 seconds"
const idleTimeToLive = "60 seconds"
/** Peers a node keeps connections to; beyond it a new one is refused as `Closed`. */
const capacity = 4096

export const ownHello = (self: Self, kind: Hello.Kind): Effect.Effect<Hello.Hello> =>
  Effect.map(self.epoch, (epoch) => ({
    ...Hello.protocol,
    kind,
    label: self.label,
    id: self.id,
    bootId: self.bootId,
    epoch,
    serializations: serializations.map(([name]) => name)
  }))

type Pull = Socket.Reader["pull"]

/** Reads the peer's hello; the bytes behind it come first from the resulting pull. */
export const readHello = Effect.fnUntraced(function*(
  pull: Pull
): Effect.fn.Return<{ readonly hello: Hello.Hello; readonly pull: Pull }, Socket.SocketError | HelloRejected> {
  let bytes = new Uint8Array(0)
  while (true) {
    for (const chunk of yield* pull) {
      const part = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk
      const joined = new Uint8Array(bytes.length + part.length)
      joined.set(bytes)
      joined.set(part, bytes.length)
      bytes = joined
    }
    const result = Hello.read(bytes)
    if (Result.isFailure(result)) return yield* new HelloRejected({ reason: result.failure })
    if (Option.isSome(result.success)) {
      const { hello, rest } = result.success.value
      return { hello, pull: rest.length === 0 ? pull : withFirst(rest, pull) }
    }
  }
})

const withFirst = (first: Uint8Array, pull: Pull): Pull => {
  let pending = true
  return Effect.suspend(() => {
    if (!pending) return pull
    pending = false
    return Effect.succeed([first] as const)
  })
}

/** The first bytes of a stream were not an acceptable hello. Fault: the peer. State: unchanged. Retry: pointless. */
export class HelloRejected extends Schema.TaggedError<HelloRejected>()("HelloRejected", { reason: Schema.String }) {}

const isHandshake = Schema.is(HandshakeFailed)

const open = Effect.fnUntraced(function*(self: Self, key: string): Effect.fn.Return<
  Connection,
  PeerUnavailable,
  Transport | Scope.Scope
> {
  const peer = fromKey(key)
  const transport = yield* Transport
  const scope = yield* Effect.scope
  const unavailable = (reason: PeerUnavailable["reason"], detail: string) =>
    new PeerUnavailable({ id: peer.id, reason, detail })
  const fromSocket = (error: Socket.SocketError) => {
    const { reason } = error
    if (reason._tag !== "SocketOpenError") return unavailable("Closed", error.message)
    // Somebody answers there: no evidence that the process is gone.
    if (isHandshake(reason.cause)) {
      return unavailable(reason.cause.reason === "closed" ? "Closed" : "Incompatible", reason.cause.message)
    }
    return unavailable(reason.kind === "Timeout" ? "Timeout" : "Refused", formatAddress(peer.rpc))
  }
  const own = yield* ownHello(self, "control")
  const socket = yield* transport.dial(peer.rpc)
  const reader = yield* Effect.mapError(socket.reader, fromSocket)
  const writer = yield* socket.writer
  yield* Effect.mapError(writer.write(Hello.toBytes(own)), fromSocket)
  const answer = yield* readHello(reader.pull).pipe(
    Effect.catchTags({
      HelloRejected: (error) => Effect.fail(unavailable("Incompatible", error.reason)),
      SocketError: (error) => Effect.fail(fromSocket(error))
    }),
    Effect.timeoutOrElse({
      duration: helloTimeout,
      orElse: () => Effect.fail(unavailable("Timeout", "no hello"))
    })
  )
  const refusal = Hello.refusal(own, answer.hello)
  if (refusal !== undefined) return yield* unavailable("Incompatible", refusal)
  if (answer.hello.id !== peer.id || answer.hello.bootId !== peer.bootId) {
    return yield* unavailable("OtherMember", `${answer.hello.id} answers at ${formatAddress(peer.rpc)}`)
  }
  const chosen = serializations.find(([name]) => name === answer.hello.serializations[0])
  if (chosen === undefined) return yield* unavailable("Incompatible", "no common serialization")
  const closed = Deferred.makeUnsafe<void>()
  let gone = false
  const end = Effect.suspend(() => {
    gone = true
    return Deferred.succeed(closed, undefined)
  })
  const established = Socket.make({
    reader: Effect.succeed({ pull: Effect.tapError(answer.pull, () => end), upgrade: reader.upgrade }),
    writer: Effect.succeed(writer)
  })
  const protocol = yield* RpcClient.makeProtocolSocket({ retryPolicy: Schedule.recurs(0) }).pipe(
    Effect.provideService(Socket.Socket, established),
    // a peer that is silent for too long ends the connection without an error of its stream
    Effect.provideService(RpcClient.ConnectionHooks, { onConnect: Effect.void, onDisconnect: end }),
    Effect.provide(chosen[1])
  )
  let requests = 0
  return {
    peer,
    hello: answer.hello,
    protocol,
    closed: Deferred.await(closed),
    isClosed: () => gone,
    scope,
    nextRequestId: () => RpcMessage.RequestId(++requests)
  }
})

/** With the identity of the transport: when another key is used, calls move to a new connection, and the old one ends
 * when it was idle. */
const toKey = (peer: Peer, identity: string): string =>
  JSON.stringify([peer.id, peer.bootId, peer.rpc.host, peer.rpc.port, identity])

const fromKey = (key: string): Peer => {
  const [id, bootId, host, port] = JSON.parse(key) as [string, number, string, number]
  return { id, bootId, rpc: { host, port } }
}

export const layer = (self: Self): Layer.Layer<Peers, never, Transport> =>
  Layer.effect(
    Peers,
    Effect.gen(function*() {
      const { identity = () => "" } = yield* Transport
      const connections: RcMap.RcMap<string, Connection, PeerUnavailable> = yield* RcMap.make({
        lookup: (key: string) =>
          Effect.tap(open(self, key), (connection) =>
            connection.closed.pipe(
              Effect.andThen(Effect.suspend(() => RcMap.invalidate(connections, key))),
              Effect.forkIn(connection.scope)
            )),
        idleTimeToLive
      })
      const get = (key: string) => Effect.onError(RcMap.get(connections, key), () => RcMap.invalidate(connections, key)) // a failed dial is not kept
      const connect = Effect.fnUntraced(function*(peer: Peer) {
        const key = toKey(peer, identity())
        if (!(yield* RcMap.has(connections, key)) && [...(yield* RcMap.keys(connections))].length >= capacity) {
          return yield* new PeerUnavailable({ id: peer.id, reason: "Closed", detail: "too many connections" })
        }
        const connection = yield* get(key)
        if (!connection.isClosed()) return connection
        yield* RcMap.invalidate(connections, key)
        return yield* get(key)
      })
      return Peers.of({ connect })
    })
  )

/** Whether calls between nodes are traced: only when a tracer is there to see it, because it costs every call. */
export const traced: Effect.Effect<boolean> = Effect.map(Tracer.Tracer, (tracer) => tracer !== Tracer.nativeTracer)

/** A typed client of `group` on a connection. */
export type Client<Rpcs extends Rpc.Any> = RpcClient.RpcClient<Rpcs, RpcClientError.RpcClientError>

/** Clients of one RPC group: one per connection, made when first asked for. */
export const clientsOf = Effect.fnUntraced(function*<Rpcs extends Rpc.Any>(group: RpcGroup.RpcGroup<Rpcs>) {
  const peers = yield* Peers
  const context = yield* Effect.context<Rpc.MiddlewareClient<NoInfer<Rpcs>>>()
  const disableTracing = !(yield* traced)
  const clients = new WeakMap<Connection, Client<Rpcs>>()
  return Effect.fnUntraced(function*(peer: Peer): Effect.fn.Return<Client<Rpcs>, PeerUnavailable, Scope.Scope> {
    const connection = yield* peers.connect(peer)
    const known = clients.get(connection)
    if (known !== undefined) return known
    const client: Client<Rpcs> = yield* RpcClient.make(group, {
      disableTracing,
      generateRequestId: connection.nextRequestId
    }).pipe(
      Effect.provideService(RpcClient.Protocol, connection.protocol),
      Scope.provide(connection.scope),
      Effect.provideContext(context)
    )
    clients.set(connection, client)
    return client
  })
})
