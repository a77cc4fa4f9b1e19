import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as Membership from "../../src/membership/Membership.ts"
import { formatAddress, Transport } from "../../src/membership/Transport.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as NodeTransport from "../../src/node/NodeTransport.ts"
import * as Tcp from "../../src/node/Tcp.ts"

const secret = (fill: number) => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))

const member = Effect.fnUntraced(function*(name: string, fill: number, join: ReadonlyArray<string> = []) {
  const made = yield* Keyring.make({ given: [secret(fill)], saved: undefined, save: () => Effect.void })
  const keyring = made?.keyring ?? assert.fail("no ring")
  const refused: Array<string> = []
  const tcp = Tcp.secured({ ring: keyring.ring, onRefused: ({ reason }) => refused.push(reason) })
  const membership = Membership.layer({ name, bind: "127.0.0.1:0", join, profile: "local" })
  const context = yield* Layer.build(
    Layer.fresh(membership).pipe(
      Layer.provide(Layer.succeed(Transport, NodeTransport.make(tcp))),
      Layer.provide(Layer.succeed(Keyring.Keyring, keyring))
    )
  )
  return { ...Context.get(context, Membership.Membership), keyring, refused }
})

type Member = Membership.Membership["Service"]

const sees = ({ changes, members }: Member, ...expected: ReadonlyArray<string>) =>
  changes.pipe(
    Stream.mapEffect(() => members),
    Stream.takeUntil((all) => all.map(({ id, status }) => `${id}:${status}`).sort().join() === expected.join()),
    Stream.runDrain,
    Effect.timeout("10 seconds")
  )

const ids = ({ members }: Member) => Effect.map(members, (all) => all.map(({ id }): string => id).sort())

describe("Membership with a key on real loopback sockets", () => {
  it.live("joins by encrypted datagrams and streams, and refuses a stranger on both", () =>
    Effect.gen(function*() {
      const a = yield* member("a", 1)
      const seed = [formatAddress((yield* a.self).address)]
      const b = yield* member("b", 1, seed)
      for (const one of [a, b]) yield* sees(one, "a:alive", "b:alive")
      const x = yield* member("x", 2, seed)
      // The stranger's join is turned away by the handshake, its pings by the seal.
      yield* Effect.sync(() => a.refused.length).pipe(
        Effect.repeat({ until: (refused) => refused >= 2, schedule: Schedule.spaced("20 millis") }),
        Effect.timeout("10 seconds")
      )
      assert.deepStrictEqual([yield* ids(a), yield* ids(b), yield* ids(x)], [["a", "b"], ["a", "b"], ["x"]])
      assert.deepStrictEqual(new Set(a.refused), new Set(["unknown-key"]))
    }).pipe(Effect.scoped, Effect.provide([NodeCipher.layer, Logger.layer([])])))

  it.live("goes on while its key is exchanged, and takes in a member that knows only the new one", () =>
    Effect.gen(function*() {
      const a = yield* member("a", 1)
      const seed = [formatAddress((yield* a.self).address)]
      const b = yield* member("b", 1, seed)
      for (const one of [a, b]) yield* sees(one, "a:alive", "b:alive")
      const old = a.keyring.ring.primary().id
      let fresh = ""
      for (const { keyring } of [a, b]) fresh = (yield* keyring.install(secret(2))).id
      for (const { keyring } of [a, b]) yield* keyring.use(fresh)
      for (const { keyring } of [a, b]) yield* keyring.remove(old)
      const c = yield* member("c", 2, seed)
      for (const one of [a, b, c]) yield* sees(one, "a:alive", "b:alive", "c:alive")
      assert.strictEqual((yield* a.statistics).suspicionsRaised, 0)
    }).pipe(Effect.scoped, Effect.provide([NodeCipher.layer, Logger.layer([])])))
})
