import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Members from "../../../src/swim/Members.ts"
import * as Prng from "../../../src/swim/Prng.ts"
import * as Plan from "../../../src/testing/simulator/Plan.ts"
import * as Scenarios from "../../../src/testing/simulator/Scenarios.ts"
import { Simulation } from "../../../src/testing/simulator/Simulation.ts"
import * as Sizes from "../../../src/testing/simulator/Sizes.ts"
import * as Trial from "../../../src/testing/simulator/Trial.ts"
import * as Codec from "../../../src/wire/Codec.ts"
import * as Packet from "../../../src/wire/Packet.ts"
import * as Messages from "../../wire/Messages.ts"

const base: Plan.Plan = {
  name: "test",
  seed: 1,
  nodes: 5,
  profile: "lan",
  settings: "shoal",
  params: {},
  network: Plan.calm,
  actions: [],
  duration: 20_000,
  untilKnown: false,
  converges: false,
  anomalous: []
}

const make = (plan: Partial<Plan.Plan> = {}): Simulation => {
  const whole = { ...base, ...plan }
  assert.isUndefined(Plan.problem(whole))
  return new Simulation({ plan: whole, params: Result.getOrThrow(Plan.params(whole)) })
}

const undelivered = (network: Partial<Plan.Network>, duration = 20_000): Map<string, number> => {
  const sim = make({ network: { ...Plan.calm, ...network } })
  sim.run(duration)
  return sim.undelivered
}

const active = (sim: Simulation): Array<number> => sim.nodes.map(({ swim }) => swim?.table.active ?? 0)

describe("Simulation", () => {
  it("starts with members that all know each other, as if they had joined", () => {
    const sim = make()
    assert.isTrue(sim.isConverged())
    assert.deepStrictEqual(active(sim), [4, 4, 4, 4, 4])
    for (const { swim } of sim.nodes) {
      assert.isDefined(swim)
      let sum = 0
      Members.forEach(swim.table, (row) => {
        sum = (sum + Members.hash(swim.table, row)) >>> 0
      })
      assert.strictEqual(swim.table.sum, sum)
    }
    sim.run(120_000)
    assert.isTrue(sim.isConverged())
  })

  it("does the same with real bytes as with counted ones (M6, M7)", () => {
    for (const name of ["chaos", "flood", "storm", "slow"]) {
      const scenario = Scenarios.find(name)
      assert.isDefined(scenario)
      const plan = { ...scenario.plan({ seed: 3, nodes: 6, count: 40 }), duration: 30_000, converges: false }
      const counted = Trial.run({ plan })
      const real = Trial.run({ plan, bytes: true })
      assert.deepStrictEqual(real.violations, [])
      assert.strictEqual(real.trace, counted.trace, name)
    }
  })

  it("counts the bytes of every kind of message exactly", () => {
    const packet = Packet.make(Codec.binary)
    const sizeOf = Sizes.make(Codec.binary, packet)
    const random = Prng.make(1)
    for (let round = 0; round < 5000; round++) {
      const message = Messages.make(random)
      assert.strictEqual(sizeOf(message), packet.sizeOf(message), JSON.stringify(message))
    }
  })

  it("loses, drops and delays as the network is told to", () => {
    assert.strictEqual(undelivered({}).size, 0)
    assert.isAbove(undelivered({ loss: 0.3 }).get("loss") ?? 0, 20)
    assert.isAbove(undelivered({ mtu: 60 }).get("mtu") ?? 0, 20)
    assert.isAbove(undelivered({ ttl: 0.3 }).get("ttl") ?? 0, 20)
    const slow = make({ network: { ...Plan.calm, bandwidth: 100 } })
    slow.run(20_000)
    assert.isAbove(Math.max(...slow.nodes.map(({ freeAt }) => freeAt - slow.now)), 100)
  })

  it("draws delays from every kind of distribution", () => {
    const distributions = [
      { _tag: "Uniform", from: 1, to: 2 },
      { _tag: "Exponential", least: 1, mean: 1 },
      { _tag: "Lognormal", median: 5, sigma: 0.5 },
      { _tag: "Table", quantiles: [1, 2, 10] }
    ] as const
    for (const latency of distributions) {
      const sim = make({ network: { ...Plan.calm, latency } })
      sim.run(30_000)
      assert.isTrue(sim.isConverged(), latency._tag)
    }
  })

  it("keeps both sides of a partition apart, and one member alone", () => {
    const split = make({ actions: [{ _tag: "Partition", at: 1000, groups: [[0, 1]] }] })
    split.run(30_000)
    assert.deepStrictEqual(active(split), [1, 1, 2, 2, 2])
    const alone = make({ actions: [{ _tag: "Isolate", at: 1000, nodes: [2] }] })
    alone.run(60_000)
    assert.deepStrictEqual(active(alone), [3, 3, 0, 3, 3])
  })

  it("cuts one way only", () => {
    const sim = make({ nodes: 2, actions: [{ _tag: "Cut", at: 1000, from: [0], to: [1] }] })
    sim.run(2000)
    assert.isFalse(sim.nodes[0] !== undefined && sim.nodes[1] !== undefined && sim.reaches(sim.nodes[0], sim.nodes[1]))
    assert.isTrue(sim.nodes[0] !== undefined && sim.nodes[1] !== undefined && sim.reaches(sim.nodes[1], sim.nodes[0]))
  })

  it("a stopped member takes in what waited when it goes on, and is not failed for a short stop", () => {
    const sim = make({
      actions: [{ _tag: "Pause", at: 1000, nodes: [0] }, { _tag: "Resume", at: 3000, nodes: [0] }]
    })
    sim.run(2900)
    assert.isAbove(sim.nodes[0]?.queue.length ?? 0, 0)
    sim.run(20_000)
    assert.strictEqual(sim.nodes[0]?.queue.length, 0)
    assert.isTrue(sim.isConverged())
  })

  it("drops what does not fit the buffer of a stopped member", () => {
    const sim = make({
      nodes: 10,
      network: { ...Plan.calm, buffer: 5 },
      actions: [{ _tag: "Pause", at: 1000, nodes: [0] }]
    })
    sim.run(20_000)
    assert.isAbove(sim.nodes[0]?.dropped ?? 0, 0)
    assert.isAtMost(sim.nodes[0]?.queue.filter(({ _tag }) => _tag === "Received").length ?? 0, 5)
  })

  it("a clock that runs fast probes more often, and one that leaps harms nobody", () => {
    const sim = make({
      nodes: 3,
      actions: [
        { _tag: "Drift", at: 0, nodes: [0], rate: 2 },
        { _tag: "Jump", at: 30_000, nodes: [1], by: 100_000 }
      ]
    })
    sim.run(60_000)
    const packets = (of: Simulation): number => of.nodes.reduce((sum, node) => sum + node.packets, 0)
    const right = make({ nodes: 3 })
    right.run(60_000)
    assert.closeTo(packets(sim) / packets(right), 4 / 3, 0.1)
    assert.isTrue(sim.isConverged())
  })

  it("takes identity, codec and settings from the user", () => {
    const plan = { ...base, params: { probeInterval: 500, probeTimeout: 200 }, converges: true }
    const outcome = Trial.run({
      plan,
      codec: Codec.json,
      bytes: true,
      identity: (index) => ({
        id: `käse-${index}`,
        address: { host: "192.168.7.7", port: 9000 + index },
        meta: new Uint8Array([index])
      })
    })
    assert.deepStrictEqual(outcome.violations, [])
    assert.closeTo(outcome.packetsPerSecond, 4, 0.2)
  })

  it("refuses impossible plans naming the place", () => {
    const problems: ReadonlyArray<readonly [Partial<Plan.Plan>, RegExp]> = [
      [{ duration: 0 }, /^duration/],
      [{ network: { ...Plan.calm, loss: 2 } }, /^network\.loss: 0 to 1/],
      [{ network: { ...Plan.calm, latency: { _tag: "Uniform", from: 2, to: 1 } } }, /^network\.latency: needs/],
      [{ actions: [{ _tag: "Crash", at: 0, nodes: [7] }] }, /^actions\.0: there is no member 7/],
      [{ actions: [{ _tag: "Heal", at: -1 }] }, /^actions\.0\.at/],
      [{ params: { colour: 1 } }, /^params\.colour: no such setting/],
      [{ params: { askFirst: 1 } }, /^params\.askFirst: must be a boolean/],
      [{ params: { relays: 99 } }, /^params\.relays: 0 to 32/]
    ]
    for (const [change, expected] of problems) assert.match(Plan.problem({ ...base, ...change }) ?? "", expected)
  })
})
