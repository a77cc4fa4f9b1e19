/** How bytes reach other nodes: datagrams for gossip, streams for state exchange and for calls between nodes.
 *
 * Job: one seam under everything that touches a network. The node's layer speaks UDP and TCP, the simulator's layer
 * carries the same bytes over a simulated network on a virtual clock; nothing above knows which.
 * Boundary: no framing, no encryption, no names of members here; those belong to `wire`, `Hello` and their users.
 * This is also the one file through which Effect's (experimental) datagram and (unstable) stream sockets are reached. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as DatagramSocket from "effect/socket/DatagramSocket"
import type * as Socket from "effect/socket/Socket"
import type { Address } from "../swim/Member.ts"

/** A socket of this node could not be opened, or failed for good. Fault: configuration or operating system.
 * State: nothing is listening. Retry: only after the cause is gone. */
export class TransportError extends Schema.TaggedError<TransportError>()("TransportError", {
  reason: Schema.Literals(["AddressInUse", "AddressNotAvailable", "PermissionDenied", "Closed", "Unknown"]),
  address: Schema.String,
  cause: Schema.Defect()
}) {
  override get message(): string {
    return `${sentences[this.reason]}: ${this.address}`
  }
}

const sentences = {
  AddressInUse: "the address is already in use",
  AddressNotAvailable: "this machine does not have the address",
  PermissionDenied: "no permission to listen on the address",
  Closed: "the socket was closed",
  Unknown: "the socket failed"
} as const

/** The other end of a stream was reached and did not prove that it holds a key of the cluster, or turned us away for
 * that; `closed`: it went away meanwhile. The cause of a socket's open error. Fault: configuration, or a stranger.
 * State: nothing was sent. Retry: `closed` at once, `refused` after the keys were made to fit. */
export class HandshakeFailed extends Schema.TaggedError<HandshakeFailed>()("HandshakeFailed", {
  reason: Schema.Literals(["refused", "closed"]),
  detail: Schema.String
}) {
  override get message(): string {
    return this.reason === "closed" ? "the handshake broke off" : `no common cluster key (${this.detail})`
  }
}

/** Datagrams that the system did not take: they are lost like those that the network drops. Fault: the address, the
 * network or the socket. State: the others of the batch were sent. Retry: by the protocol. */
export class NotSent extends Schema.TaggedError<NotSent>()("NotSent", {
  reason: Schema.Literals(["too-large", "unreachable", "refused", "forbidden", "no-address", "closed", "unknown"]),
  /** At least so many. */
  count: Schema.Finite
}) {}

const notSent = {
  MessageTooLarge: "too-large",
  Unreachable: "unreachable",
  ConnectionRefused: "refused",
  PermissionDenied: "forbidden",
  Unknown: "unknown"
} as const

/** A datagram that arrived: its bytes and who sent it. */
export interface Incoming {
  readonly payload: Uint8Array
  readonly from: Address
}

/** A datagram to send. The payload is copied or handed to the kernel before the effect completes. */
export interface Outgoing {
  readonly payload: Uint8Array
  readonly to: Address
}

/** A bound datagram socket; it is closed with the scope it was opened in. */
export interface Datagrams {
  readonly address: Address
  /** Waits for at least one datagram and takes all that are there. */
  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Incoming>, TransportError>
  /** Sends all, also after one that the system refuses. */
  readonly sendAll: (datagrams: NonEmptyReadonlyArray<Outgoing>) => Effect.Effect<void, NotSent>
  /** How many datagrams were lost because the receive buffer was full. */
  readonly dropped: () => number
}

/** A listening stream socket. `run` serves every connection in a fiber of its own until it is interrupted. */
export interface Listener {
  readonly address: Address
  readonly run: <R>(
    handler: (socket: Socket.Socket, remote: Address) => Effect.Effect<void, never, R>
  ) => Effect.Effect<never, TransportError, R>
}

export class Transport extends Context.Service<Transport, {
  /** Streams are only opened between holders of a key of the cluster, and are encrypted. Default: they are not. */
  readonly secured?: boolean
  /** Changes when streams should be opened anew, because another key is used now; those that are open go on. */
  readonly identity?: () => string
  /** Binds a datagram socket; port 0 asks for a free one. */
  readonly datagrams: (bind: Address) => Effect.Effect<Datagrams, TransportError, Scope.Scope>
  /** Listens for streams; port 0 asks for a free one. */
  readonly listen: (bind: Address) => Effect.Effect<Listener, TransportError, Scope.Scope>
  /** A stream to `to`, opened when its reader is acquired; a host name is looked up anew each time.
   * Opening fails after `openTimeout` (default 1 s). */
  readonly dial: (to: Address, options?: { readonly openTimeoutMs?: number }) => Effect.Effect<Socket.Socket>
}>()("shoal/membership/Transport") {}

/** `host:port`, IPv6 hosts in brackets. */
export const formatAddress = (address: Address): string =>
  address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`

/** Remembers parsed addresses, so that one object per peer reaches the socket; emptied when it holds 8,192. */
const inetCache = new Map<string, NetAddress.InetAddress>()
const inetCacheLimit = 8192

const toInet = (address: Address): NetAddress.InetAddress | undefined => {
  const key = formatAddress(address)
  const known = inetCache.get(key)
  if (known !== undefined) return known
  if (inetCache.size >= inetCacheLimit) inetCache.clear()
  try {
    const inet = NetAddress.inetAddressFromIpStringUnsafe(address.host, address.port)
    inetCache.set(key, inet)
    return inet
  } catch {
    return undefined // not an IP address: datagrams are only sent to addresses that members advertise
  }
}

const addressCache = new Map<string, Address>()

/** The plain form of a socket address. */
export const fromInet = (inet: NetAddress.InetAddress): Address => {
  const key = NetAddress.formatInet(inet)
  const known = addressCache.get(key)
  if (known !== undefined) return known
  if (addressCache.size >= inetCacheLimit) addressCache.clear()
  const address = { host: NetAddress.formatIp(inet.address), port: inet.port }
  addressCache.set(key, address)
  return address
}

/** Opens a datagram socket of Effect's as `Datagrams`. */
export const fromDatagramSocket = Effect.fnUntraced(function*(
  socket: DatagramSocket.DatagramSocket,
  bind: Address
): Effect.fn.Return<Datagrams, TransportError, Scope.Scope> {
  const refuse = (error: DatagramSocket.DatagramSocketError) =>
    new TransportError({
      reason: error.reason._tag === "DatagramSocketOpenError" ? error.reason.kind : "Closed",
      address: formatAddress(bind),
      cause: error
    })
  const reader = yield* Effect.mapError(socket.reader, refuse)
  const writer = yield* socket.writer
  return {
    address: fromInet(reader.address),
    pull: reader.pull.pipe(
      Effect.map((batch) => {
        const out: Array<Incoming> = []
        for (const datagram of batch) out.push({ payload: datagram.payload, from: fromInet(datagram.address) })
        return out as [Incoming, ...Array<Incoming>]
      }),
      Effect.mapError(refuse)
    ),
    sendAll: (datagrams) => {
      const out: Array<DatagramSocket.OutgoingDatagram> = []
      for (const { payload, to } of datagrams) {
        const address = toInet(to)
        if (address !== undefined) out.push({ payload, address })
      }
      const sent = isNonEmpty(out) ? Effect.mapError(writer.writeAll(out), refusal) : Effect.void
      const nowhere = datagrams.length - out.length
      return nowhere === 0 ? sent : Effect.andThen(sent, new NotSent({ reason: "no-address", count: nowhere }))
    },
    dropped: reader.dropped
  }
})

/** The system names the first that failed. */
const refusal = ({ reason }: DatagramSocket.DatagramSocketError): NotSent =>
  new NotSent({
    reason: reason._tag === "DatagramSocketWriteError"
      ? notSent[reason.kind]
      : reason._tag === "DatagramSocketClosedError"
      ? "closed"
      : "unknown",
    count: 1
  })

const isNonEmpty = <A>(items: ReadonlyArray<A>): items is NonEmptyReadonlyArray<A> => items.length > 0
