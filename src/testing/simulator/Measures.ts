/** What a run is measured by: who learned of what when, deaths that were none, traffic.
 *
 * PURE. Boundary: looks on as an observer and gathers samples; percentiles are `Statistics`'. Times are in ms.
 * A change (crash, join, leave, metadata, broadcast) is followed until every running member knows of it. */
import type * as Swim from "../../swim/Swim.ts"
import type * as Plan from "./Plan.ts"
import type * as SimNode from "./SimNode.ts"
import type { Observer, Simulation } from "./Simulation.ts"

export type Kind = "crash" | "join" | "leave" | "update" | "broadcast"

/** One change on its way. */
interface Change {
  readonly kind: Kind
  readonly subject: SimNode.SimNode
  readonly since: number
  /** Nobody was told before: for a join the time of its first contact. */
  begun: number
  firstSuspected: number
  firstKnown: number
  lastKnown: number
  readonly knownBy: Set<number>
  readonly times: Array<number>
  /** So many have to know before it is worth a look who does not. */
  readonly expected: number
}

export interface Point {
  readonly at: number
  /** Share of the running members that hold the most frequent view. */
  readonly agreed: number
  /** Different views. */
  readonly views: number
  readonly alive: number
}

/** Actions that change who reaches whom. */
const paths: ReadonlySet<Plan.Action["_tag"]> = new Set(["Partition", "Cut", "Isolate", "Heal"])

/** Samples by name. Unit ms unless the name says otherwise. */
export type Samples = Record<string, Array<number>>

export class Measures implements Observer {
  readonly samples: Samples = {}
  /** Deaths of members that were well: distinct ones, and in all views together. */
  falseDeaths = 0
  falseDeathViews = 0
  /** Deaths that a member outside `anomalous` declared of one outside. */
  suspicions = 0
  readonly points: Array<Point> = []
  /** When somebody last learned of a change. */
  lastKnown = 0
  private sim: Simulation | undefined
  private readonly byBoot = new Map<number, Change>()
  private readonly open = new Set<Change>()
  private readonly broadcasts = new Map<string, Change>()
  private readonly anomalous: Set<number>
  /** When somebody was last cut off or reached again. */
  private pathsChanged = -Infinity
  private readonly nodesByBoot = new Map<number, SimNode.SimNode>()
  /** Deaths by run and incarnation, and whether they were false when first declared. */
  private readonly deaths = new Map<string, boolean>()

  constructor(plan: Plan.Plan) {
    this.anomalous = new Set(plan.anomalous)
  }

  attach(sim: Simulation): void {
    this.sim = sim
  }

  /** Everybody knows of everything that has happened so far. */
  get settled(): boolean {
    return this.open.size === 0
  }

  readonly onBoot = (node: SimNode.SimNode, swim: Swim.Swim): void => {
    this.nodesByBoot.set(swim.self.bootId, node)
    if (this.sim !== undefined && this.sim.now > 0) this.follow("join", node, swim.self.bootId)
  }

  readonly onAction = (action: Plan.Action): void => {
    if (action._tag === "Crash") { for (const index of action.nodes) this.follow("crash", this.node(index)) }
    else if (action._tag === "Leave") { for (const index of action.nodes) this.follow("leave", this.node(index)) }
    else if (action._tag === "SetMeta") this.follow("update", this.node(action.node))
    else if (paths.has(action._tag)) this.pathsChanged = this.now
    // Those who have gone need not know any more.
    for (const change of this.open) this.check(change)
  }

  readonly onEvent = (node: SimNode.SimNode, event: Swim.Event): void => {
    switch (event._tag) {
      case "Suspected":
        return this.onSuspected(node, event.member.bootId)
      case "Failed":
        return this.onFailed(node, event.member)
      case "Left":
        return this.learned(node, event.member.bootId, "leave")
      case "Joined":
        return this.learned(node, event.member.bootId, "join")
      case "Replaced": {
        this.learned(node, event.previous.bootId, "crash")
        return this.learned(node, event.member.bootId, "join")
      }
      case "Updated":
        return this.learned(node, event.member.bootId, "update")
      case "JoinDone":
        return this.onJoinDone(node)
      case "Delivered":
        return this.onDelivered(node, event.broadcast)
      case "LeaveDone": {
        for (const change of this.open) this.check(change)
        return
      }
      default:
        return
    }
  }

  private node(index: number): SimNode.SimNode | undefined {
    return this.sim?.nodes[index]
  }

  private expected(subject: SimNode.SimNode): number {
    return (this.sim?.running ?? 0) - (subject.up && !subject.left ? 1 : 0)
  }

  private get now(): number {
    return this.sim?.now ?? 0
  }

  private follow(kind: Kind, subject: SimNode.SimNode | undefined, bootId = subject?.swim?.self.bootId): void {
    if (subject === undefined || bootId === undefined) return
    const before = this.byBoot.get(bootId)
    if (before !== undefined) this.close(before)
    const change: Change = {
      kind,
      subject,
      since: this.now,
      begun: this.now,
      firstSuspected: -1,
      firstKnown: -1,
      lastKnown: -1,
      knownBy: new Set(),
      times: [],
      expected: this.expected(subject)
    }
    this.byBoot.set(bootId, change)
    this.open.add(change)
  }

  private onSuspected(node: SimNode.SimNode, bootId: number): void {
    this.suspicions++
    const change = this.byBoot.get(bootId)
    if (change === undefined || change.kind !== "crash" || change.firstSuspected >= 0) return
    change.firstSuspected = this.now
    if (node.up) this.sample("crash.suspected", this.now - change.since)
  }

  private onFailed(node: SimNode.SimNode, member: { readonly bootId: number; readonly incarnation: number }): void {
    const change = this.byBoot.get(member.bootId)
    if (change?.kind === "crash") return this.learned(node, member.bootId, "crash")
    const subject = this.nodesByBoot.get(member.bootId)
    if (subject === undefined) return
    const death = `${member.bootId}/${member.incarnation}`
    let isFalse = this.deaths.get(death)
    if (isFalse === undefined) {
      isFalse = this.isWell(node, subject, member.bootId)
      this.deaths.set(death, isFalse)
      if (isFalse) this.falseDeaths++
    }
    if (isFalse) this.falseDeathViews++
  }

  /** That run of it goes on, undisturbed, and the two reach each other since the last questions before the verdict. */
  private isWell(observer: SimNode.SimNode, subject: SimNode.SimNode, bootId: number): boolean {
    if (!subject.up || subject.paused || subject.swim?.self.bootId !== bootId) return false
    if (this.sim !== undefined && this.now - this.pathsChanged < this.sim.params.probeInterval) return false
    if (this.anomalous.has(subject.index)) return false
    return this.sim?.reaches(observer, subject) === true && this.sim.reaches(subject, observer)
  }

  private onJoinDone(node: SimNode.SimNode): void {
    const { swim } = node
    const change = swim === undefined ? undefined : this.byBoot.get(swim.self.bootId)
    if (change === undefined || change.kind !== "join") return
    // Nobody was told before: the contact comes first.
    if (change.knownBy.size === 0) change.begun = this.now
    this.sample("join.contact", this.now - change.since)
  }

  private learned(node: SimNode.SimNode, bootId: number, kind: Kind): void {
    const change = this.byBoot.get(bootId)
    if (change !== undefined && change.kind === kind) this.know(node, change)
  }

  private know(node: SimNode.SimNode, change: Change): void {
    if (change.knownBy.has(node.index)) return
    change.knownBy.add(node.index)
    if (change.firstKnown < 0) {
      change.firstKnown = this.now
      this.sample(`${change.kind}.first`, this.now - change.begun)
    }
    change.lastKnown = this.now
    this.lastKnown = this.now
    change.times.push(this.now - change.begun)
    if (change.knownBy.size >= change.expected) this.check(change)
  }

  /** Whether all that run now know of it. */
  private check(change: Change): void {
    if (this.sim === undefined || !this.open.has(change)) return
    // Whoever began later heard of it as a matter of course.
    for (const { bootedAt, index, left, up } of this.sim.nodes) {
      if (up && !left && index !== change.subject.index && bootedAt <= change.since && !change.knownBy.has(index)) {
        return
      }
    }
    this.open.delete(change)
    if (change.knownBy.size === 0) return
    this.sample(`${change.kind}.all`, change.lastKnown - change.begun)
    this.sample(`${change.kind}.spread`, change.lastKnown - change.firstKnown)
    for (const time of change.times) this.sample(`${change.kind}.member`, time)
  }

  /** Overtaken by a later change of the same member. */
  private close(change: Change): void {
    if (this.open.delete(change)) this.sample(`${change.kind}.overtaken`, this.now - change.begun)
  }

  private onDelivered(node: SimNode.SimNode, broadcast: { readonly bootId: number; readonly seq: number }): void {
    const key = `${broadcast.bootId}/${broadcast.seq}`
    const change = this.broadcasts.get(key)
    if (change !== undefined) return this.know(node, change)
    const subject = this.nodesByBoot.get(broadcast.bootId)
    if (subject === undefined) return
    const { now } = this
    const fresh: Change = {
      kind: "broadcast",
      subject,
      since: now,
      begun: now,
      firstSuspected: -1,
      firstKnown: -1,
      lastKnown: -1,
      knownBy: new Set(),
      times: [],
      expected: this.expected(subject)
    }
    this.broadcasts.set(key, fresh)
    this.open.add(fresh)
  }

  /** Broadcasts that some running member has not got. */
  get unfinished(): number {
    return this.open.size
  }

  /** Looks at all views; cheap enough for every few ms of virtual time. */
  look(): Point {
    const views = new Map<number, number>()
    let most = 0
    let running = 0
    let alive = 0
    for (const node of this.sim?.nodes ?? []) {
      if (!node.up || node.left || node.swim === undefined) continue
      running++
      alive += node.swim.table.active
      const view = this.sim?.viewOf(node) ?? 0
      const count = (views.get(view) ?? 0) + 1
      views.set(view, count)
      most = Math.max(most, count)
    }
    return {
      at: this.now,
      agreed: running === 0 ? 1 : most / running,
      views: views.size,
      alive: alive / Math.max(1, running)
    }
  }

  sample(name: string, value: number): void {
    const known = this.samples[name]
    if (known === undefined) this.samples[name] = [value]
    else known.push(value)
  }
}
