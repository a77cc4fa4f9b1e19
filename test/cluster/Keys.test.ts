/** The keys of a whole cluster over real RPC in virtual time: three nodes with rings, of which some are not there. */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as SocketServer from "effect/socket/SocketServer"
import { ClusterManager } from "../../src/cluster/ClusterManager.ts"
import type { MemberView } from "../../src/cluster/ClusterView.ts"
import * as KeyRpc from "../../src/cluster/KeyRpc.ts"
import * as Keys from "../../src/cluster/Keys.ts"
import * as Peers from "../../src/cluster/Peers.ts"
import * as PeerServer from "../../src/cluster/PeerServer.ts"
import { Cipher } from "../../src/membership/Cipher.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as Member from "../../src/swim/Member.ts"
import { SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"

const secret = (fill: number) => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))
const text = (fill: number) => ClusterKey.format(secret(fill))
const cipher = Effect.runSync(Effect.scoped(Layer.build(NodeCipher.layer)))
const idOf = (fill: number) => ClusterKey.derive(Context.get(cipher, Cipher), secret(fill)).id

const names = ["a", "b", "c"]
const ipOf = (id: string) => `10.0.0.${names.indexOf(id) + 1}`

const serve = Layer.effectDiscard(Effect.gen(function*() {
  const { sockets } = yield* PeerServer.PeerServer
  for (const { serialization, server } of sockets) {
    yield* Layer.build(Layer.fresh(
      RpcServer.layer(KeyRpc.KeyRpc, { disableFatalDefects: true, disableTracing: true }).pipe(
        Layer.provide(KeyRpc.layer),
        Layer.provide(RpcServer.layerProtocolSocketServer),
        Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
        Layer.provide(serialization)
      )
    ))
  }
}))

/** Three nodes; those without a ring have none, the unsaved cannot write theirs. */
class Cluster {
  readonly world = new World({ seed: 1 })
  readonly net = new SimNet(this.world)
  readonly rings = new Map<string, Keyring.Keyring["Service"]>()
  readonly keys = new Map<string, Keys.Keys["Service"]>()
  readonly gone = new Set<string>()
  private readonly unsaved = new Set<string>()

  constructor(options: { readonly ringless?: ReadonlyArray<string>; readonly agents?: ReadonlyArray<string> } = {}) {
    for (const [i, id] of names.entries()) this.world.fork(this.program(id, i + 1, options))
    this.world.runFor(100)
  }

  /** The disk of a node refuses from now on. */
  refuse(id: string): void {
    this.unsaved.add(id)
  }

  private members(agents: ReadonlyArray<string>): ReadonlyArray<MemberView> {
    return names.map((id, i) => ({
      id: Member.id(id),
      bootId: i + 1,
      startedAt: i,
      status: this.gone.has(id) ? "dead" : "alive",
      role: "worker",
      incarnation: 0,
      address: { host: ipOf(id), port: 1 },
      meta: agents.includes(id)
        ? undefined
        : { http: "", rpc: `${ipOf(id)}:7000`, data: "", release: "1", eligible: true, tags: {} }
    }))
  }

  private program(
    id: string,
    bootId: number,
    { agents = [], ringless = [] }: {
      readonly ringless?: ReadonlyArray<string>
      readonly agents?: ReadonlyArray<string>
    }
  ) {
    const self: Peers.Self = { id, bootId, label: "test", epoch: Effect.succeed(0) }
    const view = Effect.sync(() => ({
      self: Member.id(id),
      bootId,
      role: "worker" as const,
      reign: undefined,
      replicas: [],
      members: this.members(agents)
    }))
    return Effect.gen({ self: this }, function*() {
      const made = yield* Keyring.make({
        given: [secret(1)],
        saved: undefined,
        save: () =>
          this.unsaved.has(id) ? Effect.fail(new Keyring.KeyringError({ reason: "not-saved", id: "" })) : Effect.void
      })
      const ring = made?.keyring
      const ringOf = ring === undefined || ringless.includes(id)
        ? Context.empty()
        : Context.make(Keyring.Keyring, ring)
      if (ring !== undefined && !ringless.includes(id)) this.rings.set(id, ring)
      const context = yield* Layer.build(
        Layer.merge(serve, Keys.layer).pipe(
          Layer.provide(PeerServer.layer({ self, bind: { host: ipOf(id), port: 7000 } })),
          Layer.provide(Peers.layer(self)),
          Layer.provide(this.net.layer(ipOf(id))),
          Layer.provide(Layer.mock(ClusterManager)({ view }))
        )
      ).pipe(Effect.provideContext(ringOf))
      this.keys.set(id, Context.get(context, Keys.Keys))
      return yield* Effect.never
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer))
  }

  run<A, E>(f: (keys: Keys.Keys["Service"]) => Effect.Effect<A, E>): Exit.Exit<A, E> {
    const keys = this.keys.get("a")
    if (keys === undefined) throw new Error("a has not started")
    const exit = this.world.join(this.world.fork(f(keys)), 20_000)
    if (exit === undefined) throw new Error("it took more than 20 s")
    return exit
  }

  apply(step: Keys.Step) {
    return this.run((keys) => keys.apply(step))
  }

  /** Of every ring: the key that seals, then the others. */
  held(): Record<string, ReadonlyArray<string>> {
    return Object.fromEntries([...this.rings].map(([id, { ring }]) => [
      id,
      [ring.primary().id, ...ring.keys().map((key) => key.id).filter((key) => key !== ring.primary().id)]
    ]))
  }
}

const all = (...keys: ReadonlyArray<string>) => ({ a: keys, b: keys, c: keys })
const done = names.map((node) => ({ node, problem: undefined }))
const problemsOf = <A, E>(exit: Exit.Exit<A, E>): ReadonlyArray<string> => {
  const error = Exit.isFailure(exit) ? Option.getOrUndefined(Exit.findErrorOption(exit)) : undefined
  return Schema.is(Keys.KeysUnready)(error) ? error.problems : [String(error)]
}

describe("Keys", () => {
  it("rotates on every node: install, use, remove", () => {
    const cluster = new Cluster()
    assert.deepStrictEqual(cluster.apply({ _tag: "Install", key: text(2) }), Exit.succeed(done))
    assert.deepStrictEqual(cluster.held(), all(idOf(1), idOf(2)))
    assert.deepStrictEqual(cluster.apply({ _tag: "Use", id: idOf(2), force: false }), Exit.succeed(done))
    assert.deepStrictEqual(cluster.held(), all(idOf(2), idOf(1)))
    assert.deepStrictEqual(cluster.apply({ _tag: "Remove", id: idOf(1), force: false }), Exit.succeed(done))
    assert.deepStrictEqual(cluster.held(), all(idOf(2)))
    // each step may be repeated
    assert.deepStrictEqual(cluster.apply({ _tag: "Install", key: text(2) }), Exit.succeed(done))
    assert.deepStrictEqual(cluster.apply({ _tag: "Use", id: idOf(2), force: false }), Exit.succeed(done))
  })

  it("installs a key that came wrapped with one of the ring, and nothing that does not open", () => {
    const cluster = new Cluster()
    const wrapped = ClusterKey.wrap(Context.get(cipher, Cipher), secret(1), secret(3))
    assert.isTrue(Exit.isSuccess(cluster.apply({ _tag: "Install", key: wrapped, wrappedWith: idOf(1) })))
    assert.deepStrictEqual(cluster.held(), all(idOf(1), idOf(3)))
    for (const wrappedWith of [idOf(3), idOf(4)]) {
      assert.match(problemsOf(cluster.apply({ _tag: "Install", key: wrapped, wrappedWith }))[0] ?? "", /no key/)
    }
    assert.deepStrictEqual(cluster.held(), all(idOf(1), idOf(3)))
  })

  it("uses no key that a member does not have, and removes none that a member seals with, unless forced", () => {
    const cluster = new Cluster()
    const only = (id: string) => cluster.rings.get(id)
    cluster.run(() => only("a")?.install(secret(2)) ?? Effect.void)
    cluster.run(() => only("b")?.install(secret(2)) ?? Effect.void)
    assert.deepStrictEqual(problemsOf(cluster.apply({ _tag: "Use", id: idOf(2), force: false })), [
      "c does not have the key"
    ])
    assert.deepStrictEqual(cluster.held(), { a: [idOf(1), idOf(2)], b: [idOf(1), idOf(2)], c: [idOf(1)] })
    const forced = cluster.apply({ _tag: "Use", id: idOf(2), force: true })
    assert.deepStrictEqual(cluster.held(), { a: [idOf(2), idOf(1)], b: [idOf(2), idOf(1)], c: [idOf(1)] })
    assert.isTrue(Exit.isSuccess(forced))
    if (Exit.isSuccess(forced)) {
      assert.deepStrictEqual(forced.value.map(({ problem }) => problem === undefined), [true, true, false])
      assert.match(forced.value[2]?.problem ?? "", /does not hold/)
    }
    assert.deepStrictEqual(problemsOf(cluster.apply({ _tag: "Remove", id: idOf(1), force: false })), [
      "c still uses the key"
    ])
    cluster.apply({ _tag: "Remove", id: idOf(1), force: true })
    assert.deepStrictEqual(cluster.held(), { a: [idOf(2)], b: [idOf(2)], c: [idOf(1)] })
  })

  it("names who cannot be asked, in time, and goes on without it when forced", () => {
    const cluster = new Cluster()
    cluster.apply({ _tag: "Install", key: text(2) })
    cluster.net.kill(ipOf("c"))
    const refused = problemsOf(cluster.apply({ _tag: "Use", id: idOf(2), force: false }))
    assert.lengthOf(refused, 1)
    assert.match(refused[0] ?? "", /^c cannot be asked/)
    const forced = cluster.apply({ _tag: "Use", id: idOf(2), force: true })
    assert.isTrue(Exit.isSuccess(forced) && forced.value[2]?.problem !== undefined)
    assert.deepStrictEqual(cluster.held()["b"], [idOf(2), idOf(1)])
    // the dead are not asked at all
    cluster.gone.add("c")
    assert.isTrue(Exit.isSuccess(cluster.apply({ _tag: "Remove", id: idOf(1), force: false })))
    assert.deepStrictEqual(cluster.held()["a"], [idOf(2)])
  })

  it("tells what every member holds, and why that is not known", () => {
    const cluster = new Cluster({ ringless: ["b"], agents: ["c"] })
    const held = cluster.run((keys) => keys.list)
    assert.isTrue(Exit.isSuccess(held))
    if (!Exit.isSuccess(held)) return
    assert.deepStrictEqual(held.value.map(({ node }) => node), names)
    assert.deepStrictEqual(held.value[0]?.keys, [{ id: idOf(1), bits: 256, primary: true }])
    assert.strictEqual(held.value[1]?.problem, "this node runs without a cluster key")
    assert.strictEqual(held.value[2]?.problem, "no known address")
  })

  it("names the member whose disk refused; the others have the key", () => {
    const cluster = new Cluster()
    cluster.refuse("b")
    const exit = cluster.apply({ _tag: "Install", key: text(2) })
    assert.isTrue(Exit.isSuccess(exit))
    if (Exit.isSuccess(exit)) assert.match(exit.value[1]?.problem ?? "", /could not be written/)
    assert.deepStrictEqual(cluster.held(), { a: [idOf(1), idOf(2)], b: [idOf(1)], c: [idOf(1), idOf(2)] })
  })

  it("fails on a node without a ring", () => {
    const cluster = new Cluster({ ringless: ["a"] })
    assert.match(problemsOf(cluster.run((keys) => keys.list))[0] ?? "", /without a cluster key/)
  })
})
