/** A simulation that a test drives by hand: members begin, end and are cut off when the test says so.
 *
 * Boundary: what each action does is `Faults`', what is wrong is told by `Invariants`; here are the questions of tests. */
import { assert } from "@effect/vitest"
import type * as Member from "../../../src/swim/Member.ts"
import * as Swim from "../../../src/swim/Swim.ts"
import * as Faults from "../../../src/testing/simulator/Faults.ts"
import { Invariants } from "../../../src/testing/simulator/Invariants.ts"
import * as Plan from "../../../src/testing/simulator/Plan.ts"
import type { SimNode } from "../../../src/testing/simulator/SimNode.ts"
import { type Identity, Simulation } from "../../../src/testing/simulator/Simulation.ts"

/** An action without its time: it happens now. */
type Now = Plan.Action extends infer A ? A extends Plan.Action ? Omit<A, "at"> : never : never

export interface Options {
  readonly seed?: number
  readonly params?: Plan.Plan["params"]
  readonly network?: Partial<Plan.Network>
  readonly identity?: (index: number) => Identity
}

/** Members that may begin; more than any test needs. */
const most = 110
const never = 1e12

export class Scene {
  readonly sim: Simulation
  readonly events: Array<{ readonly node: number; readonly event: Swim.Event }> = []
  private readonly invariants: Invariants

  /** Of one member, which knows nobody. */
  constructor(options: Options = {}) {
    const others = Array.from({ length: most }, (_, i) => i + 1)
    const plan: Plan.Plan = {
      name: "scene",
      seed: options.seed ?? 1,
      nodes: 1,
      profile: "lan",
      settings: "shoal",
      params: options.params ?? {},
      network: { ...Plan.calm, latency: { _tag: "Uniform", from: 0.5, to: 2 }, buffer: 200, ...options.network },
      actions: [{ _tag: "Start", at: never, nodes: others, seeds: [] }],
      duration: never,
      untilKnown: false,
      converges: false,
      anomalous: []
    }
    const params = Plan.params(plan)
    if (params._tag === "Failure") throw new Error(String(params.failure))
    this.invariants = new Invariants(params.success.datagramBudget)
    this.sim = new Simulation({
      plan,
      params: params.success,
      identity: options.identity,
      bytes: true,
      observers: [this.invariants, { onEvent: ({ index }, event) => void this.events.push({ node: index, event }) }]
    })
    this.invariants.attach(this.sim)
  }

  /** So many members that join through the first at once. */
  static joining(size: number, options: Options = {}): Scene {
    const scene = new Scene(options)
    for (let node = 1; node < size; node++) scene.act({ _tag: "Start", nodes: [node], seeds: [0] })
    return scene
  }

  /** So many members that all see all. */
  static joined(size: number, options: Options = {}): Scene {
    const scene = Scene.joining(size, options)
    scene.within("join", () => scene.isComplete(), 10_000)
    return scene
  }

  act(action: Now): void {
    Faults.apply(this.sim, { ...action, at: this.sim.now })
  }

  command(node: number, command: Swim.Command): void {
    this.sim.command(this.node(node), command)
  }

  run(duration: number): void {
    this.sim.run(this.sim.now + duration)
  }

  /** Runs until the condition holds and returns how long that took. */
  within(what: string, condition: () => boolean, limit: number): number {
    const began = this.sim.now
    while (!condition() && this.sim.now - began < limit) this.run(10)
    assert.isTrue(condition(), `${what} within ${limit} ms of virtual time`)
    return this.sim.now - began
  }

  node(index: number): SimNode {
    return this.sim.nodes[index] ?? assert.fail(`no member ${index}`)
  }

  machine(index: number): Swim.Swim {
    return this.node(index).swim ?? assert.fail(`member ${index} has not begun`)
  }

  get up(): ReadonlyArray<number> {
    return this.sim.nodes.filter(({ up }) => up).map(({ index }) => index)
  }

  status(observer: number, subject: number): Member.Status | undefined {
    return Swim.member(this.machine(observer), this.node(subject).id)?.status
  }

  everyoneSees(subject: number, status: Member.Status): boolean {
    return this.up.every((node) => node === subject || this.status(node, subject) === status)
  }

  /** All that run hold each other alive in their present runs. */
  isComplete(): boolean {
    const { up } = this
    return up.every((observer) =>
      this.machine(observer).table.counts[0] >= up.length - 1 &&
      up.every((subject) => {
        const known = Swim.member(this.machine(observer), this.node(subject).id)
        return known?.status === "alive" && known.bootId === this.machine(subject).self.bootId
      })
    )
  }

  /** All tables are equal, entry by entry. */
  isEqual(): boolean {
    const views = this.up.map((node) =>
      Swim.members(this.machine(node))
        .map(({ bootId, id, incarnation, status }) => `${id}/${bootId}/${incarnation}/${status}`)
        .toSorted()
        .join()
    )
    return views.every((view) => view === views[0])
  }

  count(tag: Swim.Event["_tag"], node?: number): number {
    return this.events.filter(({ event, node: at }) => event._tag === tag && (node === undefined || at === node)).length
  }

  /** Datagrams and their bytes with headers that all members have sent. */
  get sent(): { readonly packets: number; readonly bytes: number } {
    const { nodes } = this.sim
    return {
      packets: nodes.reduce((sum, { packets }) => sum + packets, 0),
      bytes: nodes.reduce((sum, { bytes }) => sum + bytes, 0)
    }
  }

  /** No invariant was broken. */
  isSound(): void {
    assert.deepStrictEqual(this.invariants.violations, [])
  }
}
