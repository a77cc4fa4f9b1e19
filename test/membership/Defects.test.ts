/** Defects of other implementations that have no other place among the tests. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import { accuse, alive, among } from "../swim/Machine.ts"
import { Cluster, type Node } from "./Cluster.ts"

const start = (cluster: Cluster, count: number, options: Parameters<Cluster["start"]>[2] = {}): Array<Node> => {
  const nodes = Array.from(
    { length: count },
    (_, i) =>
      cluster.start(`n${i + 1}`, `10.0.0.${i + 1}`, { ...options, ...i === 0 ? {} : { join: ["10.0.0.1:7946"] } })
  )
  cluster.agree(nodes, nodes.map(({ name }) => `${name}:alive`), 10_000)
  return nodes
}

describe("Membership", () => {
  it("heals through its seeds when a partition lasted until everybody beyond it was forgotten", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 4, {
      tombstoneRetention: "2 minutes",
      rejoinFor: "1 minute",
      pushPullInterval: "20 seconds"
    })
    const [left, right] = [nodes.slice(0, 2), nodes.slice(2)]
    cluster.net.partition(left.map(({ ip }) => ip), right.map(({ ip }) => ip))
    cluster.agree(left, ["n1:alive", "n2:alive"], 300_000)
    cluster.agree(right, ["n3:alive", "n4:alive"], 300_000)
    cluster.net.heal()
    cluster.agree(nodes, ["n1:alive", "n2:alive", "n3:alive", "n4:alive"], 60_000)
  })

  it("may be called by whoever reads its changes, in the middle of one", () => {
    const cluster = new Cluster()
    const [first, ...rest] = start(cluster, 3)
    assert.isDefined(first)
    if (first === undefined) return
    const seen: Array<string> = []
    cluster.world.fork(Stream.runForEach(first.service.changes, (change) =>
      Effect.gen(function*() {
        if (change._tag === "Snapshot") return
        yield* first.service.setItem(`seen-${seen.length}`, Uint8Array.of(1))
        yield* first.service.setMetadata(Uint8Array.of(seen.length))
        const members = yield* first.service.members
        seen.push(`${change._tag} ${members.length}`)
      })))
    cluster.world.runFor(0)
    const [second] = rest
    if (second !== undefined) cluster.run(second.service.leave)
    cluster.until(() => seen.includes("Left 3"), 5000, "the change was handled to its end")
  })

  it("never changes a member that it has handed out", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 3)
    const [first, second] = nodes
    assert.isDefined(first)
    assert.isDefined(second)
    if (first === undefined || second === undefined) return
    const held = cluster.members(first)
    const before = structuredClone(held)
    cluster.run(second.service.setMetadata(Uint8Array.of(1, 2, 3)))
    cluster.until(() => cluster.members(first).some(({ meta }) => meta.length === 3), 5000, "the change is known")
    cluster.run(second.service.leave)
    cluster.agree([first], ["n1:alive", "n2:left", "n3:alive"], 5000)
    assert.deepStrictEqual([...held], before)
  })

  it("goes on sending to others when one address cannot be used, and counts it", () => {
    const cluster = new Cluster()
    const a = cluster.net.transport("10.0.0.1")
    const b = cluster.net.transport("10.0.0.2")
    const port = 7946
    const exchange = Effect.scoped(Effect.gen(function*() {
      const near = yield* a.datagrams({ host: "10.0.0.1", port })
      const far = yield* b.datagrams({ host: "10.0.0.2", port })
      const payload = Uint8Array.of(7)
      const failure = yield* Effect.flip(near.sendAll([
        { payload, to: { host: "no.such.host", port } },
        { payload, to: { host: "10.0.0.2", port } }
      ]))
      const [arrived] = yield* far.pull
      return { failure, arrived }
    }))
    const { arrived, failure } = cluster.run(exchange)
    assert.deepInclude(failure, { reason: "no-address", count: 1 })
    assert.deepStrictEqual([...arrived.payload], [7])
  })
})

describe("A member", () => {
  it("whose address nobody can use dies like any other that does not answer", () => {
    const machine = among(3, { streamPing: false, confirmProbes: false })
    machine.receive(1, alive(9, 0, { address: { host: "no.such.host", port: 1 } }))
    for (let i = 0; i < 60 && machine.status(9) !== "dead"; i++) {
      // the others answer
      machine.receive(1, alive(1, 2 * i + 1), alive(2, 2 * i + 1), alive(3, 2 * i + 1))
      machine.advance(1000)
    }
    assert.strictEqual(machine.status(9), "dead")
  })

  it("that alone accuses somebody does not get its way, however often it repeats itself", () => {
    const machine = among(10, { confirmProbes: false })
    machine.answers = true
    for (let i = 0; i < 50; i++) machine.receive(3, accuse("Suspect", 1, 0, 3))
    machine.advance(6000)
    assert.strictEqual(machine.status(1), "suspect", "one accuser shortens nothing")
    machine.receive(1, alive(1, 1))
    assert.strictEqual(machine.status(1), "alive")
    assert.strictEqual(machine.eventsOf("Failed").length, 0)
  })
})
