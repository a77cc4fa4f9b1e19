/** A control plane of many nodes without sockets or fibers: the pure state machines, a queue of events, and an oracle for
 * gossip. It checks R1 and R2 at every step and R5 on demand; `mutate` breaks one rule to prove the checkers. */
import type * as ClusterMessage from "../../src/cluster/ClusterMessage.ts"
import * as ClusterState from "../../src/cluster/ClusterState.ts"
import * as NodeMeta from "../../src/cluster/NodeMeta.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import * as RoutingTable from "../../src/cluster/RoutingTable.ts"
import type { Run } from "../../src/cluster/RoutingTable.ts"
import * as Member from "../../src/swim/Member.ts"
import { controlReign, type Disk, fingerprint, type SimNode, type SimOptions } from "./ControlNode.ts"

type Input = ClusterMessage.Input
type Output = ClusterMessage.Output
type WithoutNow<I> = I extends { readonly now: number } ? Omit<I, "now"> : never

export class ControlSim {
  now = 0
  readonly nodes = new Map<string, SimNode>()
  readonly disks = new Map<string, Disk>()
  readonly log: Array<string> = []
  readonly violations: Array<string> = []
  readonly rejected = new Map<string, number>()
  /** every change of a node's obeyed reign */
  readonly reigns: Array<{ readonly at: number; readonly node: string; readonly reign: Reign.Reign }> = []
  private readonly cuts = new Set<string>()
  private readonly heap: Array<{ at: number; order: number; run: () => void }> = []
  private order = 0
  private asks = 0
  private random: number
  private readonly options: SimOptions
  /** the highest epoch by which each member ever reigned */
  private readonly claimed = new Map<string, number>()

  constructor(options: SimOptions) {
    this.options = options
    this.random = options.seed >>> 0
  }

  draw(): number {
    this.random = (this.random + 0x6d2b79f5) >>> 0
    let t = Math.imul(this.random ^ (this.random >>> 15), 1 | this.random)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }

  after(delay: number, run: () => void): void {
    this.heap.push({ at: this.now + delay, order: this.order++, run })
    this.heap.sort((a, b) => b.at - a.at || b.order - a.order)
  }

  runFor(millis: number): void {
    const end = this.now + millis
    for (;;) {
      const next = this.heap.at(-1)
      // a machine that breaks its rules may never come to rest
      if (next === undefined || next.at > end || this.violations.length > 20) break
      this.heap.pop()
      this.now = next.at
      next.run()
    }
    this.now = end
  }

  /** Runs until the condition holds; false when it did not within `millis`. */
  runUntil(condition: () => boolean, millis: number): boolean {
    const end = this.now + millis
    while (!condition()) {
      const next = this.heap.at(-1)
      if (next === undefined || next.at > end) {
        this.now = end
        return condition()
      }
      this.heap.pop()
      this.now = next.at
      next.run()
    }
    return true
  }

  start(id: string, options: { readonly joining?: boolean; readonly eligible?: boolean } = {}): SimNode {
    const joining = options.joining ?? this.nodes.size > 0
    const kept = this.options.forgetful === true ? undefined : this.disks.get(id)
    const disk = kept ?? { floor: 0, reign: undefined }
    this.disks.set(id, disk)
    const bootId = 1 + Math.floor(this.draw() * 2 ** 40)
    const self: Run = { id: Member.id(id), bootId }
    const meta = NodeMeta.encode({
      http: "h:1",
      rpc: `${id}:1`,
      data: "d:1",
      release: "1",
      eligible: options.eligible ?? true,
      tags: {}
    })
    if (meta === undefined) throw new Error("metadata does not fit")
    const node: SimNode = {
      id: self.id,
      bootId,
      startedAt: 1_000_000 + Math.floor(this.now),
      disk,
      meta,
      state: ClusterState.make({
        self,
        now: this.now,
        seed: Math.floor(this.draw() * 2 ** 32),
        joining,
        floor: disk.floor,
        reign: disk.reign
      }),
      up: true,
      paused: false,
      left: false,
      held: [],
      item: undefined,
      incarnation: 1,
      seen: new Map(),
      watch: undefined,
      follow: undefined,
      asks: new Map(),
      timerToken: 0,
      applied: undefined,
      known: disk.reign
    }
    this.nodes.set(id, node)
    this.tellMembers(node)
    this.after(joining ? 30 + this.draw() * 100 : 0, () => this.gossip(node, true))
    return node
  }

  kill(id: string): void {
    const node = this.node(id)
    node.up = false
    for (const other of this.nodes.values()) {
      if (other.up && other.watch?.id === id && !this.isCut(id, other.id)) {
        this.after(
          this.latency(),
          () => this.step(other, { _tag: "WatchEnded", target: node.state.self, refused: true })
        )
      }
      if (other.up && other.follow?.id === id && !this.isCut(id, other.id)) {
        this.after(this.latency(), () => this.step(other, { _tag: "FollowEnded", target: node.state.self }))
      }
    }
  }

  pause(id: string): void {
    this.node(id).paused = true
  }

  resume(id: string): void {
    const node = this.node(id)
    node.paused = false
    const held = node.held
    node.held = []
    for (const run of held) run()
  }

  partition(...groups: ReadonlyArray<ReadonlyArray<string>>): void {
    for (const a of groups) {
      for (const b of groups) if (a !== b) { for (const x of a) for (const y of b) this.cuts.add(`${x}>${y}`) }
    }
  }

  heal(): void {
    this.cuts.clear()
  }

  node(id: string): SimNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  running(): Array<SimNode> {
    return [...this.nodes.values()].filter((node) => node.up)
  }

  /** The reign all running nodes obey, if it is one. */
  commonReign(): Reign.Reign | undefined {
    const [first, ...rest] = this.running()
    const reign = first?.state.election.reign
    return rest.every((node) => Reign.equals(node.state.election.reign, reign)) ? reign : undefined
  }

  master(): SimNode | undefined {
    const reign = this.commonReign()
    const node = reign === undefined ? undefined : this.nodes.get(reign.id)
    return node?.up === true && node.bootId === reign?.bootId ? node : undefined
  }

  /** R5: true when the tables of the master and its replicas are equal. */
  tablesAreEqual(): boolean {
    const keepers = this.running().filter((node) => node.state.role !== "worker")
    const digests = keepers.map((node) => {
      const { hash, size } = RoutingTable.digest(node.state.replica.table)
      return `${size}:${hash}`
    })
    return new Set(digests).size <= 1
  }

  register(id: string, version: string, live = true): void {
    this.step(this.node(id), { _tag: "OwnChanged", version, live })
  }

  locate(id: string, version: string, done: (where: ClusterMessage.Where) => void): void {
    const node = this.node(id)
    this.ask(node, { _tag: "Locate", ask: 0, version }, (answer) => {
      if (answer._tag !== "Located") return
      const { where } = answer
      if (where._tag !== "AskReplica" && where._tag !== "AskHome") return done(where)
      const [first] = where.to
      if (first === undefined) return done({ _tag: "Granted" })
      const asking = { ask: 0, from: node.state.self, version }
      const request = () =>
        where._tag === "AskReplica"
          ? { _tag: "Query", ...asking, live: where.live } as const
          : { _tag: "LeaseAsked", ...asking } as const
      this.call(node, first, request, (reply) => {
        if (reply?._tag !== "Located") return done({ _tag: "Granted" })
        if (reply.where._tag !== "AskHome") return done(reply.where)
        const [home] = reply.where.to
        if (home === undefined) return done({ _tag: "Granted" })
        this.call(
          this.node(first.id),
          home,
          () => ({ _tag: "LeaseAsked", ask: 0, from: node.state.self, version }),
          (last) => done(last?._tag === "Located" ? last.where : { _tag: "Granted" })
        )
      })
    })
  }

  /** Has a node that may be master hand over; how that ended, if it does. */
  handover(from: string, to: string, done: (answer: ClusterMessage.Answer) => void = () => undefined): void {
    const node = this.nodes.get(from)
    if (node === undefined || !node.up) return
    this.deliver(node, () => this.ask(node, { _tag: "HandoverAsked", ask: 0, to: Member.id(to) }, done))
  }

  // ---- the network

  private latency(): number {
    const [min, max] = this.options.latency ?? [0.2, 1]
    return min + this.draw() * (max - min) + (this.draw() < (this.options.loss ?? 0) ? 200 : 0)
  }

  private isCut(from: string, to: string): boolean {
    return this.cuts.has(`${from}>${to}`)
  }

  private ask(
    node: SimNode,
    input: WithoutNow<Input> & { readonly ask: number },
    done: (answer: ClusterMessage.Answer) => void
  ): void {
    const ask = ++this.asks
    node.asks.set(ask, done)
    this.step(node, { ...input, ask } as WithoutNow<Input>)
  }

  /** A call to a peer; `undefined` is a failure (refused, or no answer within 1 s). */
  private call(
    from: SimNode,
    to: Run,
    request: () => WithoutNow<Input> & { readonly ask: number },
    done: (answer: ClusterMessage.Answer | undefined) => void
  ): void {
    const node = this.nodes.get(to.id)
    let finished = false
    const finish = (answer: ClusterMessage.Answer | undefined) => {
      if (finished || !from.up) return
      finished = true
      done(answer)
    }
    this.after(1000, () => finish(undefined))
    if (this.isCut(from.id, to.id) || node === undefined) return
    if (!node.up || node.bootId !== to.bootId) return this.after(this.latency(), () => finish(undefined))
    this.after(this.latency(), () => {
      if (!node.up) return finish(undefined)
      this.deliver(node, () =>
        this.ask(node, request(), (answer) => {
          if (this.isCut(to.id, from.id)) return
          this.after(this.latency(), () => this.deliver(from, () => finish(answer)))
        }))
    })
  }

  private deliver(node: SimNode, run: () => void): void {
    if (node.paused) node.held.push(run)
    else if (node.up) run()
  }

  private send(from: SimNode, to: Run, input: () => WithoutNow<Input>): void {
    const node = this.nodes.get(to.id)
    if (node === undefined || node.bootId !== to.bootId || this.isCut(from.id, to.id)) return
    this.after(this.latency(), () => this.deliver(node, () => this.step(node, input())))
  }

  // ---- one node

  step(node: SimNode, input: WithoutNow<Input>): void {
    if (!node.up) return
    if (node.paused) return void node.held.push(() => this.step(node, input))
    const whole = { ...input, now: this.now } as Input
    const mutated = this.options.mutate === undefined ? whole : this.options.mutate(whole, node)
    if (mutated === undefined) return
    const before = fingerprint(node)
    const out: Array<Output> = []
    ClusterState.step(node.state, mutated, out)
    this.check(node, whole, before, out)
    for (const output of out) this.carryOut(node, output)
  }

  private check(node: SimNode, input: Input, before: string, out: ReadonlyArray<Output>): void {
    const reign = node.state.election.reign
    if (Reign.isLower(reign, node.known)) {
      this.violations.push(`R2 ${this.now} ${node.id}: ${node.known?.epoch} fell to ${reign?.epoch}`)
    }
    if (reign !== undefined && !Reign.equals(reign, node.known)) {
      this.reigns.push({ at: this.now, node: node.id, reign })
    }
    node.known = reign
    for (const output of out) {
      if (output._tag !== "SetItem" || !Reign.isHeldBy(output.reign, node)) continue
      const before = this.claimed.get(node.id) ?? 0
      if (output.reign.epoch <= before) {
        this.violations.push(`R2 ${this.now} ${node.id}: reigns by ${output.reign.epoch} after ${before}`)
      }
      this.claimed.set(node.id, Math.max(before, output.reign.epoch))
    }
    const carried = controlReign(input)
    if (carried === undefined) return
    const applied = fingerprint(node) !== before ||
      out.some((o) => o._tag === "Reply" && o.answer._tag === "Registered")
    if (!applied) return
    if (Reign.isLower(carried, node.applied)) {
      this.violations.push(
        `R1 ${this.now} ${node.id}: applied ${input._tag} of ${carried.epoch} after ${node.applied?.epoch}`
      )
    } else node.applied = carried
  }

  private carryOut(node: SimNode, output: Output): void {
    const self = node.state.self
    switch (output._tag) {
      case "SetTimer": {
        const token = ++node.timerToken
        this.after(Math.max(0, output.at - this.now), () => {
          if (token === node.timerToken) this.step(node, { _tag: "TimerFired" })
        })
        return
      }
      case "Log":
        return void this.log.push(
          `${this.now.toFixed(1)} ${node.id} ${output.message} ${JSON.stringify(output.fields)}`
        )
      case "Rejected":
        return void this.rejected.set(output.reason, (this.rejected.get(output.reason) ?? 0) + 1)
      case "Persist":
        return this.after(1 + this.draw() * 4, () => {
          if (!node.up) return
          node.disk.floor = Math.max(node.disk.floor, output.floor)
          node.disk.reign = Reign.max(node.disk.reign, output.reign)
          if (output.claim !== undefined) this.step(node, { _tag: "Persisted", epoch: output.claim, ok: true })
        })
      case "SetItem":
        node.item = Reign.max(node.item, output.reign)
        return this.spread(node)
      case "Announce":
        for (const to of output.to) {
          this.send(node, to, () => ({ _tag: "ReignHeard", reign: output.reign, from: self }))
        }
        return
      case "Contest":
        return this.call(
          node,
          output.to,
          () => ({ _tag: "Contested", ask: 0, from: self, reign: output.reign }),
          (answer) => {
            if (answer?._tag !== "Acknowledged" || answer.reign === undefined) return
            this.step(node, { _tag: "ReignHeard", reign: answer.reign, from: output.to })
          }
        )
      case "SendVerdict":
        for (const to of output.to) {
          this.send(node, to, () => ({ _tag: "VerdictReceived", from: self, reign: output.reign, lost: output.lost }))
        }
        return
      case "AskSupport":
        return this.askSupport(node, output)
      case "Watch":
        node.watch = output.target
        return this.dialWatch(node, output.target)
      case "Beat":
        for (const other of this.nodes.values()) {
          if (other.watch?.id !== node.id || other.watch.bootId !== node.bootId) continue
          this.send(node, other.state.self, () => ({
            _tag: "BeatReceived",
            from: self,
            reign: output.reign,
            witnesses: output.witnesses
          }))
        }
        return
      case "Follow":
        node.follow = output.target
        return this.subscribe(node, output)
      case "Publish":
        for (const other of this.nodes.values()) {
          if (other.follow?.id !== node.id || other.follow.bootId !== node.bootId) continue
          this.send(node, other.state.self, () => ({ _tag: "DeltaReceived", from: self, delta: output.delta }))
        }
        return
      case "SendRegister":
        return this.call(
          node,
          output.to,
          () => ({ _tag: "RegisterReceived", ask: 0, from: self, reign: output.reign, entries: output.entries }),
          (answer) => {
            if (answer?._tag === "NotMaster" && answer.reign !== undefined) {
              this.step(node, { _tag: "ReignHeard", reign: answer.reign, from: output.to })
            }
            const live = answer?._tag === "Registered" ? answer.live : undefined
            this.step(node, { _tag: "RegisterAnswered", to: output.to, live })
          }
        )
      case "SendHandover":
        return this.send(node, output.to, () => ({ _tag: "HandoverReceived", from: self, message: output.message }))
      case "CloseParts":
        return this.after(
          this.draw() * 5,
          () => this.deliver(node, () => this.step(node, { _tag: "PartsClosed", attempt: output.attempt, marks: {} }))
        )
      case "LoadParts": {
        const { attempt, sealed } = output
        return this.after(this.draw() * 5, () =>
          this.deliver(
            node,
            () => this.step(node, { _tag: "PartsLoaded", attempt, sealed, failure: undefined })
          ))
      }
      case "SendReregister":
        return this.send(node, output.to, () => ({ _tag: "Reregister", from: self, reign: output.reign }))
      case "Reply": {
        const done = node.asks.get(output.ask)
        node.asks.delete(output.ask)
        return done?.(output.answer)
      }
      case "ViewChanged":
      case "Greet":
        return
    }
  }

  private askSupport(node: SimNode, output: Extract<Output, { readonly _tag: "AskSupport" }>): void {
    for (const to of output.to) {
      this.call(
        node,
        to,
        () => ({ _tag: "SupportAsked", ask: 0, from: node.state.self, claim: output.claim }),
        (answer) =>
          this.step(node, {
            _tag: "SupportAnswered",
            from: to,
            epoch: output.claim.epoch,
            support: answer?._tag === "Supported" ? answer.support : "unreachable",
            reign: answer?._tag === "Supported" ? answer.reign : undefined
          })
      )
    }
  }

  /** Repeats the dial while the watch lasts: a refusal is told, silence is silence. */
  private dialWatch(node: SimNode, target: Run | undefined): void {
    if (target === undefined) return
    this.after(100, () => {
      if (!node.up || node.watch !== target) return
      const master = this.nodes.get(target.id)
      const reachable = !this.isCut(node.id, target.id) && !this.isCut(target.id, node.id)
      if (reachable && (master === undefined || !master.up || master.bootId !== target.bootId)) {
        this.step(node, { _tag: "WatchEnded", target, refused: true })
      }
      this.dialWatch(node, target)
    })
  }

  private subscribe(node: SimNode, output: Extract<Output, { readonly _tag: "Follow" }>): void {
    const { reign, target } = output
    if (target === undefined || reign === undefined) return
    this.call(node, target, () => ({ _tag: "SubscribeAsked", ask: 0, from: node.state.self, reign }), (answer) => {
      if (answer?._tag === "Subscribed") {
        const half = Math.floor(answer.entries.length / 2)
        const chunk = { _tag: "SnapshotReceived", from: target, reign, sequence: answer.sequence } as const
        this.step(node, { ...chunk, entries: answer.entries.slice(0, half), last: false })
        return this.step(node, { ...chunk, entries: answer.entries.slice(half), last: true })
      }
      if (answer?._tag === "NotMaster" && answer.reign !== undefined) {
        this.step(node, { _tag: "ReignHeard", reign: answer.reign, from: target })
      }
      this.step(node, { _tag: "FollowEnded", target })
    })
  }

  // ---- the oracle for gossip

  private spread(node: SimNode): void {
    for (const other of this.nodes.values()) {
      if (other === node || !other.up || this.isCut(node.id, other.id)) continue
      this.after(5 + this.draw() * 150, () => {
        if (node.item === undefined || !Reign.isLower(other.item, node.item)) return
        if (this.isCut(node.id, other.id) || !node.up) return
        const reign = node.item
        this.deliver(other, () => {
          other.item = Reign.max(other.item, reign)
          this.step(other, { _tag: "ReignHeard", reign, from: undefined })
        })
      })
    }
  }

  private gossip(node: SimNode, first: boolean): void {
    if (!node.up || this.nodes.get(node.id) !== node) return
    if (!node.paused) {
      let changed = first
      let contact = false
      for (const other of this.nodes.values()) {
        if (other === node) continue
        if (this.judge(node, other)) changed = true
        if (other.up && !this.isCut(node.id, other.id) && !this.isCut(other.id, node.id)) {
          contact = true
          if (first) { for (const run of [node, other]) this.spreadBetween(run === node ? other : node, run) }
        }
      }
      if (changed) this.tellMembers(node)
      if (contact) this.step(node, { _tag: "Contacted" })
      if (node.item !== undefined) this.spread(node)
    }
    this.after(200 + this.draw() * 100, () => this.gossip(node, false))
  }

  private spreadBetween(from: SimNode, to: SimNode): void {
    if (from.item === undefined || !Reign.isLower(to.item, from.item)) return
    to.item = from.item
    this.step(to, { _tag: "ReignHeard", reign: from.item, from: undefined })
  }

  /** How long it takes gossip to notice: suspicion after about 1.5 s, death after 5 to 8 s. */
  private judge(node: SimNode, other: SimNode): boolean {
    const reachable = other.up && !other.paused && !this.isCut(node.id, other.id) && !this.isCut(other.id, node.id)
    const known = node.seen.get(other.id)
    if (known === undefined || known.bootId !== other.bootId) {
      if (!reachable) return false
      node.seen.set(other.id, {
        status: "alive",
        unreachableSince: undefined,
        bootId: other.bootId,
        deadAfter: 5000 + this.draw() * 3000
      })
      return true
    }
    const before = known.status
    if (other.left && reachable) known.status = "left"
    else if (reachable) {
      known.unreachableSince = undefined
      known.status = "alive"
      known.deadAfter = 5000 + this.draw() * 3000
    } else {
      known.unreachableSince ??= this.now
      const silent = this.now - known.unreachableSince
      if (known.status !== "left") {
        known.status = silent > known.deadAfter
          ? "dead"
          : silent > 1500
          ? "suspect"
          : known.status
      }
    }
    return known.status !== before
  }

  private tellMembers(node: SimNode): void {
    const members: Array<Member.Member> = []
    for (const other of this.nodes.values()) {
      const seen = node.seen.get(other.id)
      if (other !== node && (seen === undefined || seen.bootId !== other.bootId)) continue
      members.push({
        id: other.id,
        bootId: other.bootId,
        startedAt: other.startedAt,
        address: { host: "127.0.0.1", port: 1 },
        meta: other.meta,
        incarnation: other.incarnation,
        status: other === node ? "alive" : seen?.status ?? "alive"
      })
    }
    this.step(node, { _tag: "Members", members })
  }
}
