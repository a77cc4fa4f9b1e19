/** Streams of the state exchange: accepted and dialed connections as inputs and outputs of the pure core.
 *
 * Job: opens, frames, bounds and ends connections. At most `maxStreams` of ours and as many of others at once, each at
 * most `maxBytes` in each direction and `timeoutMs` long; a broken frame is counted and ends its connection only.
 * Boundary: what is said on a stream, and when it ends, is the core's. Accepted streams have odd ids, the core's even.
 * Invariants: M5. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import type { Address } from "../swim/Member.ts"
import type { Message } from "../swim/Message.ts"
import type { StreamFrame } from "../wire/StreamFrame.ts"
import type { Counters } from "./Metrics.ts"
import { HandshakeFailed, type Transport } from "./Transport.ts"

/** What a stream tells the core. */
export type StreamInput =
  | { readonly _tag: "StreamOpened"; readonly stream: number; readonly remote: Address; readonly initiator: boolean }
  | { readonly _tag: "StreamReceived"; readonly stream: number; readonly messages: ReadonlyArray<Message> }
  | { readonly _tag: "StreamClosed"; readonly stream: number; readonly error?: string }

interface Connection {
  readonly id: number
  readonly initiator: boolean
  readonly outgoing: Queue.Queue<Uint8Array, Cause.Done>
  /** bytes queued since the connection was opened */
  queued: number
  /** nothing more may be queued: the core said so, or closed the stream */
  ended: boolean
  /** the other side has nothing more to say */
  remoteEnded: boolean
  /** why this side gave the connection up */
  broken: string | undefined
  /** the core was told, or said itself, that the stream is closed */
  done: boolean
}

export interface Options {
  readonly transport: Transport["Service"]
  readonly framing: StreamFrame
  /** the first bytes on every stream, from both sides */
  readonly greeting: Uint8Array
  readonly counters: Counters
  readonly scope: Scope.Scope
  readonly maxStreams: number
  readonly maxBytes: number
  readonly timeoutMs: number
  readonly openTimeoutMs: number
  /** tells of a connection whose bytes were refused */
  readonly complain: (reason: string, remote: Address) => Effect.Effect<void>
  /** hands an input to the actor; waits while its mailbox is full */
  readonly post: (input: StreamInput) => Effect.Effect<void>
}

/** Ends a connection at once, so that a peer that does not read cannot keep it open. */
const goingAway = 1001
/** Frames that wait to be written on one connection. */
const maxQueuedFrames = 1024

export class Streams {
  private readonly connections = new Map<number, Connection>()
  private readonly options: Options
  private accepted = 0
  private dialed = 0
  private nextId = 1

  constructor(options: Options) {
    this.options = options
  }

  /** Connections open now. */
  get open(): number {
    return this.connections.size
  }

  /** Serves one accepted connection until it ends. */
  readonly accept = (socket: Socket.Socket, remote: Address): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { counters, maxStreams } = this.options
      if (this.accepted >= maxStreams) {
        counters.reject("too-many-streams")
        return Effect.scoped(Effect.ignore(socket.reader)) // a connection is closed with its reader
      }
      this.accepted++
      counters.streamsAccepted++
      const id = this.nextId
      this.nextId += 2
      return Effect.ensuring(
        Effect.flatMap(this.connect(id, false), (connection) => this.serve(connection, socket, remote)),
        Effect.sync(() => {
          this.accepted--
        })
      )
    })

  /** Dials `to` for the core; every outcome arrives as an input. */
  readonly dial = (id: number, to: Address): Effect.Effect<void> =>
    Effect.suspend(() => {
      const { counters, maxStreams, openTimeoutMs, scope, transport } = this.options
      if (this.dialed >= maxStreams) {
        counters.reject("too-many-streams")
        return Effect.asVoid(
          Effect.forkIn(this.options.post({ _tag: "StreamClosed", stream: id, error: "too many streams" }), scope)
        )
      }
      this.dialed++
      counters.streamsDialed++
      return Effect.flatMap(this.connect(id, true), (connection) => {
        const run = Effect.flatMap(
          transport.dial(to, { openTimeoutMs }),
          (socket) => this.serve(connection, socket, to)
        )
        const released = Effect.sync(() => {
          this.dialed--
        })
        return Effect.asVoid(Effect.forkIn(Effect.ensuring(run, released), scope))
      })
    })

  /** Queues messages; `end` says that no more follow. The connection closes when both sides have said so. */
  send(id: number, messages: ReadonlyArray<Message>, end: boolean): void {
    const connection = this.connections.get(id)
    if (connection === undefined || connection.ended) return // closed meanwhile: the core hears of it
    const { framing } = this.options
    if (messages.length > 0) this.queue(connection, framing.encode(messages))
    if (!end) return
    connection.ended = true
    this.queue(connection, framing.end)
    if (connection.remoteEnded) Queue.endUnsafe(connection.outgoing)
  }

  private queue(connection: Connection, frame: Uint8Array): void {
    connection.queued += frame.length
    if (connection.queued <= this.options.maxBytes && Queue.offerUnsafe(connection.outgoing, frame)) return
    if (connection.broken !== undefined) return
    connection.broken = "stream-too-large"
    connection.ended = true
    this.options.counters.reject(connection.broken)
    Queue.endUnsafe(connection.outgoing)
  }

  /** Closes a connection after what is queued has been written. */
  close(id: number): void {
    const connection = this.connections.get(id)
    if (connection === undefined) return
    connection.done = true
    connection.ended = true
    Queue.endUnsafe(connection.outgoing)
  }

  private connect(id: number, initiator: boolean): Effect.Effect<Connection> {
    return Effect.map(Queue.dropping<Uint8Array, Cause.Done>(maxQueuedFrames), (outgoing) => {
      const connection: Connection = {
        id,
        initiator,
        outgoing,
        queued: 0,
        ended: false,
        remoteEnded: false,
        broken: undefined,
        done: false
      }
      this.connections.set(id, connection)
      return connection
    })
  }

  /** Reads and writes until the outgoing queue ends and is written, or something fails. */
  private serve(connection: Connection, socket: Socket.Socket, remote: Address): Effect.Effect<void> {
    const { greeting, post, timeoutMs } = this.options
    const { id, initiator } = connection
    const run = Effect.gen({ self: this }, function*() {
      const pull = yield* Socket.readerBytes(socket)
      if (greeting.length > 0) this.queue(connection, greeting)
      yield* post({ _tag: "StreamOpened", stream: id, remote, initiator })
      yield* Effect.forkScoped(this.receive(connection, pull, remote), { startImmediately: true })
      const writer = yield* socket.writer
      const destroy = Effect.ignore(writer.write(new Socket.CloseEvent(goingAway)))
      yield* Effect.onError(drain(connection.outgoing, writer), (cause) => {
        connection.broken ??= Cause.hasInterruptsOnly(cause) ? "timeout" : reasonOf(cause)
        return destroy
      })
      if (connection.broken !== undefined) yield* destroy
    })
    return run.pipe(
      Effect.scoped,
      Effect.timeoutOrElse({ duration: timeoutMs, orElse: () => Effect.fail("timeout") }),
      Effect.exit,
      Effect.flatMap((exit) => this.finish(connection, Exit.isSuccess(exit) ? undefined : reasonOf(exit.cause))),
      Effect.ensuring(Effect.sync(() => this.connections.delete(id)))
    )
  }

  /** Decodes what arrives and posts it, then posts the end. */
  private receive(
    connection: Connection,
    pull: Effect.Effect<ReadonlyArray<Uint8Array>, Socket.SocketError>,
    remote: Address
  ): Effect.Effect<void> {
    const { complain, counters, framing, maxBytes, post } = this.options
    const { id } = connection
    const decoder = framing.decoder()
    let received = 0
    const loop = Effect.gen(function*() {
      while (true) {
        const messages: Array<Message> = []
        let broken: string | undefined
        for (const chunk of yield* pull) {
          received += chunk.length
          broken ??= received > maxBytes ? "stream-too-large" : decoder.push(chunk, messages)
        }
        if (messages.length > 0) yield* post({ _tag: "StreamReceived", stream: id, messages })
        if (decoder.ended && !connection.remoteEnded) {
          connection.remoteEnded = true
          if (connection.ended) Queue.endUnsafe(connection.outgoing)
        }
        if (broken !== undefined) {
          counters.reject(broken)
          connection.broken = broken
          yield* complain(broken, remote)
          return yield* Effect.fail(broken)
        }
      }
    })
    return Effect.catch(loop, (error) => this.finish(connection, reasonOf(Cause.fail(error))))
  }

  /** Tells the core once that the stream is over, unless the core ended it. */
  private finish(connection: Connection, error: string | undefined): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (connection.done) return Effect.void
      connection.done = true
      const reason = connection.broken ?? error
      if (reason !== undefined) this.options.counters.streamsFailed++
      return this.options.post({
        _tag: "StreamClosed",
        stream: connection.id,
        ...(reason === undefined ? {} : { error: reason })
      })
    })
  }
}

/** Writes what is queued until the queue has ended and is empty. */
const drain = (
  outgoing: Queue.Dequeue<Uint8Array, Cause.Done>,
  writer: Socket.Writer
): Effect.Effect<void, Socket.SocketError> =>
  Queue.takeAll(outgoing).pipe(
    Effect.flatMap((frames) => writer.writeAll(frames)),
    Effect.forever({ disableYield: true }),
    Effect.catchTag("Done", () => Effect.void)
  )

const isHandshake = Schema.is(HandshakeFailed)

/** Why a connection was not had, by the code of the operating system. */
const unopened = (cause: unknown): string => {
  switch (typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined) {
    case "ENOTFOUND":
    case "EAI_AGAIN":
    case "EAI_NODATA":
    case "EAI_NONAME":
      return "unknown host name"
    case "EHOSTUNREACH":
    case "ENETUNREACH":
      return "unreachable"
    default:
      return "refused"
  }
}

/** A short constant text for a failure; undefined for a clean close. */
const reasonOf = (cause: Cause.Cause<Socket.SocketError | string>): string | undefined => {
  const error = Cause.squash(cause)
  if (typeof error === "string") return error
  if (!Socket.isSocketError(error)) return "defect"
  const { reason } = error
  switch (reason._tag) {
    case "SocketCloseError":
      return reason.code === 1000 ? undefined : "closed"
    case "SocketOpenError":
      if (isHandshake(reason.cause)) return reason.cause.reason === "closed" ? "closed" : "no common cluster key"
      return reason.kind === "Timeout" ? "open-timeout" : unopened(reason.cause)
    case "SocketReadError":
      return "reset"
    default:
      return "write-failed"
  }
}
