/** The master moves between real nodes while functions are deployed: none is lost, whoever is killed meanwhile. */
import { afterEach, assert, describe, it } from "@effect/vitest"
import { setTimeout as sleep } from "node:timers/promises"
import { ended, LocalCluster, type Node, shoal, waitUntil } from "./LocalCluster.ts"

const bundle = (text: string): string =>
  Buffer.from(`export default () => new Response(${JSON.stringify(text)})`).toString("base64")

interface Write {
  readonly name: string
  readonly status: number
  readonly took: number
  readonly at: number
}

/** Deploys one function after the other through these nodes in turn until it is stopped. */
const writing = (nodes: ReadonlyArray<Node>, prefix: string) => {
  const writes: Array<Write> = []
  let stopped = false
  const loop = (async () => {
    for (let i = 0; !stopped; i++) {
      const node = nodes[i % nodes.length]
      if (node === undefined || !node.alive) continue
      const name = `${prefix}-${i}`
      const at = performance.now()
      try {
        const { status } = await node.call("/system/functions", {
          method: "POST",
          body: JSON.stringify({ service: name, bundle: bundle(name) }),
          headers: { "content-type": "application/json" }
        })
        writes.push({ name, status, took: performance.now() - at, at })
      } catch {
        writes.push({ name, status: 0, took: performance.now() - at, at })
      }
      await sleep(1)
    }
  })()
  return {
    writes,
    stop: async () => {
      stopped = true
      await loop
      return writes
    }
  }
}

const acknowledged = (writes: ReadonlyArray<Write>): ReadonlyArray<string> =>
  writes.filter((write) => write.status === 200).map((write) => write.name)

const known = async (node: Node): Promise<ReadonlySet<string>> =>
  new Set((await node.json<ReadonlyArray<{ readonly name: string }>>("/system/functions")).map(({ name }) => name))

/** Every living node has every acknowledged function. */
const haveAll = (cluster: LocalCluster, names: ReadonlyArray<string>): Promise<boolean> =>
  waitUntil("every node knows every acknowledged function", async () => {
    for (const node of cluster.alive) {
      const have = await known(node)
      const missing = names.filter((name) => !have.has(name))
      if (missing.length > 0) throw new Error(`${node.name} misses ${missing.join(", ")}`)
    }
    return true
  })

const handover = (at: Node, to: string) =>
  at.call("/system/handover", {
    method: "POST",
    body: JSON.stringify({ to }),
    headers: { "content-type": "application/json" }
  })

describe("a planned handover", () => {
  let cluster: LocalCluster

  afterEach(() => cluster?.stop())

  it("moves the master from node to node while functions are deployed, and loses and refuses none", async () => {
    cluster = await LocalCluster.start(4)
    const [n1, n2, n3, n4] = ["n1", "n2", "n3", "n4"].map((name) => cluster.node(name))
    assert.isDefined(n4)
    if (n1 === undefined || n2 === undefined || n3 === undefined || n4 === undefined) return
    const writers = [writing([n1, n3], "a"), writing([n2, n4], "b")]
    await sleep(300)
    for (const [i, to] of ["n4", "n2", "n3", "n1", "n2"].entries()) {
      const at = [n1, n2, n3, n4][i % 4] ?? n1
      const answer = await handover(at, to)
      assert.strictEqual(answer.status, 200, `${answer.body}\n${at.stderr}`)
      assert.deepInclude(JSON.parse(answer.body), { to })
      await sleep(200)
    }
    const writes = (await Promise.all(writers.map((writer) => writer.stop()))).flat()
    assert.strictEqual(await cluster.settled(4), "n2")
    assert.isAbove(writes.length, 10)
    assert.deepStrictEqual(writes.filter((write) => write.status !== 200), [])
    await haveAll(cluster, acknowledged(writes))
  }, 60_000)

  it("is asked for on the command line, and says why it cannot be", async () => {
    cluster = await LocalCluster.start(3)
    const server = cluster.node("n3").http
    const done = await shoal(["handover", "--to", "n2", "--server", server])
    assert.strictEqual(done.code, 0, done.stderr)
    assert.match(done.stdout, /^n2 is master in reign \d+, handed over by n1 in \d+ ms; writes waited \d+ ms\n$/)
    const json = await shoal(["handover", "--to", "n1", "--json", "--server", server])
    assert.containsAllKeys(JSON.parse(json.stdout), ["from", "to", "epoch", "tookMs", "closedMs"])
    const refusals = [["n1", /n1 is the master already/], ["n9", /n9 is not a member/]] as const
    for (const [to, expected] of refusals) {
      const refused = await shoal(["handover", "--to", to, "--server", server])
      assert.strictEqual(refused.code, 1)
      assert.match(refused.stderr, expected)
    }
    assert.strictEqual((await shoal(["handover", "--server", server])).code, 2)
    cluster.node("n2").kill("SIGKILL")
    await waitUntil("n2 is seen as dead", async () => (await cluster.status(cluster.node("n3"))).members.dead === 1)
    const dead = await shoal(["handover", "--to", "n2", "--server", server])
    assert.strictEqual(dead.code, 1)
    assert.match(dead.stderr, /n2 is dead/)
  }, 60_000)

  for (const [victim, name] of [["master", "the old master"], ["target", "the target"]] as const) {
    it(`leaves one master and every acknowledged function when ${name} is killed in the middle of it`, async () => {
      cluster = await LocalCluster.start(4)
      const n4 = cluster.node("n4")
      const writer = writing([n4], "w")
      for (const [round, delay] of [2, 6, 12].entries()) {
        const first = await cluster.settled(4, 30_000)
        if (first === "n4") assert.strictEqual((await handover(n4, cluster.alive[0]?.name ?? "")).status, 200)
        const master = cluster.node(await cluster.settled(4))
        const target = cluster.alive.find((node) => node !== master && node !== n4)
        if (target === undefined) throw new Error("nobody to hand over to")
        const going = handover(n4, target.name).catch(() => undefined)
        await sleep(delay)
        const dying = victim === "master" ? master : target
        dying.kill("SIGKILL")
        await Promise.all([ended(dying), going])
        await waitUntil("a living master", async () => {
          const { reign } = await cluster.status(n4)
          return cluster.alive.some((node) => node.name === reign?.master)
        })
        await cluster.add(`x${round}`)
      }
      const names = acknowledged(await writer.stop())
      assert.isAbove(names.length, 20)
      await cluster.settled(4, 30_000)
      await haveAll(cluster, names)
    }, 150_000)
  }

  it("comes before a leave: a master that is stopped leaves no time without a master", async () => {
    cluster = await LocalCluster.start(3)
    const n3 = cluster.node("n3")
    const n1 = cluster.node("n1")
    const writer = writing([n3], "l")
    await sleep(300)
    n1.kill("SIGTERM")
    await ended(n1)
    assert.strictEqual(n1.exit, 0, n1.stderr)
    const writes = await writer.stop()
    assert.deepStrictEqual(writes.filter((write) => write.status !== 200), [])
    assert.match(n3.stderr, /"kind":"granted"|kind=granted|granted/)
    assert.notStrictEqual((await cluster.status(n3)).reign?.master, "n1")
    await haveAll(cluster, acknowledged(writes))
  }, 60_000)
})
