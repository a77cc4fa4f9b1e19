import { assert, describe, it } from "@effect/vitest"
import { Cluster, type Node } from "./Cluster.ts"

const start = (cluster: Cluster, count: number): [Node, Node, ...Array<Node>] => {
  const member = (i: number) => cluster.start(`n${i}`, `10.0.0.${i}`, i === 1 ? {} : { join: ["10.0.0.1:7946"] })
  const nodes: [Node, Node, ...Array<Node>] = [member(1), member(2)]
  for (let i = 3; i <= count; i++) nodes.push(member(i))
  cluster.agree(nodes, nodes.map(({ name }) => `${name}:alive`), 10_000)
  return nodes
}

const tags = (node: Node): Array<string> =>
  node.changes.map((change) => "member" in change ? `${change._tag} ${change.member.id}` : change._tag)

describe("Saved and restored members", () => {
  it("bring a member back that knows no seed any more", () => {
    const cluster = new Cluster()
    const [first, ...rest] = start(cluster, 4)
    const restore = cluster.run(first.service.saved)
    cluster.kill(first)
    const again = cluster.start("n1", "10.0.0.1", { restore })
    cluster.agree([again, ...rest], ["n1:alive", "n2:alive", "n3:alive", "n4:alive"], 10_000)
    cluster.run(again.service.ready, 1)
    const startOf = (node: Node) => cluster.run(node.service.self).startedAt
    assert.isAbove(startOf(again), Math.max(...rest.map(startOf)))
  })

  it("bring a whole cluster back together", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 3)
    const saved = nodes.map((node) => cluster.run(node.service.saved))
    for (const node of nodes) cluster.kill(node)
    cluster.world.runFor(60_000)
    const again = nodes.map(({ ip, name }, i) => cluster.start(name, ip, { restore: saved[i] }))
    cluster.agree(again, ["n1:alive", "n2:alive", "n3:alive"], 20_000)
  })

  it("never let a stale life override a newer death", () => {
    const cluster = new Cluster()
    const [first, second, third] = start(cluster, 3)
    assert.isDefined(third)
    if (third === undefined) return
    const restore = cluster.run(first.service.saved) // all three alive
    cluster.kill(third)
    cluster.agree([first, second], ["n1:alive", "n2:alive", "n3:dead"], 30_000)
    cluster.kill(first)
    const again = cluster.start("n1", "10.0.0.1", { restore })
    cluster.agree([again, second], ["n1:alive", "n2:alive", "n3:dead"], 20_000)
    cluster.world.runFor(60_000)
    assert.notInclude(tags(again), "Joined n3")
    assert.strictEqual(tags(second).filter((tag) => tag === "Joined n3").length, 1)
  })

  it("remember the dead with their ages, and forget them in time", () => {
    const cluster = new Cluster()
    const options = { tombstoneRetention: "2 minutes", rejoinFor: "1 minute" } as const
    const first = cluster.start("n1", "10.0.0.1", options)
    const second = cluster.start("n2", "10.0.0.2", { ...options, join: ["10.0.0.1:7946"] })
    cluster.agree([first, second], ["n1:alive", "n2:alive"], 5000)
    cluster.run(second.service.leave)
    cluster.agree([first], ["n1:alive", "n2:left"], 5000)
    cluster.world.runFor(30_000)
    const restore = cluster.run(first.service.saved)
    cluster.kill(first)
    cluster.world.runFor(30_000)
    const again = cluster.start("n1", "10.0.0.1", { ...options, restore })
    assert.deepStrictEqual(cluster.view(again), ["n1:alive", "n2:left"])
    cluster.run(again.service.ready, 1) // nobody is left to wait for
    cluster.until(() => cluster.view(again).length === 1, 100_000, "the tombstone is forgotten")
    cluster.kill(again)
    cluster.world.runFor(120_000)
    assert.deepStrictEqual(cluster.view(cluster.start("n1", "10.0.0.1", { ...options, restore })), ["n1:alive"])
  })

  it("that are none are refused with the name of the setting", () => {
    const cluster = new Cluster()
    const restore = Uint8Array.of(1, 2, 3)
    assert.throws(() => cluster.start("n1", "10.0.0.1", { restore }), /restore/)
  })

  it("are tried for a bounded time", () => {
    const cluster = new Cluster()
    const [first, second] = start(cluster, 2)
    const restore = cluster.run(first.service.saved)
    cluster.kill(first)
    cluster.kill(second)
    const again = cluster.start("n1", "10.0.0.1", { restore, rejoinFor: "1 minute" })
    cluster.world.runFor(120_000)
    const before = cluster.run(again.service.statistics).streamsDialed
    assert.isAbove(before, 3)
    cluster.world.runFor(120_000)
    assert.strictEqual(cluster.run(again.service.statistics).streamsDialed, before)
  })
})
