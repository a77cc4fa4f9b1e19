import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Membership from "../../src/membership/Membership.ts"
import * as Transport from "../../src/membership/Transport.ts"
import * as NodeTransport from "../../src/node/NodeTransport.ts"

const member = Effect.fnUntraced(function*(name: string, join: ReadonlyArray<string>) {
  const layer = Membership.layer({ name, bind: "127.0.0.1:0", join, profile: "local" })
  const context = yield* Layer.build(Layer.fresh(layer).pipe(Layer.provide(NodeTransport.layer)))
  return Context.get(context, Membership.Membership)
})

/** Waits until `membership` sees exactly `expected` ("name:status", sorted). */
const sees = (membership: Membership.Membership["Service"], ...expected: ReadonlyArray<string>) =>
  membership.changes.pipe(
    Stream.mapEffect(() => membership.members),
    Stream.takeUntil((members) => members.map(({ id, status }) => `${id}:${status}`).sort().join() === expected.join()),
    Stream.runDrain,
    Effect.timeout("10 seconds")
  )

describe("Membership on real loopback sockets", () => {
  it.live("joins by host name, spreads metadata and items, and says goodbye", () =>
    Effect.gen(function*() {
      const a = yield* member("a", [])
      const { address } = yield* a.self
      const seed = [`localhost:${address.port}`]
      const [b, c] = yield* Effect.all([member("b", seed), member("c", seed)])
      yield* Effect.all([b.ready, c.ready], { concurrency: "unbounded" })
      for (const one of [a, b, c]) yield* sees(one, "a:alive", "b:alive", "c:alive")
      yield* b.setItem("reign", Uint8Array.of(7))
      yield* c.changes.pipe(
        Stream.takeUntil((change) =>
          change._tag === "ItemChanged" || change._tag === "Snapshot" && change.items.length > 0
        ),
        Stream.runDrain,
        Effect.timeout("5 seconds")
      )
      yield* c.leave
      for (const one of [a, b]) yield* sees(one, "a:alive", "b:alive", "c:left")
      const { datagramsIn, rejected, streamsAccepted } = yield* a.statistics
      assert.isAbove(datagramsIn, 0)
      assert.isAtLeast(streamsAccepted, 2)
      assert.deepStrictEqual(rejected, {})
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("says which address is taken", () =>
    Effect.gen(function*() {
      const a = yield* member("a", [])
      const { address } = yield* a.self
      const layer = Membership.layer({ name: "b", bind: `127.0.0.1:${address.port}` })
      const error = yield* Effect.flip(Layer.build(Layer.fresh(layer).pipe(Layer.provide(NodeTransport.layer))))
      assert.strictEqual(error.message, `the address is already in use: 127.0.0.1:${address.port}`)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("announces an IP address where a name is bound", () =>
    Effect.gen(function*() {
      const layer = Membership.layer({ name: "a", bind: "localhost:0" }).pipe(Layer.provide(NodeTransport.layer))
      const { address } = yield* Context.get(yield* Layer.build(layer), Membership.Membership).self
      assert.include(["127.0.0.1", "::1"], address.host)
      assert.isAbove(address.port, 0)
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  it.live("frees its port when it left", () =>
    Effect.gen(function*() {
      const a = yield* member("a", [])
      const { address } = yield* a.self
      yield* a.leave
      const layer = Membership.layer({ name: "b", bind: `127.0.0.1:${address.port}` })
      yield* Layer.build(Layer.fresh(layer).pipe(Layer.provide(NodeTransport.layer)))
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([]))))

  // What "drain, then judge" rests on: a turn of the event loop brings what waits in the kernel.
  it.live("hears everything that waits in the kernel before a turn is quiet", () =>
    Effect.gen(function*() {
      const transport = yield* Transport.Transport
      const near = yield* transport.datagrams({ host: "127.0.0.1", port: 0 })
      const far = yield* transport.datagrams({ host: "127.0.0.1", port: 0 })
      let heard = 0
      const hear = Effect.map(far.pull, (batch) => {
        heard += batch.length
      })
      yield* Effect.forkScoped(Effect.forever(hear), { startImmediately: true })
      const outgoing = { payload: new Uint8Array(100), to: far.address }
      yield* near.sendAll([outgoing, ...Array.from({ length: 99 }, () => outgoing)])
      for (let before = -1; heard > before;) {
        before = heard
        yield* Effect.yieldNow
      }
      assert.strictEqual(heard, 100)
    }).pipe(Effect.scoped, Effect.provide(NodeTransport.layer)))
})
