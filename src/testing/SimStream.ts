/** One simulated stream connection: two pipes of ordered, reliable bytes with backpressure.
 *
 * Job: what TCP promises and no more. Bytes arrive in order after the network's latency; a lost segment arrives late;
 * a cut holds bytes back until it heals; a reset reaches the other side unless the way is cut.
 * Boundary: opening and refusing belong to `SimNet`. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Socket from "effect/socket/Socket"
import type { Host, SimNet } from "./SimNet.ts"

export type OpenFailure = "Refused" | "Timeout"

/** Bytes that may be under way or unread before a writer waits. */
const windowBytes = 256 * 1024
/** How long a segment that was lost or held back by a cut waits before it is sent again, milliseconds. */
const retransmitMs = 200

/** One end of a connection. */
export class Pipe {
  readonly net: SimNet
  readonly host: Host
  peer: Pipe | undefined = undefined
  /** bytes that arrived and were not read */
  readonly inbox: Array<Uint8Array> = []
  /** why reading ends after the inbox is empty */
  ended: Socket.SocketError | undefined = undefined
  /** bytes sent that the other end has not read */
  unread = 0
  private readonly outgoing: Array<
    { readonly at: number; readonly arrive: (peer: Pipe) => void; readonly urgent: boolean }
  > = []
  private pumping = false
  private waiter: (() => void) | undefined = undefined
  private readonly writers: Array<() => void> = []

  constructor(net: SimNet, host: Host) {
    this.net = net
    this.host = host
    host.streams.add(this)
  }

  get closed(): boolean {
    return this.ended !== undefined
  }

  /** Sends bytes; they arrive in order. */
  send(bytes: Uint8Array): void {
    this.unread += bytes.length
    this.net.counters.segments++
    this.net.counters.bytes += bytes.length
    this.carry((peer) => {
      peer.inbox.push(bytes)
      peer.wake()
    })
  }

  /** Ends the connection from this side: the other reads what is under way, then `code`. */
  close(code: number): void {
    if (this.closed) return
    this.carry((peer) => peer.end(closeError(code)))
    this.end(closeError(code))
  }

  /** The connection is gone at once; the other side hears of it unless the way is cut. */
  reset(reason: string): void {
    if (this.closed) return
    this.inbox.length = 0
    this.carry((peer) => {
      peer.inbox.length = 0
      peer.end(readError(reason))
    }, true)
    this.end(readError(reason))
  }

  readonly pull: Effect.Effect<NonEmptyReadonlyArray<Uint8Array>, Socket.SocketError> = Effect.callback((resume) => {
    const take = () => {
      const [first, ...rest] = this.inbox
      if (first !== undefined) {
        this.inbox.length = 0
        let bytes = first.length
        for (const chunk of rest) bytes += chunk.length
        this.acknowledge(bytes)
        resume(Effect.succeed([first, ...rest]))
        return true
      }
      if (this.ended === undefined) return false
      resume(Effect.fail(this.ended))
      return true
    }
    if (take()) return
    const wait = () => {
      this.waiter = undefined // first: the reader may pull again before `take` returns
      if (!take()) this.waiter = wait
    }
    this.waiter = wait
    return Effect.sync(() => {
      if (this.waiter === wait) this.waiter = undefined
    })
  })

  write(chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> {
    return Effect.suspend(() => {
      if (Socket.isCloseEvent(chunk)) {
        this.close(chunk.code)
        return Effect.void
      }
      if (this.ended !== undefined) return Effect.fail(this.ended)
      this.send(typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk.slice())
      if (this.unread <= windowBytes) return Effect.void
      return Effect.callback<void, Socket.SocketError>((resume) => {
        this.writers.push(() => resume(this.ended === undefined ? Effect.void : Effect.fail(this.ended)))
      })
    })
  }

  private acknowledge(bytes: number): void {
    const peer = this.peer
    if (peer === undefined) return
    peer.unread -= bytes
    if (peer.unread <= windowBytes) peer.releaseWriters()
  }

  private releaseWriters(): void {
    for (const release of this.writers.splice(0)) release()
  }

  private end(error: Socket.SocketError): void {
    if (this.closed) return
    this.ended = error
    this.host.streams.delete(this)
    this.wake()
    this.releaseWriters()
  }

  private wake(): void {
    this.waiter?.()
  }

  /** Queues `arrive` to run at the other end after the network's latency and after everything queued before. */
  private carry(arrive: (peer: Pipe) => void, urgent = false): void {
    if (this.peer === undefined) return
    if (urgent) this.outgoing.length = 0
    const { net } = this
    const lost = net.conditions.loss > 0 && net.world.random() < net.conditions.loss
    this.outgoing.push({ at: net.world.now + net.latency() + (lost ? retransmitMs : 0), arrive, urgent })
    if (!this.pumping) this.pump(0)
  }

  /** Delivers the head of the queue when it is due; behind a cut it is tried again until the way is free. */
  private pump(delay: number): void {
    const { net, peer } = this
    const head = this.outgoing[0]
    this.pumping = head !== undefined
    if (head === undefined || peer === undefined) return
    net.world.after(Math.max(delay, head.at - net.world.now), () => {
      if (this.outgoing[0] !== head) return this.pump(0) // a reset overtook it
      if (net.isCut(this.host.ip, peer.host.ip) && !head.urgent) return this.pump(retransmitMs)
      this.outgoing.shift()
      if (!net.isCut(this.host.ip, peer.host.ip)) {
        net.at(peer.host, () => {
          if (!peer.closed) head.arrive(peer)
        })
      }
      this.pump(0)
    })
  }
}

/** Two connected ends. */
export const pair = (net: SimNet, near: Host, far: Host): readonly [Pipe, Pipe] => {
  const a = new Pipe(net, near)
  const b = new Pipe(net, far)
  a.peer = b
  b.peer = a
  return [a, b]
}

const closeError = (code: number) => new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

const readError = (reason: string) =>
  new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: new Error(reason) }) })

const openError = (failure: OpenFailure) =>
  new Socket.SocketError({
    reason: new Socket.SocketOpenError({
      kind: failure === "Timeout" ? "Timeout" : "Unknown",
      cause: new Error(failure === "Timeout" ? "connection timed out" : "connection refused")
    })
  })

const noUpgrade = () =>
  Effect.fail(
    new Socket.SocketError({
      reason: new Socket.SocketUpgradeError({ cause: new Error("a simulated stream has no TLS") })
    })
  )

/** The socket of a connection that a listener accepted. */
export const accepted = (pipe: Pipe): Socket.Socket =>
  Socket.make({
    reader: Effect.acquireRelease(
      Effect.succeed({ pull: pipe.pull, upgrade: noUpgrade }),
      () => Effect.sync(() => pipe.close(1000))
    ),
    writer: Effect.succeed({
      write: (chunk) => pipe.write(chunk),
      writeAll: (chunks) => Effect.forEach(chunks, (chunk) => pipe.write(chunk), { discard: true })
    })
  })

/** The socket of a connection that is opened by `open` whenever its reader is acquired. */
export const dialed = (
  open: (resolve: (result: Pipe | OpenFailure) => void) => () => void
): Socket.Socket => {
  let current: Pipe | undefined
  const waiters: Array<() => void> = []
  const connected = Effect.callback<Pipe>((resume) => {
    if (current !== undefined) return resume(Effect.succeed(current))
    const wait = () => resume(current === undefined ? connected : Effect.succeed(current))
    waiters.push(wait)
    return Effect.sync(() => {
      const i = waiters.indexOf(wait)
      if (i >= 0) waiters.splice(i, 1)
    })
  })
  const opening = Effect.callback<Pipe, Socket.SocketError>((resume) => {
    const cancel = open((result) =>
      resume(typeof result === "string" ? Effect.fail(openError(result)) : Effect.succeed(result))
    )
    return Effect.sync(cancel)
  })
  return Socket.make({
    reader: Effect.acquireRelease(opening, (pipe) =>
      Effect.sync(() => {
        pipe.close(1000)
        if (current === pipe) current = undefined
      }), { interruptible: true }).pipe(
        Effect.map((pipe) => {
          current = pipe
          for (const wake of waiters.splice(0)) wake()
          return { pull: pipe.pull, upgrade: noUpgrade }
        })
      ),
    writer: Effect.succeed({
      write: (chunk) => Effect.flatMap(connected, (pipe) => pipe.write(chunk)),
      writeAll: (chunks) =>
        Effect.flatMap(connected, (pipe) => Effect.forEach(chunks, (chunk) => pipe.write(chunk), { discard: true }))
    })
  })
}
