import { assert, describe, it } from "@effect/vitest"
import type { Delta, Output } from "../../src/cluster/ClusterMessage.ts"
import type * as Reign from "../../src/cluster/Reign.ts"
import * as Replica from "../../src/cluster/Replica.ts"
import * as RoutingTable from "../../src/cluster/RoutingTable.ts"
import * as Topology from "../../src/cluster/Topology.ts"
import * as Member from "../../src/swim/Member.ts"

const m = Member.id("m")
const from = { id: m, bootId: 1 }
const reign = (epoch: number): Reign.Reign => ({
  epoch,
  id: m,
  bootId: 1,
  startedAt: 1,
  predecessor: undefined,
  kind: "plain",
  witnesses: 0
})
const entry = (version: string, counter = 1, live = true): RoutingTable.Entry => ({
  version,
  node: Member.id("a"),
  bootId: 1,
  counter,
  live
})
const topology = Topology.make()

const master = () => {
  const self = Replica.make()
  Replica.assume(self, "master", reign(1), 0, [])
  return self
}

/** Runs the master's timers up to `end` and collects what it published. */
const publish = (self: Replica.Replica, end: number): Array<{ readonly at: number; readonly delta: Delta }> => {
  const found: Array<{ readonly at: number; readonly delta: Delta }> = []
  for (let at = Replica.nextWake(self); at <= end; at = Replica.nextWake(self)) {
    const out: Array<Output> = []
    Replica.settle(self, topology, at, out)
    for (const output of out) if (output._tag === "Publish") found.push({ at, delta: output.delta })
  }
  return found
}

const replica = (reignNow = reign(1), now = 0) => {
  const self = Replica.make()
  const out: Array<Output> = []
  Replica.assume(self, "replica", reignNow, now, out)
  assert.deepStrictEqual(out.map((o) => o._tag), ["Follow"])
  return self
}

const follow = (self: Replica.Replica, source: Replica.Replica, now: number): void => {
  const { entries, sequence } = Replica.snapshot(source)
  Replica.receiveSnapshot(self, { from, reign: reign(1), sequence, entries, last: true }, now, [])
}

describe("the master's changes", () => {
  it("leave at once when it was quiet, then in one batch per 100 ms", () => {
    const self = master()
    Replica.accept(self, [entry("f0")], 500)
    const first = publish(self, 600)
    assert.strictEqual(first.length, 1)
    assert.isAtMost((first[0]?.at ?? 0) - 500, 5)
    for (let i = 1; i <= 20; i++) Replica.accept(self, [entry(`f${i}`, i + 1)], 600 + i * 4)
    const rest = publish(self, 800)
    assert.isAtMost(rest.length, 2)
    assert.strictEqual(rest.reduce((sum, { delta }) => sum + delta.entries.length, 0), 20)
  })

  it("do not wait when something was withdrawn", () => {
    const self = master()
    Replica.accept(self, [entry("f")], 500)
    publish(self, 510)
    Replica.accept(self, [entry("f", 2, false)], 520)
    assert.deepStrictEqual(publish(self, 520).map(({ at }) => at), [520])
  })

  it("are numbered without a gap and carry the digest of the table after them", () => {
    const self = master()
    for (let i = 0; i < 5; i++) Replica.accept(self, [entry(`f${i}`, i + 1)], i * 300)
    const published = publish(self, 4000)
    assert.deepStrictEqual(published.map(({ delta }) => delta.sequence), published.map((_, i) => i + 1))
    assert.deepStrictEqual(
      { size: published.at(-1)?.delta.size, hash: published.at(-1)?.delta.hash },
      RoutingTable.digest(self.table)
    )
  })
})

describe("a replica", () => {
  it("R5: equals the master after the snapshot and every change", () => {
    const source = master()
    Replica.accept(source, [entry("a"), entry("b", 2)], 0)
    publish(source, 10)
    const self = replica()
    follow(self, source, 20)
    Replica.accept(source, [entry("c", 3), entry("a", 4, false)], 200)
    const out: Array<Output> = []
    for (const { delta } of publish(source, 5000)) Replica.receiveDelta(self, from, delta, 6000, out)
    assert.deepStrictEqual(out, [])
    assert.deepStrictEqual(RoutingTable.digest(self.table), RoutingTable.digest(source.table))
  })

  it("subscribes anew after a gap and ignores what it already has", () => {
    const source = master()
    const self = replica()
    follow(self, source, 0)
    const [one, two, three] = [1, 2, 3].map((i) => {
      Replica.accept(source, [entry(`f${i}`, i)], i * 300)
      return publish(source, i * 300 + 10)[0]?.delta
    })
    if (one === undefined || two === undefined || three === undefined) throw new Error("three changes were published")
    const out: Array<Output> = []
    Replica.receiveDelta(self, from, one, 1000, out)
    Replica.receiveDelta(self, from, one, 1000, out)
    assert.deepStrictEqual(out, [])
    Replica.receiveDelta(self, from, three, 1000, out)
    assert.deepStrictEqual(out.map((o) => o._tag), ["Rejected", "Follow"])
    // nothing more is applied before the new snapshot
    Replica.receiveDelta(self, from, two, 1000, out)
    assert.strictEqual(self.table.size, 1)
  })

  it("R1: applies nothing of another reign or of another master", () => {
    const self = replica(reign(2))
    const out: Array<Output> = []
    const old = { from, reign: reign(1), sequence: 0, entries: [entry("f")], last: true }
    Replica.receiveSnapshot(self, old, 0, out)
    Replica.receiveSnapshot(self, { ...old, reign: reign(2), from: { id: m, bootId: 2 } }, 0, out)
    assert.deepStrictEqual(out.map((o) => o._tag), ["Rejected", "Rejected"])
    assert.strictEqual(self.table.size, 0)
  })

  it("repairs a silent difference by a new snapshot that replaces its table", () => {
    const source = master()
    Replica.accept(source, [entry("a")], 0)
    publish(source, 10)
    const self = replica()
    RoutingTable.merge(self.table, entry("only here", 9))
    follow(self, source, 20)
    assert.strictEqual(self.table.size, 2, "the first snapshot under a reign is merged")
    const out: Array<Output> = []
    for (const { delta } of publish(source, 3000)) Replica.receiveDelta(self, from, delta, 3000, out)
    assert.deepStrictEqual(out.map((o) => o._tag), ["Rejected", "Follow"])
    follow(self, source, 3010)
    assert.deepStrictEqual(RoutingTable.digest(self.table), RoutingTable.digest(source.table))
  })
})
