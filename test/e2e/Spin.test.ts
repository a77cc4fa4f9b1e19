/** A function in an endless loop on every node starves neither gossip nor other functions (F2). */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { LocalCluster, shoal } from "./LocalCluster.ts"

const file = (name: string) => Path.join(import.meta.dirname, "functions", `${name}.ts`)

describe("a function that never returns", () => {
  let cluster: LocalCluster

  beforeAll(async () => {
    cluster = await LocalCluster.start(5)
  })

  afterAll(async () => {
    await cluster?.stop()
  })

  it("does not hold up other calls of the same function, on whichever node they arrive", async () => {
    const node = cluster.node("n1")
    const run = await shoal(["deploy", file("mixed"), "--timeout", "6s", "--server", node.http])
    assert.strictEqual(run.code, 0, run.stderr)
    assert.strictEqual((await node.call("/function/mixed")).status, 200)
    const stuck = node.call("/function/mixed?spin=")
    await sleep(100)
    const began = performance.now()
    const answers = await Promise.all(
      Array.from(
        { length: 100 },
        (_, i) => (cluster.alive[i % 5] ?? node).call("/function/mixed", { method: i % 4 === 0 ? "PUT" : "GET" })
      )
    )
    assert.deepStrictEqual(answers.filter(({ status }) => status !== 200).map(({ body }) => body), [])
    assert.isBelow(performance.now() - began, 3000, "well before the time limit of the call that spins")
    for (const other of cluster.alive) {
      const later = performance.now()
      assert.strictEqual((await other.call("/function/mixed", { method: "POST" })).status, 200)
      assert.isBelow(performance.now() - later, 1000)
    }
    assert.strictEqual((await stuck).status, 504)
  }, 60_000)

  it("makes no member suspect another in 30 s on every node, while other functions answer", async () => {
    for (const name of ["spin", "hello"]) {
      const run = await shoal(["deploy", file(name), "--server", cluster.node("n1").http])
      assert.strictEqual(run.code, 0, run.stderr)
    }
    const end = performance.now() + 30_000
    const outcomes = new Map<number, number>()
    const spinning = cluster.alive.map(async (node) => {
      while (performance.now() < end) {
        const answer = await node.call("/function/spin")
        outcomes.set(answer.status, (outcomes.get(answer.status) ?? 0) + 1)
      }
    })
    let answered = 0
    const failures: Array<string> = []
    while (performance.now() < end) {
      for (const node of cluster.alive) {
        const answer = await node.call("/function/hello")
        if (answer.status === 200) answered++
        else failures.push(`${answer.status} ${answer.body}`)
      }
      await sleep(100)
    }
    await Promise.all(spinning)
    assert.deepStrictEqual(failures, [])
    assert.isAbove(answered, 100)
    assert.isFalse(outcomes.has(200))
    for (const node of cluster.alive) {
      assert.notMatch(node.stderr, /suspect/i, node.name)
      const status = await cluster.status(node)
      assert.deepStrictEqual({ ...status.members }, { alive: 5, suspect: 0, dead: 0, left: 0 })
    }
  }, 120_000)
})
