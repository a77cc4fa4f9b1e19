/** UDP and TCP of this machine as the `Transport` service.
 *
 * Boundary: `Tcp` decides how connections are made and who may talk; datagrams are sealed by the membership itself. */
import * as NodeDatagramSocket from "@effect/platform-node/NodeDatagramSocket"
import * as NodeSocket from "@effect/platform-node/NodeSocket"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type * as Net from "node:net"
import { formatAddress, fromDatagramSocket, type Listener, Transport, TransportError } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"
import * as Tcp from "./Tcp.ts"

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

/** Connections that wait for `run`; more are closed. */
const maxWaiting = 256

const ignore = () => {}

const listen = (tcp: Tcp.Tcp) =>
  Effect.fnUntraced(function*(bind: Address): Effect.fn.Return<Listener, TransportError, Scope.Scope> {
    const waiting = new Set<Net.Socket>()
    let accept: ((connection: Net.Socket) => void) | undefined
    const server = tcp.createServer((connection) => {
      connection.pause() // nothing is read before somebody acquires the reader
      connection.on("error", ignore)
      if (accept !== undefined) return accept(connection)
      if (waiting.size >= maxWaiting) return connection.destroy()
      waiting.add(connection)
      connection.once("close", () => waiting.delete(connection))
    })
    yield* Effect.addFinalizer(() =>
      Effect.callback<void>((resume) => {
        for (const connection of waiting) connection.destroy()
        server.close(() => resume(Effect.void))
      })
    )
    const address = yield* open(server, bind)
    const run = <R>(handler: (socket: Socket.Socket, remote: Address) => Effect.Effect<void, never, R>) =>
      Effect.scoped(Effect.gen(function*() {
        const fork = yield* FiberSet.makeRuntime<R>()
        yield* Effect.addFinalizer(() => Effect.sync(() => accept = undefined))
        accept = (connection) => {
          const { remoteAddress: host = "", remotePort: port = 0 } = connection
          fork(serve(connection, (socket) => handler(socket, { host, port })))
        }
        for (const connection of waiting) {
          waiting.delete(connection)
          accept(connection)
        }
        return yield* Effect.never
      }))
    return { address, run }
  })

const open = (server: Net.Server, bind: Address): Effect.Effect<Address, TransportError> =>
  Effect.callback((resume) => {
    const refuse = (cause: Error) =>
      resume(Effect.fail(
        new TransportError({
          reason: reasons[codeOf(cause) ?? ""] ?? "Unknown",
          address: formatAddress(bind),
          cause
        })
      ))
    server.once("error", refuse)
    server.listen({ host: bind.host, port: bind.port }, () => {
      server.off("error", refuse)
      server.on("error", ignore) // such as too many open files: the connection is lost, the listener stays
      const bound = server.address()
      const { address, port } = bound === null || typeof bound === "string"
        ? { address: bind.host, port: bind.port }
        : bound
      resume(Effect.succeed({ host: address, port }))
    })
  })

/** One accepted connection; it is gone when its handler has ended. */
const serve = <R>(
  connection: Net.Socket,
  handler: (socket: Socket.Socket) => Effect.Effect<void, never, R>
): Effect.Effect<void, never, R> =>
  NodeSocket.fromDuplex(Effect.suspend(() => connection.destroyed ? Effect.fail(gone) : Effect.succeed(connection)))
    .pipe(
      Effect.flatMap(handler),
      Effect.ignoreCause({ log: "Error", message: "a connection ended with a defect" }),
      Effect.ensuring(Effect.sync(() => connection.destroySoon()))
    )

const gone = new Socket.SocketError({ reason: new Socket.SocketCloseError({ code: 1000 }) })

/** A connection that is opened with its reader and closed with it. */
const dial = (tcp: Tcp.Tcp): Transport["Service"]["dial"] => (to, options) => {
  const opening = Effect.callback<Net.Socket, Socket.SocketError>((resume) => {
    const connection = tcp.connect(to, () => {
      connection.off("error", failed)
      connection.on("error", ignore)
      resume(Effect.succeed(connection))
    })
    const failed = (error: Error) => {
      connection.destroy()
      const cause = Tcp.openFailure(error)
      resume(Effect.fail(new Socket.SocketError({ reason: new Socket.SocketOpenError({ kind: "Unknown", cause }) })))
    }
    connection.on("error", failed)
    return Effect.sync(() => connection.destroy())
  })
  return NodeSocket.fromDuplex(
    Effect.acquireRelease(
      opening,
      (connection) => Effect.sync(() => connection.destroySoon()),
      { interruptible: true }
    ),
    { openTimeout: options?.openTimeoutMs ?? 1000 }
  )
}

/** The transport on these connections. */
export const make = (tcp: Tcp.Tcp): Transport["Service"] =>
  Transport.of({ secured: tcp !== Tcp.plain, identity: tcp.identity, datagrams, listen: listen(tcp), dial: dial(tcp) })

export const layer: Layer.Layer<Transport> = Layer.succeed(Transport, make(Tcp.plain))
