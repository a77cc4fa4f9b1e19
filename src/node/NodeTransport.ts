/** UDP and TCP of this machine as the `Transport` service. */
import * as NodeDatagramSocket from "@effect/platform-node/NodeDatagramSocket"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as NodeSocketServer from "@effect/platform-node/NodeSocketServer"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Socket from "effect/socket/Socket"
import type * as SocketServer from "effect/socket/SocketServer"
import { formatAddress, fromDatagramSocket, Transport, TransportError } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"

/** Bytes the kernel may hold for a node that is busy for a moment; capped by the system (`net.core.rmem_max`). */
const kernelReceiveBufferSize = 4 * 1024 * 1024
/** Datagrams that wait between two turns of the membership actor; beyond it the oldest are dropped and counted. */
const receiveBuffer = { capacity: 4096, strategy: "sliding" } as const

const reasons: Readonly<Record<string, TransportError["reason"]>> = {
  EADDRINUSE: "AddressInUse",
  EADDRNOTAVAIL: "AddressNotAvailable",
  ENOTFOUND: "AddressNotAvailable",
  EACCES: "PermissionDenied"
}

const codeOf = (error: unknown): string | undefined =>
  typeof error === "object" && error !== null && "code" in error && typeof error.code === "string"
    ? error.code
    : undefined

const datagrams = Effect.fnUntraced(function*(bind: Address) {
  const socket = yield* NodeDatagramSocket.make({
    bind: { address: bind.host, port: bind.port },
    kernelReceiveBufferSize,
    receiveBuffer
  })
  return yield* fromDatagramSocket(socket, bind)
})

const listen = Effect.fnUntraced(function*(bind: Address) {
  const server = yield* NodeSocketServer.make({ host: bind.host, port: bind.port, noDelay: true }).pipe(
    Effect.mapError((error: SocketServer.SocketServerError) =>
      new TransportError({
        reason: reasons[codeOf(error.reason.cause) ?? ""] ?? "Unknown",
        address: formatAddress(bind),
        cause: error.reason.cause
      })
    )
  )
  const address = server.address._tag === "UnixPathAddress" ? bind : { host: bind.host, port: server.address.port }
  return {
    address,
    run: <R>(handler: (socket: Socket.Socket, remote: Address) => Effect.Effect<void, never, R>) =>
      server.run((socket) =>
        Effect.flatMap(
          Effect.serviceOption(NodeSocket.NetSocket),
          (connection) =>
            handler(
              socket,
              connection._tag === "Some"
                ? { host: connection.value.remoteAddress ?? "", port: connection.value.remotePort ?? 0 }
                : { host: "", port: 0 }
            )
        )
      ).pipe(
        Effect.mapError((error) =>
          new TransportError({ reason: "Closed", address: formatAddress(address), cause: error.reason.cause })
        )
      )
  }
})

export const layer: Layer.Layer<Transport> = Layer.succeed(
  Transport,
  Transport.of({
    datagrams,
    listen,
    dial: (to, options) =>
      NodeSocket.makeNet({
        host: to.host,
        port: to.port,
        noDelay: true,
        openTimeout: options?.openTimeoutMs ?? 1000
      })
  })
)
