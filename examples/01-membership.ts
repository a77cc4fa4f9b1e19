/** Membership inside another Effect program: three members in one process, on real loopback sockets.
 *
 * Run: node examples/01-membership.ts
 *
 * Expected output:
 *   ada knows ada, bob, cyd
 *   bob hears that cyd's metadata is now "busy"
 *   cyd leaves
 *   ada knows ada:alive, bob:alive, cyd:left
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import * as Membership from "../src/membership/Membership.ts"
import * as NodeTransport from "../src/node/NodeTransport.ts"

/** One member per scope; a program of its own would simply provide the layer once. */
const member = Effect.fn("member")(function*(name: string, join: ReadonlyArray<string>) {
  const layer = Membership.layer({ name, bind: "127.0.0.1:0", join, profile: "local" })
  const context = yield* Layer.build(Layer.fresh(layer).pipe(Layer.provide(NodeTransport.layer)))
  return Context.get(context, Membership.Membership)
})

const addressOf = (membership: Membership.Membership["Service"]) =>
  Effect.map(membership.self, ({ address }) => `${address.host}:${address.port}`)

/** Waits until the view of `membership` satisfies `holds`. */
const until = (
  membership: Membership.Membership["Service"],
  holds: (names: ReadonlyArray<string>) => boolean
) =>
  membership.changes.pipe(
    Stream.mapEffect(() => membership.members),
    Stream.map((members) => members.map(({ id, status }) => `${id}:${status}`).sort()),
    Stream.takeUntil(holds),
    Stream.runLast,
    Effect.flatMap(Effect.fromOption)
  )

const program = Effect.gen(function*() {
  const ada = yield* member("ada", [])
  const seed = yield* addressOf(ada)
  const bob = yield* member("bob", [seed])
  const cyd = yield* member("cyd", [seed])

  const everybody = yield* until(ada, (names) => names.length === 3)
  yield* until(bob, (names) => names.length === 3)
  yield* Console.log(`ada knows ${everybody.map((entry) => entry.split(":")[0]).join(", ")}`)

  const updated = yield* Effect.forkChild(
    bob.changes.pipe(
      Stream.filter((change) => change._tag === "Updated" && change.member.id === "cyd"),
      Stream.runHead
    ),
    { startImmediately: true }
  )
  yield* cyd.setMetadata(new TextEncoder().encode("busy"))
  yield* Effect.flatMap(Fiber.join(updated), () => bob.members).pipe(
    Effect.map((members) => members.find(({ id }) => id === "cyd")),
    Effect.flatMap((found) =>
      Console.log(`bob hears that cyd's metadata is now "${new TextDecoder().decode(found?.meta)}"`)
    )
  )

  yield* Console.log("cyd leaves")
  yield* cyd.leave
  const rest = yield* until(ada, (names) => names.includes("cyd:left"))
  yield* Console.log(`ada knows ${rest.join(", ")}`)
  yield* bob.leave
  yield* ada.leave
}).pipe(Effect.scoped)

program.pipe(Effect.provide(Logger.layer([])), NodeRuntime.runMain)
