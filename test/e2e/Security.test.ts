/** Real nodes with a cluster key, on an address that other machines reach: strangers, tokens, and a change of the key. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import { randomBytes } from "node:crypto"
import { readFile, stat } from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import { ended, LocalCluster, type Node, request, shoal, type Status, waitUntil } from "./LocalCluster.ts"

const newKey = () => randomBytes(32).toString("base64")
/** An address beyond loopback, if this machine has one. */
const host = Object.values(Os.networkInterfaces()).flat()
  .find((address) => address?.family === "IPv4" && !address.internal)?.address ?? "127.0.0.1"
const isOpen = host !== "127.0.0.1"
const key = newKey()
const echo = Path.join(import.meta.dirname, "functions/echo.ts")

interface Held {
  readonly node: string
  readonly keys: ReadonlyArray<{ readonly id: string; readonly bits: number; readonly primary: boolean }>
}

/** The command line with a key, at one node. */
const as = (SHOAL_KEY: string, node: Node, ...args: ReadonlyArray<string>) =>
  shoal([...args, "--server", node.http], { env: { SHOAL_KEY } })

const done = async (run: ReturnType<typeof shoal>): Promise<string> => {
  const { code, stderr, stdout } = await run
  assert.strictEqual(code, 0, stderr)
  return stdout
}

const primaryOf = (held: ReadonlyArray<Held>) => new Set(held.map(({ keys }) => keys.find((one) => one.primary)?.id))

describe("a cluster with a key", () => {
  let cluster: LocalCluster
  let current = key

  const status = async (node: Node): Promise<Status> =>
    JSON.parse(await done(as(current, node, "status", "--json"))) as Status
  const keys = async (node: Node): Promise<ReadonlyArray<Held>> =>
    JSON.parse(await done(as(current, node, "key", "list", "--json"))) as ReadonlyArray<Held>
  const allSee = (size: number) =>
    waitUntil(`all see ${size}`, async () => {
      const all = await Promise.all(cluster.alive.map(status))
      return all.every(({ members }) => members.alive === size && members.suspect === 0)
    })

  beforeAll(async () => {
    const token = await tokenOf(key)
    cluster = await LocalCluster.start(3, {
      host,
      env: { SHOAL_KEY: key },
      headers: { authorization: `Bearer ${token}` }
    })
  })

  afterAll(async () => {
    await cluster?.stop()
  })

  it("deploys and calls through every node, forwarded calls included", async () => {
    await done(as(key, cluster.node("n1"), "deploy", echo))
    const hops = new Set<unknown>()
    for (let i = 0; i < 30; i++) {
      for (const node of cluster.alive) {
        const answer = await request(`${node.http}/function/echo/x`, { method: "POST", body: "hi" })
        assert.strictEqual(answer.status, 201, answer.body)
        hops.add(answer.headers["x-shoal-hops"])
      }
    }
    assert.isTrue(hops.has("1"), [...hops].join())
  })

  it("administrates for holders of the key only", async () => {
    const node = cluster.node("n2")
    const ask = (headers: Record<string, string> = {}) => request(`${node.http}/system/members`, { headers })
    assert.strictEqual((await ask()).status, isOpen ? 403 : 200)
    assert.strictEqual((await ask({ authorization: `Bearer ${await tokenOf(newKey())}` })).status, 403)
    assert.strictEqual((await ask({ authorization: `Bearer ${await tokenOf(key)}` })).status, 200)
    const members = JSON.parse(await done(as(key, node, "members", "--json"))) as ReadonlyArray<unknown>
    assert.lengthOf(members, 3)
    const stranger = await as(newKey(), node, "members")
    assert.strictEqual(stranger.code, 1)
    assert.include(stranger.stderr, "token")
  })

  it("is told to nobody: not in logs, not in process lists, in a file for the node's user alone", async () => {
    for (const node of cluster.alive) {
      assert.notInclude(node.stdout + node.stderr, key)
      if (process.platform !== "linux") continue
      assert.notInclude(await readFile(`/proc/${node.process.pid}/cmdline`, "utf8"), key)
      const ring = Path.join(node.dataDir, "membership/keyring")
      assert.strictEqual((await stat(ring)).mode & 0o77, 0)
    }
  })

  it("refuses to listen beyond loopback without a key, and says what to do", async () => {
    const run = await shoal(["up", "--bind", "0.0.0.0:7946"], { env: { SHOAL_KEY: "" } })
    assert.strictEqual(run.code, 2)
    assert.include(run.stderr, "shoal key generate")
  })

  it("refuses strangers: another key, no key; nothing changes, and it is counted", async () => {
    const n1 = cluster.node("n1")
    const env = (SHOAL_KEY: string) => ({ env: { SHOAL_KEY } })
    const other = await cluster.add("other", env(newKey()))
    const none = await startKeyless(cluster, n1.gossip)
    await sleep(4000)
    const settled = await status(n1)
    assert.deepStrictEqual(settled.members, { alive: 3, suspect: 0, dead: 0, left: 0 })
    const metrics = (await request(`${n1.http}/metrics`)).body
    assert.match(metrics, /shoal_peer_rejected_total\{[^}]*tls unknown-key[^}]*\} [1-9]/)
    assert.include(n1.stderr, "turned away a connection without a key of this cluster")
    for (const stranger of [other, none]) {
      stranger.kill("SIGTERM")
      await ended(stranger)
    }
  })

  it("changes its key while it serves: no call fails, nobody is suspected, the old key opens nothing then", async () => {
    const next = newKey()
    const [n1, n2, n3] = [cluster.node("n1"), cluster.node("n2"), cluster.node("n3")]
    const [before = assert.fail("no keys")] = await keys(n1)
    const old = before.keys[0]?.id ?? ""
    const failures: Array<string> = []
    let calls = 0
    let calling = true
    const caller = (async () => {
      while (calling) {
        for (const node of cluster.alive) {
          calls++
          const answer = await request(`${node.http}/function/echo/x`).catch((error: unknown) => String(error))
          if (typeof answer === "string" || answer.status >= 300) failures.push(JSON.stringify(answer))
        }
        await sleep(2)
      }
    })()
    const refused = await as(key, n1, "key", "use", "0123456789abcdef")
    assert.strictEqual(refused.code, 1)
    assert.include(await done(as(key, n2, "key", "install", next)), "on 3 of 3 members")
    const fresh = (await keys(n3))[0]?.keys.find(({ id }) => id !== old)?.id ?? ""
    assert.notStrictEqual(fresh, "")
    const early = await as(key, n1, "key", "remove", old)
    assert.strictEqual(early.code, 1)
    assert.include(early.stderr, "still uses the key")
    assert.include(await done(as(key, n3, "key", "use", fresh)), "on 3 of 3 members")
    await sleep(1000)
    assert.include(await done(as(next, n1, "key", "remove", old)), "on 3 of 3 members")
    current = next
    await sleep(7000) // longer than the connections of the old key may live on
    calling = false
    await caller
    assert.isAbove(calls, 50)
    assert.deepStrictEqual(failures, [])
    await allSee(3)
    const held = await keys(n1)
    assert.deepStrictEqual([...primaryOf(held)], [fresh])
    assert.deepStrictEqual(held.map(({ keys }) => keys.length), [1, 1, 1])
    for (const node of cluster.alive) assert.notInclude(node.stderr, "suspected")
    assert.strictEqual((await as(key, n1, "status")).code, 1)
    for (const node of cluster.alive) assert.notInclude(node.stdout + node.stderr, next)
  })

  it("takes a node back that has the new ring in its folder and the old key in its settings", async () => {
    const n3 = cluster.node("n3")
    n3.kill("SIGTERM")
    await ended(n3)
    const again = await cluster.add("n3")
    assert.include(again.stderr, "removed from the ring before and is not used")
    await allSee(3)
    const fourth = await cluster.add("n4", { env: { SHOAL_KEY: current } })
    await allSee(4)
    fourth.kill("SIGTERM")
    await ended(fourth)
  })
})

/** The token is derived in the tree; a test that derived it itself would pin the derivation instead. */
const tokenOf = async (text: string): Promise<string> => {
  const { tokenOf } = await import("../../src/cli/KeyToken.ts")
  const { runPromise } = await import("effect/Effect")
  return await runPromise(tokenOf({ key: text, keyFile: undefined }, {})) ?? ""
}

/** A node without any key can only be on loopback; it still knows whom to call. */
const startKeyless = (cluster: LocalCluster, seed: string): Promise<Node> =>
  cluster.add("none", {
    bind: "127.0.0.1:0",
    join: [seed],
    host: "127.0.0.1",
    env: { SHOAL_KEY: "" }
  })
