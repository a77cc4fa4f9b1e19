import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Membership from "../../src/membership/Membership.ts"
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
})
