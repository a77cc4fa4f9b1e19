/** A simulated network under real layers: datagrams and streams between hosts, as `Transport`s on a `World`.
 *
 * Job: delivers what real code sends, with latency, loss, duplication, reordering, an MTU, cuts (also one-way), paused
 * hosts and hosts that die; every decision comes from the world's seeded generator (M7).
 * Boundary: bytes only. Datagrams go through Effect's own datagram socket (below its `BackingSocket` seam), streams
 * through `SimStream`; nothing here knows a protocol. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as DatagramSocket from "effect/socket/DatagramSocket"
import type * as Socket from "effect/socket/Socket"
import * as Transport from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"
import * as SimStream from "./SimStream.ts"
import type { World } from "./World.ts"

/** How the network behaves; every field may change while it runs. */
export interface Conditions {
  /** one-way latency of a datagram or stream segment: uniform between the two, milliseconds */
  latency: readonly [min: number, max: number]
  /** share of datagrams lost, 0 to 1; a lost stream segment arrives 200 ms later instead */
  loss: number
  /** share of datagrams delivered twice */
  duplication: number
  /** largest datagram carried, bytes; a larger one is dropped and counted */
  mtu: number
}

export interface Counters {
  sent: number
  delivered: number
  lost: number
  cut: number
  tooLarge: number
  segments: number
  bytes: number
}

export class Host {
  readonly ip: string
  /** alive hosts send and receive; a paused one receives what arrived meanwhile when it resumes */
  state: "up" | "paused" | "down" = "up"
  readonly datagrams = new Map<number, DatagramSocket.BackingEvents>()
  readonly listeners = new Map<number, (stream: SimStream.Pipe, remote: Address) => void>()
  readonly streams = new Set<SimStream.Pipe>()
  held: Array<() => void> = []
  nextPort = 32768
  constructor(ip: string) {
    this.ip = ip
  }
}

export class SimNet {
  readonly world: World
  readonly conditions: Conditions
  readonly counters: Counters = { sent: 0, delivered: 0, lost: 0, cut: 0, tooLarge: 0, segments: 0, bytes: 0 }
  private readonly hosts = new Map<string, Host>()
  private readonly cuts = new Set<string>()

  constructor(world: World, conditions: Partial<Conditions> = {}) {
    this.world = world
    this.conditions = { latency: [0.2, 1], loss: 0, duplication: 0, mtu: 1500, ...conditions }
  }

  /** The transport of a fresh process on the host `ip`; a process that ran there before is gone. */
  transport(ip: string): Transport.Transport["Service"] {
    this.kill(ip)
    const host = new Host(ip)
    this.hosts.set(ip, host)
    return Transport.Transport.of({
      datagrams: (bind) => openDatagrams(this, host, bind),
      listen: (bind) => openListener(this, host, bind),
      dial: (to, options) => Effect.succeed(dial(this, host, to, options?.openTimeoutMs ?? 1000))
    })
  }

  layer(ip: string): Layer.Layer<Transport.Transport> {
    return Layer.sync(Transport.Transport, () => this.transport(ip))
  }

  /** Drops everything from `from` to `to` (one way). */
  cut(from: string, to: string): void {
    this.cuts.add(`${from}>${to}`)
  }

  /** Parts the hosts into groups that cannot reach each other. */
  partition(...groups: ReadonlyArray<ReadonlyArray<string>>): void {
    for (const group of groups) {
      for (const other of groups) {
        if (group === other) continue
        for (const a of group) for (const b of other) this.cut(a, b)
      }
    }
  }

  heal(): void {
    this.cuts.clear()
  }

  isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`)
  }

  /** The process on `ip` ends as by `kill -9`: its sockets are closed by its kernel, peers see resets and refusals. */
  kill(ip: string): void {
    const host = this.hosts.get(ip)
    if (host === undefined || host.state === "down") return
    host.state = "down"
    host.datagrams.clear()
    host.listeners.clear()
    for (const stream of Array.from(host.streams)) stream.reset("killed")
    host.held = []
  }

  /** The machine `ip` vanishes: nobody is told anything. */
  vanish(ip: string): void {
    const host = this.hosts.get(ip)
    if (host === undefined) return
    host.state = "down"
    host.datagrams.clear()
    host.listeners.clear()
    host.streams.clear()
    host.held = []
    this.hosts.delete(ip)
  }

  /** Holds back everything that arrives at `ip` until `resume` (its own timers run on: pause its program too). */
  pause(ip: string): void {
    const host = this.hosts.get(ip)
    if (host?.state === "up") host.state = "paused"
  }

  resume(ip: string): void {
    const host = this.hosts.get(ip)
    if (host?.state !== "paused") return
    host.state = "up"
    const held = host.held
    host.held = []
    for (const run of held) run()
  }

  /** @internal the host that answers for `ip`, if a machine is there */
  hostOf(ip: string): Host | undefined {
    return this.hosts.get(ip)
  }

  /** @internal one sample of the one-way latency */
  latency(): number {
    const [min, max] = this.conditions.latency
    return min + this.world.random() * (max - min)
  }

  /** @internal runs `run` at the host as soon as it takes part again; never if it is down */
  at(host: Host, run: () => void): void {
    if (host.state === "up") run()
    else if (host.state === "paused" && host.held.length < heldLimit) host.held.push(run)
  }

  /** @internal carries one datagram */
  send(from: Host, port: number, payload: Uint8Array, to: Address): void {
    const { conditions, counters, world } = this
    if (from.state === "down") return
    counters.sent++
    counters.bytes += payload.length
    if (payload.length > conditions.mtu) {
      counters.tooLarge++
      return
    }
    const copies = world.random() < conditions.duplication ? 2 : 1
    const lost = world.random() < conditions.loss
    if (lost) counters.lost++
    if (lost) return
    const bytes = payload.slice() // the sender may reuse its buffer
    for (let i = 0; i < copies; i++) {
      world.after(this.latency(), () => {
        const host = this.hosts.get(to.host)
        if (this.isCut(from.ip, to.host)) counters.cut++
        else if (host !== undefined) {
          this.at(host, () => {
            const events = host.datagrams.get(to.port)
            if (events === undefined) return
            counters.delivered++
            events.onPacket(bytes, from.ip, port)
          })
        }
      })
    }
  }

  /** @internal a port that nothing uses yet */
  freePort(host: Host, wanted: number, used: ReadonlyMap<number, unknown>): number | undefined {
    if (wanted !== 0) return used.has(wanted) ? undefined : wanted
    while (used.has(host.nextPort)) host.nextPort++
    return host.nextPort++
  }
}

/** A paused host's queue of arrivals; what comes beyond is lost. */
const heldLimit = 100_000

const inUse = (bind: Address) =>
  new Transport.TransportError({
    reason: "AddressInUse",
    address: Transport.formatAddress(bind),
    cause: new Error("the simulated port is taken")
  })

const openDatagrams = Effect.fnUntraced(function*(net: SimNet, host: Host, bind: Address) {
  const port = net.freePort(host, bind.port, host.datagrams)
  if (port === undefined) return yield* inUse(bind)
  const socket = yield* DatagramSocket.makeFromBackingSocket((events) =>
    Effect.sync(() => {
      host.datagrams.set(port, events)
      const send = (payload: Uint8Array, to: DatagramSocket.BackingAddress | undefined) => {
        if (to !== undefined) net.send(host, port, payload, to)
      }
      return {
        address: { host: host.ip, port },
        send: (payload, to, done) => {
          send(payload, to)
          done()
        },
        sendMany: (payloads, addresses, done) => {
          for (let i = 0; i < payloads.length; i++) {
            const payload = payloads[i]
            if (payload !== undefined) send(payload, addresses[i])
          }
          done()
        },
        joinMulticast: () => Effect.die("the simulated network has no multicast"),
        close: () => {
          if (host.datagrams.get(port) === events) host.datagrams.delete(port)
        }
      }
    }), { receiveBuffer: { capacity: 4096, strategy: "sliding" } })
  return yield* Transport.fromDatagramSocket(socket, { host: host.ip, port })
})

const openListener = Effect.fnUntraced(function*(net: SimNet, host: Host, bind: Address) {
  const port = net.freePort(host, bind.port, host.listeners)
  if (port === undefined) return yield* inUse(bind)
  const waiting: Array<readonly [SimStream.Pipe, Address]> = []
  let accept = (stream: SimStream.Pipe, remote: Address): void => {
    if (waiting.length < backlog) waiting.push([stream, remote])
    else stream.reset("backlog full")
  }
  host.listeners.set(port, (stream, remote) => accept(stream, remote))
  yield* Effect.addFinalizer(() => Effect.sync(() => host.listeners.delete(port)))
  return {
    address: { host: host.ip, port },
    run: Effect.fnUntraced(function*<R>(
      handler: (socket: Socket.Socket, remote: Address) => Effect.Effect<void, never, R>
    ) {
      const context = yield* Effect.context<R>()
      const scope = yield* Scope.make()
      accept = (stream, remote) => {
        const fiber = Effect.runForkWith(Context.merge(context, Context.make(Scope.Scope, scope)))(
          handler(SimStream.accepted(stream), remote),
          { scheduler: net.world.scheduler }
        )
        Fiber.runIn(fiber, scope)
      }
      for (const [stream, remote] of waiting.splice(0)) accept(stream, remote)
      return yield* Effect.never.pipe(Effect.ensuring(Scope.close(scope, Exit.void)))
    })
  }
})

/** Connections that wait for `run`; more are reset. */
const backlog = 128

const dial = (net: SimNet, host: Host, to: Address, openTimeoutMs: number): Socket.Socket =>
  SimStream.dialed((resolve) => {
    const port = host.nextPort++
    let open = true
    const settle = (result: SimStream.Pipe | SimStream.OpenFailure) => {
      if (!open) return
      open = false
      cancelTimeout()
      resolve(result)
    }
    const cancelTimeout = net.world.after(openTimeoutMs, () => settle("Timeout"))
    const refuse = () => net.world.after(net.latency(), () => net.at(host, () => settle("Refused")))
    net.world.after(net.latency(), () => {
      if (host.state === "down" || net.isCut(host.ip, to.host)) return
      const remote = net.hostOf(to.host)
      if (remote === undefined) return // no such machine: nobody answers
      if (remote.state === "down") return void refuse()
      const listener = remote.listeners.get(to.port)
      if (listener === undefined) return void refuse()
      net.world.after(net.latency(), () => {
        if (!open || host.state === "down" || net.isCut(to.host, host.ip)) return
        const [near, far] = SimStream.pair(net, host, remote)
        listener(far, { host: host.ip, port })
        settle(near)
      })
    })
    return () => {
      open = false
      cancelTimeout()
    }
  })
