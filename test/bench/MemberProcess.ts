/** A process that hosts members for the membership benchmark and tells its parent what they see, with times.
 *
 * Boundary: does what the parent says over the channel; measures nothing itself. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Broadcast from "../../src/membership/Broadcast.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as Membership from "../../src/membership/Membership.ts"
import { formatAddress, Transport } from "../../src/membership/Transport.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as NodeTransport from "../../src/node/NodeTransport.ts"
import * as Tcp from "../../src/node/Tcp.ts"

export type Order =
  | {
    readonly _tag: "Start"
    readonly names: ReadonlyArray<string>
    readonly join: ReadonlyArray<string>
    /** members of the whole cluster */
    readonly total: number
    /** with a cluster key */
    readonly keyed?: boolean
  }
  | { readonly _tag: "Leave"; readonly name: string }
  | { readonly _tag: "Burst"; readonly name: string; readonly count: number }
  | { readonly _tag: "Statistics" }
  | { readonly _tag: "Stop" }

export type News =
  | { readonly _tag: "Ready" }
  | { readonly _tag: "Started"; readonly name: string; readonly address: string }
  | { readonly _tag: "Complete"; readonly name: string; readonly at: number }
  | {
    readonly _tag: "Saw"
    readonly name: string
    readonly what: "Left" | "Failed" | "Suspected"
    readonly about: string
    readonly at: number
  }
  | { readonly _tag: "GotAll"; readonly name: string; readonly at: number; readonly inOrder: boolean }
  | {
    readonly _tag: "Numbers"
    readonly name: string
    readonly packets: number
    readonly bytes: number
    readonly unsent: number
    readonly dropped: number
    readonly rejected: Readonly<Record<string, number>>
  }
  | { readonly _tag: "Stopped" }
  | { readonly _tag: "Died"; readonly name: string; readonly cause: string }

const now = (): number => performance.timeOrigin + performance.now()
const tell = (news: News): void => void process.send?.(news)

const Load = Broadcast.define({
  name: "load",
  schema: Schema.Struct({ n: Schema.Int, of: Schema.Int, text: Schema.String })
})
const padding = "x".repeat(60)

interface Running {
  readonly membership: Membership.Membership["Service"]
  readonly end: Deferred.Deferred<void>
  readonly ended: Promise<void>
}

const running = new Map<string, Running>()

const watch = (name: string, membership: Membership.Membership["Service"], total: number) => {
  const living = new Set<string>()
  let complete = false
  return Stream.runForEach(membership.changes, (change) =>
    Effect.sync(() => {
      const at = now()
      if (change._tag === "Snapshot") {
        for (const { id, status } of change.members) if (status === "alive") living.add(id)
      } else if (change._tag === "Joined") living.add(change.member.id)
      else if (change._tag === "Left" || change._tag === "Failed" || change._tag === "Suspected") {
        if (change._tag !== "Suspected") living.delete(change.member.id)
        tell({ _tag: "Saw", name, what: change._tag, about: change.member.id, at })
      }
      if (living.size === total && !complete) {
        complete = true
        tell({ _tag: "Complete", name, at })
      }
    }))
}

const listen = (name: string, membership: Membership.Membership["Service"]) => {
  let count = 0
  let inOrder = true
  return Stream.runForEach(membership.messages(Load), ({ value: { n, of } }) =>
    Effect.sync(() => {
      if (n !== count) inOrder = false
      count++
      if (count === of) tell({ _tag: "GotAll", name, at: now(), inOrder })
    }))
}

/** Sockets and the key of the cluster. */
const sealed = Effect.gen(function*() {
  const given = [Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(7)))]
  const made = yield* Keyring.make({ given, saved: undefined, save: () => Effect.void })
  if (made === undefined) return NodeTransport.layer
  const { keyring } = made
  const transport = NodeTransport.make(Tcp.secured({ ring: keyring.ring, onRefused: () => {} }))
  return Layer.merge(Layer.succeed(Transport, transport), Layer.succeed(Keyring.Keyring, keyring))
}).pipe(Effect.provide(NodeCipher.layer))

const start = (name: string, order: Extract<Order, { readonly _tag: "Start" }>): void => {
  const end = Deferred.makeUnsafe<void>()
  const program = Effect.gen(function*() {
    const layer = Membership.layer({ name, bind: "127.0.0.1:0", join: order.join, profile: "lan" })
    const around = order.keyed === true ? yield* sealed : NodeTransport.layer
    const context = yield* Layer.build(Layer.fresh(layer).pipe(Layer.provide(around)))
    const membership = Context.get(context, Membership.Membership)
    running.set(name, { membership, end, ended })
    yield* Effect.forkScoped(watch(name, membership, order.total))
    yield* Effect.forkScoped(listen(name, membership))
    tell({ _tag: "Started", name, address: formatAddress((yield* membership.self).address) })
    yield* Effect.raceFirst(Deferred.await(end), membership.conflict)
  }).pipe(
    Effect.scoped,
    Effect.provide(Logger.layer([])),
    Effect.catchCause((cause) => Effect.sync(() => tell({ _tag: "Died", name, cause: Cause.pretty(cause) })))
  )
  const ended = Effect.runPromise(program)
}

const stop = async (names: Iterable<string>): Promise<void> => {
  for (const name of names) {
    const member = running.get(name)
    if (member === undefined) continue
    running.delete(name)
    Deferred.doneUnsafe(member.end, Effect.void)
    await member.ended
  }
}

const numbers = (name: string, { membership }: Running): Promise<void> =>
  Effect.runPromise(Effect.map(membership.statistics, (statistics) =>
    tell({
      _tag: "Numbers",
      name,
      packets: statistics.datagramsOut,
      bytes: statistics.bytesOut,
      unsent: Object.values(statistics.datagramsUnsent).reduce((sum, count) => sum + count, 0),
      dropped: statistics.datagramsDropped,
      rejected: statistics.rejected
    })))

const obey = async (order: Order): Promise<void> => {
  switch (order._tag) {
    case "Start": {
      for (const name of order.names) start(name, order)
      return
    }
    case "Leave": {
      const member = running.get(order.name)
      if (member !== undefined) await Effect.runPromise(member.membership.leave)
      return stop([order.name])
    }
    case "Burst": {
      const member = running.get(order.name)
      if (member === undefined) return
      const values = Array.from({ length: order.count }, (_, n) => ({ n, of: order.count, text: padding }))
      const say = Effect.forEach(values, (value) => member.membership.broadcast(Load, value), { discard: true })
      return Effect.runPromise(say)
    }
    case "Statistics": {
      for (const [name, member] of running) await numbers(name, member)
      return
    }
    case "Stop": {
      await stop(running.keys())
      return tell({ _tag: "Stopped" })
    }
  }
}

process.on("message", (order) => {
  obey(order as Order).catch((error: unknown) => tell({ _tag: "Died", name: "", cause: String(error) }))
})
process.on("disconnect", () => process.exit(0))
tell({ _tag: "Ready" })
