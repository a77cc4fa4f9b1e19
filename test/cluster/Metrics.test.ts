/** What the control plane measures, and its spans, over real layers in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Tracer from "effect/Tracer"
import * as Metrics from "../../src/cluster/Metrics.ts"
import * as Member from "../../src/swim/Member.ts"
import { ControlWorld } from "./ControlWorld.ts"

const cluster = (world: ControlWorld): ControlWorld => {
  for (let i = 1; i <= 4; i++) {
    world.start(`n${i}`)
    world.world.runFor(50)
  }
  world.world.runFor(1500)
  return world
}

const valueOf = <Input, State>(metric: Metric.Metric<Input, State>): State => Effect.runSync(Metric.value(metric))

describe("Metrics", () => {
  it("tell how long a node was without master, from the last beat until another is obeyed", () => {
    const world = cluster(new ControlWorld(1))
    const before = valueOf(Metrics.withoutMaster)
    world.kill("n1")
    world.world.runFor(200)
    world.fail("n1")
    world.world.runFor(1000)
    const after = valueOf(Metrics.withoutMaster)
    // the three witnesses, each for less than a beat and a failover
    assert.strictEqual(after.count - before.count, 3)
    assert.isBelow(after.max, 250)
    assert.strictEqual(valueOf(Metrics.hasMaster).value, 1)
  })

  it("tell snapshots, the lag of replicas, and what a handover took", () => {
    const snapshots = valueOf(Metrics.snapshots).count
    const world = cluster(new ControlWorld(2))
    for (let i = 0; i < 20; i++) world.run("n3", (manager) => manager.register(`function-${i}`))
    world.world.runFor(500)
    assert.isAbove(valueOf(Metrics.snapshots).count, snapshots)
    assert.isAtMost(valueOf(Metrics.replicaLag).value, 1100)
    const bytes = valueOf(Metrics.snapshotBytes).count
    const done = Metric.withAttributes(Metrics.handovers, { outcome: "done" })
    const before = valueOf(done).count
    assert.isTrue(Exit.isSuccess(world.run("n2", (manager) => manager.handover(Member.id("n4")))))
    assert.strictEqual(valueOf(done).count, before + 1)
    assert.isBelow(valueOf(done).max, 100)
    assert.isAbove(valueOf(Metrics.closed).count, 0)
    world.world.runFor(1000)
    // n4 was given the table
    assert.isAtLeast(valueOf(Metrics.snapshotBytes).count - bytes, 20 * "function-0".length)
  })

  it("have spans across nodes when somebody traces: of the call, at the caller and at the master", () => {
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })
    const world = cluster(new ControlWorld(3, {}, tracer))
    spans.length = 0
    assert.isTrue(Exit.isSuccess(world.run("n2", (manager) => manager.handover(Member.id("n4")))))
    const asked = spans.find(({ name }) => name === "ClusterManager.handover")
    const made = spans.find(({ name }) => name === "ClusterServer.transfer")
    assert.isDefined(asked)
    assert.isDefined(made)
    assert.strictEqual(made?.traceId, asked?.traceId)
    const parent = Option.getOrUndefined(made?.parent ?? Option.none())
    assert.isDefined(parent)
    assert.isTrue(spans.some(({ name, spanId }) => spanId === parent?.spanId && name.includes("ClusterTransfer")))
  })
})
