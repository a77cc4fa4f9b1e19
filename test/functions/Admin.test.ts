import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ClusterManager } from "../../src/cluster/ClusterManager.ts"
import * as Admin from "../../src/functions/Admin.ts"
import * as Catalog from "../../src/functions/Catalog.ts"
import { CatalogCluster } from "./CatalogCluster.ts"

interface Asked {
  readonly status: number
  readonly contentType: string
  readonly body: unknown
}

const started = (ids: ReadonlyArray<string> = ["a", "b", "c"]) => {
  const cluster = new CatalogCluster({ seed: 1, ids })
  let left = 0
  cluster.world.runFor(100)
  cluster.reign(4, "a", { replicas: ["b"] })
  cluster.world.runFor(100)
  const ask = (at: string, method: string, path: string, body?: unknown): Asked => {
    const admin = Admin.layer({ leave: Effect.sync(() => void left++) }).pipe(
      Layer.provide(Layer.succeed(Catalog.Catalog, cluster.catalog(at))),
      Layer.provide(Layer.succeed(ClusterManager, cluster.manager(at)))
    )
    const text = typeof body === "string" ? body : body === undefined ? undefined : JSON.stringify(body)
    const request: Admin.Request = {
      method,
      path,
      query: "",
      body: text === undefined ? undefined : new TextEncoder().encode(text),
      callId: "call-1"
    }
    const reply = cluster.get(Effect.scoped(
      Effect.flatMap(Layer.build(admin), (context) => Context.get(context, Admin.Admin).handle(request))
    ))
    const answer = new TextDecoder().decode(reply.body)
    return { ...reply, body: reply.contentType === "application/json" ? JSON.parse(answer) : answer }
  }
  return { cluster, ask, left: () => left }
}

const base64 = (code: string): string => Buffer.from(code).toString("base64")

describe("the administration", () => {
  it("lists the members in the stable shape", () => {
    const { ask } = started()
    const { body, status } = ask("c", "GET", "/system/members")
    assert.strictEqual(status, 200)
    assert.isTrue(Array.isArray(body))
    assert.deepStrictEqual((body as Array<unknown>)[1], {
      id: "b",
      address: "10.0.0.98:7946",
      status: "alive",
      role: "worker",
      incarnation: 0,
      startedAt: 2,
      release: "1",
      metadata: { http: "", rpc: "10.0.0.98:7000", data: "", eligible: true, tags: {} }
    })
  })

  it("tells its status in the stable shape", () => {
    const { ask, cluster } = started()
    cluster.get(cluster.deploy("a", "hello", "1"))
    cluster.tellGone(["b"], ["c"])
    cluster.world.runFor(100)
    assert.deepStrictEqual(ask("b", "GET", "/system/status").body, {
      self: "b",
      reign: { epoch: 4, master: "a" },
      role: "replica",
      replicas: ["b"],
      members: { alive: 2, suspect: 0, dead: 1, left: 0 },
      functions: 1,
      routes: 0,
      rollout: null
    })
  })

  it("names no master while the holder of the reign is dead or another run of it is back", () => {
    const { ask, cluster } = started()
    const master = () => (ask("b", "GET", "/system/status").body as { readonly reign: unknown }).reign
    assert.deepStrictEqual(master(), { epoch: 4, master: "a" })
    cluster.tellGone(["b"], ["a"])
    assert.deepStrictEqual(master(), { epoch: 4, master: null })
    cluster.kill("a")
    cluster.start("a")
    cluster.tellMembers()
    assert.deepStrictEqual(master(), { epoch: 4, master: null })
  })

  it("deploys, lists, describes and removes a function at any node", () => {
    const { ask, cluster } = started()
    const deployed = ask("c", "POST", "/system/functions", {
      service: "hello",
      bundle: base64("export default () => 1"),
      env: { SECRET: "hidden" },
      limits: { timeoutMs: 1000 }
    })
    assert.strictEqual(deployed.status, 200)
    const { version } = deployed.body as { readonly version: string }
    assert.deepStrictEqual(deployed.body, { name: "hello", version, nodes: ["a", "b", "c"] })
    cluster.world.runFor(100)
    cluster.warm("a", version, ["b", "c"])
    for (const at of ["a", "b", "c"]) {
      const listed = ask(at, "GET", "/system/functions").body as Array<Record<string, unknown>>
      assert.lengthOf(listed, 1)
      assert.deepInclude(listed[0] ?? {}, {
        name: "hello",
        image: `shoal:${version}`,
        version,
        aliases: { live: version }
      })
      assert.match(String(listed[0]?.["createdAt"]), /^\d{4}-\d\d-\d\dT/)
    }
    const onMaster = ask("a", "GET", "/system/functions").body as Array<Record<string, unknown>>
    const onWorker = ask("c", "GET", "/system/functions").body as Array<Record<string, unknown>>
    for (const [one] of [onMaster, onWorker]) {
      assert.deepInclude(one ?? {}, { warm: ["b", "c"], replicas: 2, availableReplicas: 2 })
    }
    const described = ask("b", "GET", "/system/functions/hello")
    assert.strictEqual(described.status, 200)
    assert.notInclude(JSON.stringify(described.body), "hidden")
    assert.deepInclude(described.body as Record<string, unknown>, { name: "hello" })
    assert.deepStrictEqual(ask("b", "GET", "/system/function/hello"), described)
    assert.deepStrictEqual(ask("b", "DELETE", "/system/functions", { functionName: "hello" }).body, {
      name: "hello",
      removed: true
    })
    cluster.world.runFor(100)
    for (const at of ["a", "b", "c"]) assert.deepStrictEqual(ask(at, "GET", "/system/functions").body, [])
    assert.strictEqual(ask("a", "DELETE", "/system/functions", { functionName: "hello" }).status, 404)
    assert.strictEqual(ask("a", "GET", "/system/functions/hello").status, 404)
  })

  it("says what is wrong with an input and how it should be", () => {
    const { ask } = started()
    const refused = (body: unknown, method = "POST") => {
      const reply = ask("a", method, "/system/functions", body)
      assert.strictEqual(reply.status, 400)
      const error = reply.body as Record<string, unknown>
      assert.deepInclude(error, { component: "admin", reason: "bad-request", callId: "call-1", retryable: false })
      assert.isBelow(String(error["message"]).length, 700)
      return String(error["message"])
    }
    const bundle = base64("1")
    assert.include(refused(undefined), "the body is empty")
    assert.include(refused("{"), "expected JSON such as")
    assert.include(refused({ service: "hello" }), "bundle")
    assert.include(refused({ service: "No Name", bundle }), "lower-case letters")
    assert.include(refused({ service: "hello", bundle, limits: { timeoutMs: 0 } }), "from 10 to 3600000")
    assert.include(refused({ service: "hello", bundle, limits: { timeout: 1 } }), "timeout")
    assert.include(refused({ service: "hello", bundle, env: { A: 1 } }), "env")
    refused({ service: "hello", bundle: `%${"x".repeat(5000)}` })
    assert.include(refused({ service: "hello", bundle: "" }), "0 bytes")
    assert.include(refused({ name: "hello" }, "DELETE"), "functionName")
  })

  it("answers 404 and 405 with JSON", () => {
    const { ask } = started()
    for (const path of ["/system", "/system/", "/system/nothing", "/system/functions/a/b", "/system/__proto__"]) {
      const reply = ask("a", "GET", path)
      assert.deepStrictEqual(
        [reply.status, (reply.body as { readonly reason: string }).reason],
        [404, "not-found"],
        path
      )
    }
    const reply = ask("a", "PATCH", "/system/functions")
    assert.strictEqual(reply.status, 405)
    assert.include(JSON.stringify(reply.body), "GET, POST, PUT, DELETE")
    assert.strictEqual(ask("a", "constructor", "/system/members").status, 405)
  })

  it("answers 503 that may be retried when a deploy cannot be made durable or has no master", () => {
    const { ask, cluster } = started()
    const body = { service: "hello", bundle: base64("1") }
    cluster.net.partition(["10.0.0.97"], ["10.0.0.98", "10.0.0.99"])
    const alone = ask("a", "POST", "/system/functions", body)
    assert.strictEqual(alone.status, 503)
    assert.deepInclude(alone.body as Record<string, unknown>, {
      component: "catalog",
      reason: "not-durable",
      retryable: true
    })
    const cut = ask("b", "POST", "/system/functions", body)
    assert.strictEqual(cut.status, 503)
    assert.deepInclude(cut.body as Record<string, unknown>, { reason: "no-master", retryable: true })
  })

  it("leaves when it is told to", () => {
    const { ask, cluster, left } = started()
    const reply = ask("b", "POST", "/system/leave")
    cluster.world.runFor(1)
    assert.deepStrictEqual([reply.status, reply.body, left()], [202, { self: "b", leaving: true }, 1])
    assert.strictEqual(ask("b", "GET", "/system/leave").status, 405)
  })

  it("prints metrics as text", () => {
    const { ask } = started()
    const reply = ask("a", "GET", "/metrics")
    assert.strictEqual(reply.status, 200)
    assert.match(reply.contentType, /^text\/plain/)
  })
})
