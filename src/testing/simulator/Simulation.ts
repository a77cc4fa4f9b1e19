/** Many protocol machines on one virtual clock: the pure core, a network that misbehaves as the plan says, and faults.
 *
 * PURE. Boundary: lets a plan happen and counts; what is right is told by `Invariants`, what is measured by `Measures`,
 * both as observers. Messages travel as objects with exact sizes, or encoded and decoded for real.
 * Invariants: M6 (sizes of all datagrams), M7 (`trace` is a hash of everything that happened). */
import * as Core from "../../swim/Core.ts"
import * as Identities from "../../swim/Identities.ts"
import * as Member from "../../swim/Member.ts"
import type * as Message from "../../swim/Message.ts"
import type * as Params from "../../swim/Params.ts"
import * as Prng from "../../swim/Prng.ts"
import * as Swim from "../../swim/Swim.ts"
import * as Codec from "../../wire/Codec.ts"
import * as Envelope from "../../wire/Envelope.ts"
import * as Packet from "../../wire/Packet.ts"
import * as Agenda from "./Agenda.ts"
import * as Faults from "./Faults.ts"
import * as Latency from "./Latency.ts"
import * as Pipes from "./Pipes.ts"
import * as Plan from "./Plan.ts"
import * as SimNode from "./SimNode.ts"
import * as Sizes from "./Sizes.ts"
import * as Warm from "./Warm.ts"

export type Step = (self: Swim.Swim, input: Swim.Input, out: Array<Swim.Output>) => void

/** Who a member is. Names and addresses must differ. */
export interface Identity {
  readonly id: string
  readonly address: Member.Address
  readonly meta?: Uint8Array | undefined
}

/** Looks on; all are called after the step they tell about. */
export interface Observer {
  readonly onBoot?: (node: SimNode.SimNode, swim: Swim.Swim) => void
  readonly onStep?: (node: SimNode.SimNode, swim: Swim.Swim, input: Swim.Input) => void
  readonly onEvent?: (node: SimNode.SimNode, event: Swim.Event) => void
  readonly onSend?: (node: SimNode.SimNode, bytes: number) => void
  readonly onAction?: (action: Plan.Action) => void
}

export interface Options {
  readonly plan: Plan.Plan
  readonly params: Params.Params
  readonly identity?: ((index: number) => Identity) | undefined
  readonly codec?: Codec.Codec | undefined
  /** Encode and decode every datagram. */
  readonly bytes?: boolean | undefined
  /** Bytes of the envelope around a packet. Default: one in clear; `Envelope.sealedOverhead` is that of one with a key. */
  readonly envelope?: number | undefined
  /** In place of `Swim.step`: a broken variant proves that a checker sees it. */
  readonly step?: Step | undefined
  readonly observers?: ReadonlyArray<Observer> | undefined
}

interface Datagram {
  readonly _tag: "Received"
  now: number
  readonly from: Member.Address
  readonly messages: ReadonlyArray<Message.Message>
}

/** Kinds of work; the rest of the number says which. */
const Work = { wake: 0, datagram: 1, pipe: 2, action: 3, process: 4 } as const
const kinds = 8

/** IP and UDP headers. */
export const headerBytes = 28
/** A lost segment is sent again after so many ms, then after twice that, and so on; long before the last of them whoever
 * waits has given up. */
const firstRetransmission = 200
const lastRetransmission = 60_000
const segmentBytes = 1400

const identityOf = (index: number): Identity => ({
  id: `n${index}`,
  address: { host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: 7946 }
})

const reduce = (value: number): number => Math.floor(value * 1000) % 4_294_967_296

export class Simulation implements Pipes.World {
  now = 0
  /** A running hash of everything that happened (M7). */
  trace = 0
  steps = 0
  /** How many members' processes run and have not left. */
  running = 0
  readonly nodes: ReadonlyArray<SimNode.SimNode>
  readonly plan: Plan.Plan
  readonly params: Params.Params
  readonly network: { -readonly [K in keyof Plan.Network]: Plan.Network[K] }
  readonly rejected = new Map<string, number>()
  /** What the network did not deliver, by reason. */
  readonly undelivered = new Map<string, number>()
  readonly cuts = new Set<number>()
  readonly sizes: (message: Message.Message) => number
  private readonly options: Options
  private readonly onStep: Step
  private readonly packet: Packet.Packet
  private readonly overhead: number
  private readonly random: Prng.Prng
  private readonly boots: Prng.Prng
  private readonly identities = Identities.make()
  private readonly agenda = Agenda.make()
  private readonly byHost = new Map<string, SimNode.SimNode>()
  private readonly flights: Array<Datagram | undefined> = []
  private readonly targets: Array<SimNode.SimNode | undefined> = []
  private readonly freeFlights: Array<number> = []
  private readonly arrivals: Array<{ readonly from: SimNode.SimNode; readonly end: SimNode.End; input: Swim.Input }> =
    []
  private readonly freeArrivals: Array<number> = []
  private readonly observers: ReadonlyArray<Observer>
  private readonly out: Array<Swim.Output> = []

  constructor(options: Options) {
    const { plan } = options
    this.options = options
    this.plan = plan
    this.params = options.params
    this.onStep = options.step ?? Swim.step
    this.observers = options.observers ?? []
    this.network = { ...plan.network }
    const codec = options.codec ?? Codec.binary
    this.packet = Packet.make(codec)
    this.overhead = this.packet.overhead + (options.envelope ?? Envelope.clearOverhead)
    this.sizes = Sizes.make(codec, this.packet)
    this.random = Prng.make(plan.seed)
    this.boots = Prng.make(plan.seed ^ 0x5bd1e995)
    this.nodes = Array.from({ length: Plan.size(plan) }, (_, index) => {
      const { address, id, meta } = (options.identity ?? identityOf)(index)
      const node = SimNode.make(index, Member.id(id), address, meta ?? new Uint8Array(0))
      this.byHost.set(`${address.host}:${address.port}`, node)
      if (!this.byHost.has(address.host)) this.byHost.set(address.host, node)
      return node
    })
    this.warm()
    // Actions of one moment happen in the plan's order.
    for (const [index, action] of plan.actions.entries()) this.add(action.at + index * 1e-7, Work.action, index)
  }

  private warm(): void {
    const early = this.nodes.slice(0, this.plan.nodes)
    const machines = early.map((node) => this.boot(node))
    Warm.fill(machines)
    this.recount()
    for (const node of early) this.step(node, { _tag: "TimerFired", now: SimNode.local(node, 0) })
  }

  /** Begins a run of the member's process; it knows nobody yet. */
  boot(node: SimNode.SimNode): Swim.Swim {
    const bootId = Prng.next(this.boots) * 65_536 + (Prng.next(this.boots) & 0xffff)
    const { address, id, meta } = node
    const startedAt = Math.floor(1_700_000_000_000 + this.now + node.skew) + (this.now === 0 ? node.index : 0)
    const swim = Swim.make({
      self: { id, bootId, startedAt, address, meta },
      params: this.params,
      seed: Prng.next(this.boots),
      now: SimNode.local(node, this.now),
      sizeOf: this.sizes,
      packetOverhead: this.overhead,
      identities: this.identities
    })
    node.swim = swim
    node.up = true
    node.paused = false
    node.left = false
    node.wake = Infinity
    node.bootedAt = this.now
    if (this.now > 0) this.recount()
    for (const observer of this.observers) observer.onBoot?.(node, swim)
    return swim
  }

  /** Runs until that time of the plan. */
  run(until: number): void {
    for (let at = Agenda.next(this.agenda); at <= until; at = Agenda.next(this.agenda)) {
      const work = Agenda.take(this.agenda)
      if (at > this.now) this.now = at
      this.perform(work & (kinds - 1), work >>> 3, at)
    }
    if (until > this.now) this.now = until
  }

  command(node: SimNode.SimNode, command: Swim.Command): void {
    if (node.up) this.arrive(node, { _tag: "Command", now: this.now, command })
  }

  /** To be called when a process began, ended or left. */
  recount(): void {
    this.running = this.nodes.reduce((sum, node) => sum + (node.up && !node.left ? 1 : 0), 0)
  }

  /** A number that is equal at members that hold the same. */
  viewOf(node: SimNode.SimNode): number {
    return node.swim === undefined ? 0 : Core.digest(node.swim)
  }

  /** All running members hold each other alive in their present runs, and hold the same of everybody else. */
  isConverged(): boolean {
    const { running } = this
    let view = -1
    for (const node of this.nodes) {
      if (!node.up || node.left || node.swim === undefined) continue
      if (node.paused || node.swim.table.active !== running - 1) return false
      const own = this.viewOf(node)
      if (view >= 0 && own !== view) return false
      view = own
    }
    return true
  }

  find(address: Member.Address): SimNode.SimNode | undefined {
    const node = this.byHost.get(address.host)
    return node === undefined || node.address.port === address.port
      ? node
      : this.byHost.get(`${address.host}:${address.port}`)
  }

  reaches(from: SimNode.SimNode, to: SimNode.SimNode): boolean {
    if (from.group !== to.group || from.isolated || to.isolated) return from === to
    return this.cuts.size === 0 || !this.cuts.has(from.index * 65_536 + to.index)
  }

  carry(from: SimNode.SimNode, to: SimNode.SimNode, bytes: number): number {
    const { latency, loss } = this.network
    let delay = this.uplink(from, bytes) + Latency.draw(latency, this.random)
    if (loss === 0 && from.egress === 0 && to.ingress === 0) return delay
    for (let left = bytes; left > 0; left -= segmentBytes) {
      for (let wait = firstRetransmission; wait < lastRetransmission && this.isLost(from, to); wait *= 2) delay += wait
    }
    return delay
  }

  later(at: number, from: SimNode.SimNode, end: SimNode.End, input: Swim.Input): void {
    const slot = this.freeArrivals.pop() ?? this.arrivals.length
    this.arrivals[slot] = { from, end, input }
    this.add(at, Work.pipe, slot)
  }

  /** A stopped process goes on: its timers come first, then what waited. */
  resume(node: SimNode.SimNode): void {
    node.paused = false
    this.fire(node)
    this.work(node)
  }

  /** The member's clock leaps or runs at another rate; it wakes when its own clock says so. */
  retime(node: SimNode.SimNode, change: { readonly rate?: number; readonly by?: number }): void {
    SimNode.adjust(node, this.now, change)
    if (node.wake < Infinity) node.wake = SimNode.world(node, node.due)
    this.pushWake(node)
  }

  private add(at: number, kind: number, which: number): void {
    Agenda.add(this.agenda, at, which * kinds + kind)
  }

  private perform(kind: number, which: number, at: number): void {
    switch (kind) {
      case Work.wake: {
        const node = this.nodes[which]
        if (node !== undefined) this.onWake(node, at)
        return
      }
      case Work.datagram:
        return this.land(which)
      case Work.pipe:
        return this.onPipe(which)
      case Work.action: {
        const action = this.plan.actions[which]
        if (action === undefined) return
        Faults.apply(this, action)
        for (const observer of this.observers) observer.onAction?.(action)
        return
      }
      case Work.process: {
        const node = this.nodes[which]
        if (node !== undefined) this.onProcessed(node)
        return
      }
    }
  }

  private onWake(node: SimNode.SimNode, at: number): void {
    if (at !== node.pushed) return
    node.pushed = Infinity
    if (!node.up || node.paused) return
    if (node.wake > at) this.pushWake(node)
    else this.fire(node, node.due)
  }

  private pushWake(node: SimNode.SimNode): void {
    if (node.wake >= node.pushed) return
    node.pushed = Math.max(this.now, node.wake)
    this.add(node.pushed, Work.wake, node.index)
  }

  /** `due` is what its own clock shows at least: converting times back and forth may lose the last bit. */
  private fire(node: SimNode.SimNode, due = 0): void {
    const { swim } = node
    if (swim === undefined || !node.up) return
    const now = Math.max(due, SimNode.local(node, this.now))
    this.step(node, { _tag: "TimerFired", now })
    if (SimNode.waiting(node) === 0) this.step(node, { _tag: "Drained", now })
  }

  private land(slot: number): void {
    const datagram = this.flights[slot]
    const node = this.targets[slot]
    this.flights[slot] = undefined
    this.freeFlights.push(slot)
    if (datagram !== undefined && node !== undefined && node.up) this.arrive(node, datagram)
  }

  private onPipe(slot: number): void {
    const arrival = this.arrivals[slot]
    this.freeArrivals.push(slot)
    if (arrival === undefined) return
    const { end, from, input } = arrival
    const { node } = end
    if (!node.up || node.swim !== end.swim || end.broken) return
    if (end.other !== undefined && !this.reaches(from, node)) {
      end.broken = true
      return
    }
    this.arrive(node, input)
  }

  /** At the member's socket. */
  private arrive(node: SimNode.SimNode, input: Swim.Input): void {
    if (node.paused || node.busy || node.perPacket > 0) {
      SimNode.enqueue(node, input, this.network.buffer)
      if (!node.paused) this.work(node)
      return
    }
    this.take(node, input)
  }

  private take(node: SimNode.SimNode, input: Swim.Input): void {
    const now = SimNode.local(node, this.now)
    if (input._tag === "Received") (input as Datagram).now = now
    this.step(node, input._tag === "Received" ? input : { ...input, now })
  }

  /** Goes on with what waits: all of it at once, or one after the other when each takes time. */
  private work(node: SimNode.SimNode): void {
    if (node.busy || node.paused) return
    if (node.perPacket === 0) {
      let input = SimNode.dequeue(node)
      if (input === undefined) return
      for (; input !== undefined; input = SimNode.dequeue(node)) this.take(node, input)
      this.step(node, { _tag: "Drained", now: SimNode.local(node, this.now) })
      return
    }
    if (SimNode.waiting(node) === 0) return
    node.busy = true
    this.add(this.now + node.perPacket, Work.process, node.index)
  }

  private onProcessed(node: SimNode.SimNode): void {
    node.busy = false
    if (!node.up || node.paused) return
    const input = SimNode.dequeue(node)
    if (input !== undefined) this.take(node, input)
    if (SimNode.waiting(node) > 0) this.work(node)
    else this.step(node, { _tag: "Drained", now: SimNode.local(node, this.now) })
  }

  private step(node: SimNode.SimNode, input: Swim.Input): void {
    const { swim } = node
    if (swim === undefined || !node.up) return
    const { out } = this
    out.length = 0
    this.onStep(swim, input, out)
    this.steps++
    this.fold(node.index * 16 + out.length)
    for (const output of out) this.carryOut(node, swim, output)
    for (const observer of this.observers) observer.onStep?.(node, swim, input)
  }

  private fold(value: number): void {
    this.trace = Identities.mix(this.trace ^ reduce(this.now), value)
  }

  private carryOut(node: SimNode.SimNode, swim: Swim.Swim, output: Swim.Output): void {
    switch (output._tag) {
      case "Send":
        return this.send(node, output.to, output.messages)
      case "SetTimer": {
        node.due = output.at
        node.wake = SimNode.world(node, output.at)
        return this.pushWake(node)
      }
      case "OpenStream":
        return Pipes.dial(this, node, swim, output.stream, output.to)
      case "StreamSend": {
        let bytes = 4
        for (const message of output.messages) bytes += this.sizes(message)
        return Pipes.send(this, node, output, bytes)
      }
      case "CloseStream":
        return Pipes.close(this, node, output.stream)
      case "Notify": {
        if (output.event._tag === "LeaveDone") {
          node.left = true
          this.recount()
        }
        for (const observer of this.observers) observer.onEvent?.(node, output.event)
        return
      }
      case "Rejected":
        return count(this.rejected, output.reason)
    }
  }

  /** Waits for the uplink; the time until the last byte is out. */
  private uplink(node: SimNode.SimNode, bytes: number): number {
    const { bandwidth } = this.network
    if (bandwidth === 0) return 0
    node.freeAt = Math.max(this.now, node.freeAt) + bytes / bandwidth * 1000
    return node.freeAt - this.now
  }

  private send(node: SimNode.SimNode, to: Member.Address, messages: ReadonlyArray<Message.Message>): void {
    let size = this.overhead
    for (const message of messages) size += this.sizes(message)
    node.packets++
    node.bytes += size + headerBytes
    for (const observer of this.observers) observer.onSend?.(node, size)
    this.fold(size)
    const { network, random } = this
    const target = this.find(to)
    const queued = this.uplink(node, size + headerBytes)
    if (target === undefined) return count(this.undelivered, "nowhere")
    if (network.mtu > 0 && size + headerBytes > network.mtu) return count(this.undelivered, "mtu")
    const copies = network.duplicate > 0 && Prng.float(random) < network.duplicate ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      let delay = queued + Latency.draw(network.latency, random)
      if (network.reorder > 0 && Prng.float(random) < network.reorder) delay += network.reorderBy * Prng.float(random)
      if (this.isLost(node, target)) count(this.undelivered, "loss")
      else if (!this.reaches(node, target)) count(this.undelivered, "cut")
      else if (network.ttl > 0 && delay > network.ttl) count(this.undelivered, "ttl")
      else this.fly(node, target, this.options.bytes === true ? this.recode(messages, size) : messages, delay)
    }
  }

  private isLost(from: SimNode.SimNode, to: SimNode.SimNode): boolean {
    const { loss } = this.network
    return (loss > 0 && Prng.float(this.random) < loss) ||
      (from.egress > 0 && Prng.float(this.random) < from.egress) ||
      (to.ingress > 0 && Prng.float(this.random) < to.ingress)
  }

  private fly(
    node: SimNode.SimNode,
    target: SimNode.SimNode,
    messages: ReadonlyArray<Message.Message>,
    delay: number
  ): void {
    const slot = this.freeFlights.pop() ?? this.flights.length
    this.flights[slot] = { _tag: "Received", now: 0, from: node.address, messages }
    this.targets[slot] = target
    this.add(this.now + delay, Work.datagram, slot)
  }

  private recode(messages: ReadonlyArray<Message.Message>, size: number): ReadonlyArray<Message.Message> {
    const bytes = this.packet.encode(messages)
    const sent = bytes.length - this.packet.overhead + this.overhead
    if (sent !== size) throw new Error(`M6: ${sent} bytes where ${size} were counted`)
    const decoded: Array<Message.Message> = []
    const refused = this.packet.decode(bytes, decoded)
    if (refused !== undefined) throw new Error(`a datagram of ours is refused: ${refused}`)
    return decoded
  }
}

const count = (counts: Map<string, number>, reason: string): void => {
  counts.set(reason, (counts.get(reason) ?? 0) + 1)
}
