/** Many protocol machines on an event heap in virtual time: the pure core alone, no layers, no bytes unless asked for.
 *
 * PURE. Boundary: a network of datagrams (latency, loss, duplication, partitions, one-way cuts, pauses) and of streams
 * (ordered, reliable while both ends are reachable). Real layers are simulated by `World` and `SimNet`.
 * Invariants: M1, M2 and M6 are checked after every step, a violation is recorded with its time; M7 by `trace`. */
import * as Identities from "../swim/Identities.ts"
import * as Member from "../swim/Member.ts"
import * as Members from "../swim/Members.ts"
import type * as Message from "../swim/Message.ts"
import * as Params from "../swim/Params.ts"
import * as Prng from "../swim/Prng.ts"
import * as Swim from "../swim/Swim.ts"
import * as Codec from "../wire/Codec.ts"
import * as Packet from "../wire/Packet.ts"

export interface Network {
  /** One-way delay, uniform between both, in ms. */
  readonly latency: readonly [number, number]
  /** Share of datagrams lost, 0 to 1. */
  readonly loss: number
  /** Share of datagrams that arrive twice. */
  readonly duplicate: number
}

export interface Options {
  readonly seed: number
  readonly params?: Params.Params
  readonly network?: Partial<Network>
  /** Encode and decode every datagram for real. */
  readonly bytes?: boolean
  /** Check M1 and M2 after every step (O(N) per change). */
  readonly check?: boolean
  /** A deliberate defect, to prove that the checker of that invariant sees it. */
  readonly mutant?: "M1" | "M2" | "M6" | "M7"
}

export interface Node {
  readonly index: number
  readonly id: Member.MemberId
  readonly address: Member.Address
  swim: Swim.Swim
  up: boolean
  paused: boolean
  /** Arrived while paused; a socket buffer of 200 datagrams. */
  readonly backlog: Array<Swim.Input>
  wake: number
  wakeSet: number
  streams: number
  readonly events: Array<{ readonly at: number; readonly event: Swim.Event }>
  shadow: Shadow
}

interface Shadow {
  version: number
  readonly seen: Map<number, { readonly bootId: number; readonly incarnation: number; readonly rank: number }>
}

interface Work {
  readonly at: number
  readonly order: number
  readonly run: () => void
}

interface End {
  readonly node: Node
  readonly bootId: number
  readonly stream: number
  last: number
  ended: boolean
}

/** The mutant of M7: randomness from outside the run. */
const ambient = Prng.make(0)
const bufferedDatagrams = 200
const dialTimeout = 3000

export class CoreSim {
  now = 0
  readonly nodes: Array<Node> = []
  readonly violations: Array<string> = []
  /** A running hash of everything that happened. */
  trace = 0
  steps = 0
  datagrams = 0
  bytes = 0
  largest = 0
  readonly rejected = new Map<string, number>()
  readonly network: { -readonly [K in keyof Network]: Network[K] }
  private readonly params: Params.Params
  private readonly random: Prng.Prng
  private readonly identities = Identities.make()
  private readonly packet = Packet.make(Codec.binary)
  private readonly heap: Array<Work> = []
  private readonly byAddress = new Map<string, Node>()
  private readonly truth = new Map<string, number>()
  private readonly ends = new Map<string, readonly [End, End]>()
  private readonly options: Options
  private order = 0
  private group: ((node: Node) => number) | undefined
  private cuts = new Set<string>()

  constructor(options: Options) {
    this.options = options
    this.params = options.params ?? Params.lan
    this.random = Prng.make(options.seed)
    this.network = { latency: [0.5, 2], loss: 0, duplicate: 0, ...options.network }
  }

  /** Starts a node that joins through the seeds. */
  start(name: string, seeds: ReadonlyArray<Node> = [], options: { readonly startedAt?: number } = {}): Node {
    const index = this.nodes.length
    const address = { host: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, port: 7946 }
    const node = this.boot({ index, id: Member.id(name), address, startedAt: options.startedAt })
    this.nodes.push(node)
    this.byAddress.set(address.host, node)
    this.begin(node, seeds)
    return node
  }

  /** Ends a node at once; nobody is told. */
  crash(node: Node): void {
    node.up = false
    node.paused = false
    node.backlog.length = 0
  }

  /** A new run of a crashed node under its old name and address. */
  restart(node: Node, seeds: ReadonlyArray<Node>): void {
    const fresh = this.boot({ index: node.index, id: node.id, address: node.address })
    node.swim = fresh.swim
    node.shadow = fresh.shadow
    node.up = true
    node.wake = Infinity
    this.begin(node, seeds)
  }

  command(node: Node, command: Swim.Command): void {
    this.step(node, { _tag: "Command", now: this.now, command })
  }

  /** Nodes of different groups do not reach each other. */
  partition(group: (node: Node) => number): void {
    this.group = group
  }

  /** One way only. */
  cut(from: Node, to: Node): void {
    this.cuts.add(`${from.index}>${to.index}`)
  }

  heal(): void {
    this.group = undefined
    this.cuts = new Set()
  }

  /** The process stands still: nothing is received, no timer runs. */
  pause(node: Node): void {
    node.paused = true
  }

  resume(node: Node): void {
    node.paused = false
    for (const input of node.backlog.splice(0)) this.step(node, { ...input, now: this.now })
    this.fire(node)
  }

  after(delay: number, run: () => void): void {
    this.schedule(this.now + delay, run)
  }

  run(duration: number): void {
    const until = this.now + duration
    for (let work = this.take(until); work !== undefined; work = this.take(until)) {
      this.now = work.at
      work.run()
    }
    this.now = until
  }

  /** Runs until the condition holds (checked every `every` ms); the time it took, or -1. */
  runUntil(condition: () => boolean, limit: number, every = 10): number {
    const began = this.now
    while (this.now - began < limit) {
      if (condition()) return this.now - began
      this.run(every)
    }
    return condition() ? this.now - began : -1
  }

  get up(): Array<Node> {
    return this.nodes.filter((node) => node.up)
  }

  status(observer: Node, subject: Node): Member.Status | undefined {
    return Swim.member(observer.swim, subject.id)?.status
  }

  /** Every running node holds every running node alive in its present run. */
  isComplete(): boolean {
    const up = this.up
    return up.every((observer) =>
      observer.swim.table.counts[0] >= up.length - 1 &&
      up.every((subject) => {
        const known = Swim.member(observer.swim, subject.id)
        return known !== undefined && known.status === "alive" && known.bootId === subject.swim.self.bootId
      })
    )
  }

  /** All tables are equal, suspicions aside. */
  isEqual(): boolean {
    const views = this.up.map((node) =>
      Swim.members(node.swim).map((m) => `${m.id}/${m.bootId}/${m.incarnation}/${m.status}`).sort().join()
    )
    return views.every((view) => view === views[0])
  }

  everyoneSees(subject: Node, status: Member.Status): boolean {
    return this.up.every((node) => node === subject || this.status(node, subject) === status)
  }

  private boot(
    options: {
      readonly index: number
      readonly id: Member.MemberId
      readonly address: Member.Address
      readonly startedAt?: number | undefined
    }
  ): Node {
    const { address, id, index } = options
    const bootId = Prng.next(this.random) * 65_536 + (Prng.next(this.random) & 0xffff)
    const swim = Swim.make({
      self: {
        id,
        bootId,
        startedAt: Math.floor(options.startedAt ?? 1_700_000_000_000 + this.now),
        address,
        meta: new Uint8Array(0)
      },
      params: this.params,
      seed: Prng.next(this.random),
      now: this.now,
      sizeOf: this.packet.sizeOf,
      packetOverhead: this.packet.overhead,
      identities: this.identities
    })
    const shadow = { version: -1, seen: new Map() }
    return {
      index,
      id,
      address,
      swim,
      up: true,
      paused: false,
      backlog: [],
      wake: Infinity,
      wakeSet: 0,
      streams: 1,
      events: [],
      shadow
    }
  }

  private begin(node: Node, seeds: ReadonlyArray<Node>): void {
    this.step(node, { _tag: "TimerFired", now: this.now })
    if (seeds.length > 0) this.command(node, { _tag: "Join", seeds: seeds.map((seed) => seed.address) })
  }

  private reaches(from: Node, to: Node): boolean {
    if (!to.up) return false
    if (this.group !== undefined && this.group(from) !== this.group(to)) return false
    return !this.cuts.has(`${from.index}>${to.index}`)
  }

  private delay(): number {
    const [low, high] = this.network.latency
    const share = this.options.mutant === "M7" ? Prng.float(ambient) : Prng.float(this.random)
    return low + (high - low) * share
  }

  private step(node: Node, input: Swim.Input): void {
    if (!node.up) return
    if (node.paused) {
      if (input._tag !== "TimerFired" && node.backlog.length < bufferedDatagrams) node.backlog.push(input)
      return
    }
    const out: Array<Swim.Output> = []
    Swim.step(node.swim, input, out)
    this.steps++
    this.fold(node.index, input._tag.charCodeAt(0), out.length)
    for (const output of out) this.perform(node, output)
    if (this.options.mutant === "M1" && this.steps % 5000 === 0) lower(node)
    if (this.options.check !== false) this.check(node)
  }

  private fold(...values: ReadonlyArray<number>): void {
    this.trace = Identities.mix(this.trace, Math.floor(this.now * 1000) % 4294967296)
    for (const value of values) this.trace = Identities.mix(this.trace, value)
  }

  private perform(node: Node, output: Swim.Output): void {
    switch (output._tag) {
      case "Send":
        return this.send(node, output.to, output.messages)
      case "SetTimer": {
        node.wake = output.at
        const set = ++node.wakeSet
        if (output.at < Infinity) {
          this.schedule(Math.max(this.now, output.at), () => {
            if (node.wakeSet === set && node.up && !node.paused) this.fire(node)
          })
        }
        return
      }
      case "OpenStream":
        return this.dial(node, output.stream, output.to)
      case "StreamSend":
        return this.streamSend(node, output)
      case "CloseStream":
        return this.closeStream(node, output.stream)
      case "Notify": {
        node.events.push({ at: this.now, event: output.event })
        return
      }
      case "Rejected": {
        this.rejected.set(output.reason, (this.rejected.get(output.reason) ?? 0) + 1)
        return
      }
    }
  }

  private fire(node: Node): void {
    this.step(node, { _tag: "TimerFired", now: this.now })
    this.step(node, { _tag: "Drained", now: this.now })
  }

  private send(node: Node, to: Member.Address, messages: ReadonlyArray<Message.Message>): void {
    let said = messages
    if (this.options.mutant === "M6" && this.steps % 1000 === 0) {
      said = Array.from({ length: 200 }, () => messages[0] ?? { _tag: "Who" as const })
    }
    if (this.options.mutant === "M2" && this.datagrams % 50 === 0) {
      said = messages.map((message) => raise(node, message))
    }
    let size = this.packet.overhead
    for (const message of said) size += this.packet.sizeOf(message)
    this.datagrams++
    this.bytes += size
    this.largest = Math.max(this.largest, size)
    if (size > this.params.datagramBudget) this.violate("M6", `${node.id} sent ${size} bytes`)
    this.fold(size)
    const target = this.byAddress.get(to.host)
    const copies = Prng.float(this.random) < this.network.duplicate ? 2 : 1
    for (let copy = 0; copy < copies; copy++) {
      const lost = Prng.float(this.random) < this.network.loss
      const delay = this.delay()
      if (lost || target === undefined || !this.reaches(node, target)) continue
      this.schedule(this.now + delay, () => {
        if (!this.reaches(node, target)) return
        const received = this.options.bytes === true ? this.recode(said, size) : said
        this.step(target, { _tag: "Received", now: this.now, from: node.address, messages: received })
      })
    }
  }

  private recode(messages: ReadonlyArray<Message.Message>, size: number): ReadonlyArray<Message.Message> {
    const bytes = this.packet.encode(messages)
    const decoded: Array<Message.Message> = []
    const refused = this.packet.decode(bytes, decoded)
    if (refused !== undefined) this.violate("codec", refused)
    if (bytes.length !== size) this.violate("M6", `${bytes.length} bytes where ${size} were counted`)
    return decoded
  }

  private dial(node: Node, stream: number, to: Member.Address): void {
    const target = this.byAddress.get(to.host)
    const fail = (error: string, after: number): void =>
      this.schedule(this.now + after, () => this.step(node, { _tag: "StreamClosed", now: this.now, stream, error }))
    if (target === undefined || (!target.up && this.reaches(node, { ...target, up: true }))) {
      return fail("refused", this.delay())
    }
    if (!this.reaches(node, target) || !this.reaches(target, node)) return fail("timeout", dialTimeout)
    const accepted = target.streams
    target.streams += 2
    const near: End = { node, bootId: node.swim.self.bootId, stream, last: 0, ended: false }
    const far: End = { node: target, bootId: target.swim.self.bootId, stream: accepted, last: 0, ended: false }
    this.ends.set(this.endKey(node, stream), [near, far])
    this.ends.set(this.endKey(target, accepted), [far, near])
    this.deliver(node, far, { _tag: "StreamOpened", now: 0, stream: accepted, remote: node.address, initiator: false })
    this.deliver(target, near, { _tag: "StreamOpened", now: 0, stream, remote: to, initiator: true })
  }

  private endKey(node: Node, stream: number): string {
    return `${node.index}/${node.swim.self.bootId}/${stream}`
  }

  private deliver(from: Node, end: End, input: Swim.Input): void {
    const at = Math.max(end.last, this.now + this.delay())
    end.last = at
    this.schedule(at, () => {
      if (end.node.swim.self.bootId === end.bootId && this.reaches(from, end.node)) {
        this.step(end.node, { ...input, now: this.now })
      }
    })
  }

  private streamSend(node: Node, output: Extract<Swim.Output, { readonly _tag: "StreamSend" }>): void {
    const key = this.endKey(node, output.stream)
    const pair = this.ends.get(key)
    if (pair === undefined) return
    const [near, far] = pair
    if (near.ended) return
    if (output.messages.length > 0) {
      this.deliver(node, far, { _tag: "StreamReceived", now: 0, stream: far.stream, messages: output.messages })
    }
    if (!output.end) return
    near.ended = true
    if (!far.ended) return
    this.deliver(node, far, { _tag: "StreamClosed", now: 0, stream: far.stream })
    this.deliver(far.node, near, { _tag: "StreamClosed", now: 0, stream: near.stream })
    this.ends.delete(key)
    this.ends.delete(this.endKey(far.node, far.stream))
  }

  private closeStream(node: Node, stream: number): void {
    const key = this.endKey(node, stream)
    const pair = this.ends.get(key)
    if (pair === undefined) return
    const [, far] = pair
    this.ends.delete(key)
    this.ends.delete(this.endKey(far.node, far.stream))
    this.deliver(node, far, { _tag: "StreamClosed", now: 0, stream: far.stream })
  }

  private violate(id: string, what: string): void {
    if (this.violations.length < 100) this.violations.push(`${id} at ${this.now.toFixed(3)}: ${what}`)
  }

  /** M1 and M2 for one observer, after its step. */
  private check(node: Node): void {
    const { swim } = node
    this.truth.set(`${node.id}/${swim.self.bootId}`, swim.incarnation)
    const { table } = swim
    if (table.version === node.shadow.version) return
    node.shadow.version = table.version
    const { seen } = node.shadow
    Members.forEach(table, (row) => {
      const { bootId, id, incarnation, status } = Members.member(table, row)
      const before = seen.get(row)
      const rank = Member.rankOf(status)
      if (before !== undefined && before.bootId === bootId) {
        if (incarnation === before.incarnation && rank === before.rank) return
        if (incarnation < before.incarnation || (incarnation === before.incarnation && rank < before.rank)) {
          this.violate(
            "M1",
            `${node.id} holds ${id} ${status}(${incarnation}) after ${before.rank}(${before.incarnation})`
          )
        }
      }
      seen.set(row, { bootId, incarnation, rank })
      const own = this.truth.get(`${id}/${bootId}`)
      if (own === undefined || incarnation > own) {
        this.violate("M2", `${node.id} holds ${id} at ${incarnation}, which itself is at ${own ?? "nothing"}`)
      }
    })
  }

  private schedule(at: number, run: () => void): void {
    const { heap } = this
    const work: Work = { at, order: this.order++, run }
    let i = heap.length
    heap.push(work)
    while (i > 0) {
      const up = (i - 1) >> 1
      const parent = heap[up]
      if (parent === undefined || !before(work, parent)) break
      heap[i] = parent
      i = up
    }
    heap[i] = work
  }

  private take(until: number): Work | undefined {
    const { heap } = this
    const head = heap[0]
    if (head === undefined || head.at > until) return undefined
    const last = heap.pop()
    if (last === undefined || last === head) return head
    let i = 0
    while (true) {
      let down = 2 * i + 1
      let child = heap[down]
      const right = heap[down + 1]
      if (child !== undefined && right !== undefined && before(right, child)) {
        child = right
        down++
      }
      if (child === undefined || !before(child, last)) break
      heap[i] = child
      i = down
    }
    heap[i] = last
    return head
  }
}

const before = (a: Work, b: Work): boolean => a.at < b.at || (a.at === b.at && a.order < b.order)

/** The mutant of M1: an entry falls back to alive. */
const lower = (node: Node): void => {
  const { table } = node.swim
  Members.forEach(table, (row) => {
    if (table.status[row] !== 0) {
      table.status[row] = 0
      table.version++
    }
  })
}

/** The mutant of M2: members raise the incarnation of others. */
const raise = (node: Node, message: Message.Message): Message.Message =>
  message._tag === "Alive" && message.id !== node.id ? { ...message, incarnation: message.incarnation + 1 } : message
