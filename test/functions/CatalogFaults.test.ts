/** Catalogs under kills, restarts, partitions and changes of master, at random by seed; what was acknowledged must stay. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as CatalogState from "../../src/functions/CatalogState.ts"
import type * as Manifest from "../../src/functions/Manifest.ts"
import { CatalogCluster } from "./CatalogCluster.ts"

const ids = ["a", "b", "c", "d", "e"]
const steps = 40

/** A cluster whose members always see who is really reachable, and in which every side of a partition has a master. */
class Scenario {
  readonly cluster: CatalogCluster
  readonly deploys: Array<{ readonly name: string; readonly fiber: Fiber.Fiber<Manifest.Manifest, unknown> }> = []
  private groups: ReadonlyArray<ReadonlyArray<string>> = [ids]
  private readonly epochs = new Map<string, number>()
  /** which disk of a node is in use: 0 until it is lost */
  private readonly disk = new Map<string, number>(ids.map((id) => [id, 0]))
  /** the disks that had a deploy when it was acknowledged */
  private readonly copies = new Map<string, ReadonlyArray<readonly [id: string, disk: number]>>()

  constructor(seed: number) {
    this.cluster = new CatalogCluster({ seed, ids })
    this.cluster.world.runFor(50)
    this.settle()
  }

  private pick<A>(from: ReadonlyArray<A>): A | undefined {
    return from[Math.floor(this.cluster.world.random() * from.length)]
  }

  get running(): ReadonlyArray<string> {
    return [...this.cluster.nodes.keys()]
  }

  /** Tells everybody who is there, and gives every side that lost its master another. */
  settle(fresh = false): void {
    const { cluster } = this
    cluster.tellMembers()
    for (const group of this.groups) {
      const here = group.filter((id) => cluster.nodes.has(id))
      const gone = ids.filter((id) => !here.includes(id))
      cluster.tellGone(here, gone)
      const reigns = here.map((id) => cluster.viewOf(id).reign)
      const holder = reigns[0]
      const agreed = holder !== undefined && here.includes(holder.id) &&
        cluster.node(holder.id).bootId === holder.bootId &&
        reigns.every((reign) => reign?.epoch === holder.epoch && reign.id === holder.id)
      if (here.length === 0 || (agreed && !fresh)) continue
      const epoch = 1 + Math.max(0, ...here.map((id) => this.epochs.get(id) ?? 0))
      for (const id of here) this.epochs.set(id, epoch)
      cluster.reign(epoch, this.pick(here) ?? "", { to: here, replicas: here.slice(0, 2) })
    }
  }

  deploy(): void {
    const at = this.pick(this.running)
    if (at === undefined || this.cluster.node(at).catalog === undefined) return
    const name = `fn-${this.deploys.length}`
    const deploy = Effect.tap(
      this.cluster.manifest(at, name, `export default "${name}"`),
      ({ bundle }) =>
        Effect.sync(() => {
          this.copies.set(name, this.cluster.holders(name, bundle).map((id) => [id, this.disk.get(id) ?? 0]))
        })
    )
    this.deploys.push({ name, fiber: this.cluster.fork(deploy) })
  }

  kill(): void {
    const id = this.pick(this.running)
    if (id === undefined || this.running.length === 1) return
    this.cluster.kill(id)
    if (this.cluster.world.random() >= 0.2) return
    this.cluster.disks.set(id, new Map())
    this.disk.set(id, (this.disk.get(id) ?? 0) + 1)
  }

  /** A disk still has it that had it when it was acknowledged. */
  private survives(name: string): boolean {
    return (this.copies.get(name) ?? []).some(([id, disk]) => this.disk.get(id) === disk)
  }

  restart(): void {
    const id = this.pick(ids.filter((one) => !this.cluster.nodes.has(one)))
    if (id !== undefined) this.cluster.start(id)
  }

  partition(): void {
    const left = ids.filter(() => this.cluster.world.random() < 0.5)
    this.groups = [left, ids.filter((id) => !left.includes(id))]
    this.cluster.net.heal()
    this.cluster.net.partition(...this.groups.map((group) => group.map((id) => `10.0.0.${id.charCodeAt(0)}`)))
  }

  heal(): void {
    this.groups = [ids]
    this.cluster.net.heal()
  }

  step(): void {
    const { world } = this.cluster
    const roll = world.random()
    if (roll < 0.5) this.deploy()
    else if (roll < 0.62) this.kill()
    else if (roll < 0.8) this.restart()
    else if (roll < 0.88) this.partition()
    else this.heal()
    world.runFor(world.random() * 20)
    if (roll >= 0.5) this.settle(roll > 0.95)
    world.runFor(world.random() * (world.random() < 0.2 ? 3000 : 60))
  }

  /** Everybody is back, long enough for all to be said. */
  end(): void {
    this.heal()
    for (const id of ids) if (!this.cluster.nodes.has(id)) this.cluster.start(id)
    this.cluster.world.runFor(100)
    this.settle(true)
    this.cluster.world.runFor(30_000)
  }

  /** What was acknowledged and of which a copy was never lost. */
  get acknowledged(): ReadonlyArray<Manifest.Manifest> {
    return this.deploys.flatMap(({ fiber, name }) => {
      const exit = fiber.pollUnsafe()
      return exit !== undefined && Exit.isSuccess(exit) && this.survives(name) ? [exit.value] : []
    })
  }
}

describe("a catalog under faults", () => {
  for (let seed = 1; seed <= 12; seed++) {
    it(`loses no acknowledged deploy and becomes equal everywhere (seed ${seed})`, () => {
      const scenario = new Scenario(seed)
      for (let i = 0; i < steps; i++) scenario.step()
      scenario.end()
      const { cluster } = scenario
      const { acknowledged } = scenario
      assert.isAbove(acknowledged.length, 3)
      const digests = ids.map((id) => CatalogState.digest(cluster.partsOf(id).ledger.state))
      assert.lengthOf(new Set(digests), 1)
      for (const id of ids) {
        assert.deepStrictEqual(cluster.partsOf(id).ledger.pending, [])
        for (const { bundle, name, version } of acknowledged) {
          assert.strictEqual(cluster.live(id, name), version, `${name} at ${id}`)
          cluster.get(Effect.asVoid(cluster.catalog(id).bundlePath(bundle)))
        }
      }
    })
  }
})
