import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { ClusterManager } from "../../src/cluster/ClusterManager.ts"
import type { ClusterView } from "../../src/cluster/ClusterView.ts"
import * as Admin from "../../src/functions/Admin.ts"
import * as Catalog from "../../src/functions/Catalog.ts"
import type { CatalogView } from "../../src/functions/CatalogLedger.ts"
import { NoCopy, NotFound } from "../../src/functions/CatalogRpc.ts"
import * as Link from "../../src/functions/Link.ts"
import * as LinkServer from "../../src/functions/LinkServer.ts"
import * as Manifest from "../../src/functions/Manifest.ts"
import type { BootId, MemberId } from "../../src/swim/Member.ts"

const id = "a" as MemberId
const bootId: BootId = 1
const view: ClusterView = { self: id, bootId, role: "worker", reign: undefined, replicas: [], members: [] }
const manifest: Link.Version = {
  name: Manifest.FunctionName.make("hello"),
  version: "1".repeat(64),
  bundle: "b".repeat(64),
  size: 1,
  limits: Manifest.defaults,
  env: {},
  createdAt: 0
}
const listed: Link.Function = { name: "hello", aliases: { live: manifest.version }, manifests: [manifest] }

/** A link server over a control plane that writes down what it is told. */
const setup = Effect.gen(function*() {
  const told: Array<string> = []
  const tell = (what: string) => (version: string) => Effect.sync(() => void told.push(`${what} ${version}`))
  const views = yield* SubscriptionRef.make<ClusterView>(view)
  const functions = yield* SubscriptionRef.make<CatalogView>({ functions: [listed] })
  const slow = yield* Deferred.make<void>()
  const layer = LinkServer.layer.pipe(Layer.provide([
    Layer.mock(ClusterManager, {
      views: SubscriptionRef.changes(views),
      locate: () => Effect.succeed({ nodes: [{ id, bootId }], lease: "none" }),
      register: tell("register"),
      deregister: tell("deregister"),
      renewLease: tell("renew"),
      endLease: tell("end")
    }),
    Layer.mock(Catalog.Catalog, {
      changes: SubscriptionRef.changes(functions),
      resolve: (name) =>
        name === "hello" ? Effect.succeed(manifest) : Effect.fail(new NotFound({ name, unavailable: name === "lost" })),
      bundlePath: (digest) =>
        digest === manifest.bundle ? Effect.succeed("/bundle") : Effect.fail(new NoCopy({ detail: "nobody has it" }))
    }),
    Layer.mock(Admin.Admin, {
      handle: ({ path }) =>
        path === "/broken"
          ? Effect.die("a defect")
          : Effect.as(path === "/slow" ? Deferred.await(slow) : Effect.void, {
            status: 200,
            contentType: "text/plain",
            body: new TextEncoder().encode(path)
          })
    })
  ]))
  const context = yield* Layer.build(layer)
  const server = yield* Effect.provideContext(LinkServer.LinkServer, context)
  const { control, gateway } = Link.pair()
  const received: Array<Link.ToGateway> = []
  gateway.onMessage((message) => received.push(message))
  yield* Effect.forkScoped(server.serve(control))
  const settle = Effect.gen(function*() {
    for (let turn = 0; turn < 50; turn++) yield* Effect.yieldNow
  })
  yield* settle
  return { server, gateway, received, told, views, functions, slow, settle }
})

const ask = (path: string, id: number): Link.ToControl => ({
  _tag: "Admin",
  id,
  method: "GET",
  path,
  query: "",
  body: undefined,
  callId: "c"
})

describe("LinkServer", () => {
  it.effect("pushes view and functions at once, and again on every change", () =>
    Effect.gen(function*() {
      const { functions, received, settle, views } = yield* setup
      assert.deepStrictEqual(received.map(({ _tag }) => _tag).sort(), ["Catalog", "View"])
      yield* SubscriptionRef.set(views, { ...view, role: "master" } satisfies ClusterView)
      yield* SubscriptionRef.set(functions, { functions: [] })
      yield* settle
      assert.deepStrictEqual<unknown>(received.slice(2).map((message) => structuredClone(message)), [
        { _tag: "View", self: "a", bootId: 1, role: "master", epoch: 0, members: [] },
        { _tag: "Catalog", functions: [] }
      ])
    }))

  it.effect("answers every question with its id", () =>
    Effect.gen(function*() {
      const { gateway, received, settle } = yield* setup
      received.length = 0
      gateway.post({ _tag: "Locate", id: 1, version: "v", lease: true })
      gateway.post({ _tag: "Resolve", id: 2, name: "hello", ref: undefined })
      gateway.post({ _tag: "Resolve", id: 3, name: "nobody", ref: undefined })
      gateway.post({ _tag: "Resolve", id: 4, name: "lost", ref: undefined })
      gateway.post({ _tag: "Bundle", id: 5, digest: manifest.bundle })
      gateway.post({ _tag: "Bundle", id: 6, digest: "c" })
      gateway.post(ask("/x", 7))
      yield* settle
      assert.sameDeepMembers<unknown>(received, [
        { _tag: "Located", id: 1, nodes: [{ id: "a", bootId: 1 }], lease: "none" },
        { _tag: "Resolved", id: 2, manifest, unavailable: false },
        { _tag: "Resolved", id: 3, manifest: undefined, unavailable: false },
        { _tag: "Resolved", id: 4, manifest: undefined, unavailable: true },
        { _tag: "Bundled", id: 5, path: "/bundle", message: "" },
        { _tag: "Bundled", id: 6, path: undefined, message: "nobody has it" },
        { _tag: "AdminReply", id: 7, status: 200, contentType: "text/plain", body: new TextEncoder().encode("/x") }
      ])
    }))

  it.effect("takes news in order", () =>
    Effect.gen(function*() {
      const { gateway, settle, told } = yield* setup
      gateway.post({ _tag: "LeaseRenew", version: "v" })
      gateway.post({ _tag: "Started", version: "v" })
      gateway.post({ _tag: "Stopped", version: "v" })
      gateway.post({ _tag: "LeaseEnd", version: "v" })
      yield* settle
      assert.deepStrictEqual(told, ["renew v", "register v", "deregister v", "end v"])
    }))

  it.effect("does not let a slow or a failing question hold up another", () =>
    Effect.gen(function*() {
      const { gateway, received, settle, slow } = yield* setup
      received.length = 0
      gateway.post(ask("/slow", 1))
      gateway.post(ask("/broken", 2))
      gateway.post({ _tag: "Locate", id: 3, version: "v", lease: true })
      yield* settle
      assert.deepStrictEqual(received.map((message) => "id" in message && message.id), [3])
      yield* Deferred.succeed(slow, undefined)
      yield* settle
      assert.deepStrictEqual(received.map((message) => "id" in message && message.id), [3, 1])
    }))

  it.effect("keeps a bounded number of questions open, and recovers when they are answered", () =>
    Effect.gen(function*() {
      const { gateway, received, settle, slow } = yield* setup
      received.length = 0
      for (let id = 0; id < LinkServer.maxQuestions + 100; id++) gateway.post(ask("/slow", id))
      yield* Deferred.succeed(slow, undefined)
      for (let round = 0; round < 200 && received.length < LinkServer.maxQuestions; round++) yield* settle
      assert.strictEqual(received.length, LinkServer.maxQuestions)
      gateway.post(ask("/again", 1))
      yield* settle
      assert.strictEqual(received.length, LinkServer.maxQuestions + 1)
    }))

  it.effect("tells its gateways when the node leaves", () =>
    Effect.gen(function*() {
      const { received, server } = yield* setup
      yield* server.drain
      assert.deepStrictEqual(received.at(-1), { _tag: "Draining" })
    }))
})
