/** Who is in the cluster: SWIM membership as one Effect service.
 *
 * Job: runs the pure core (`swim`) over a `Transport`. One actor fiber, one bounded mailbox; a loop that reads
 * datagrams, one that sends them, one that accepts streams, one sleeper for timers.
 * Boundary: every rule is the core's. The shell reads the clock, moves bytes, tells subscribers, and makes trouble
 * visible: a loop that dies fails `conflict`, `ready`, `leave` and `changes` with its cause and is logged as fatal.
 * Building the layer opens the sockets; closing it stops without a word to others: call `leave` first to say goodbye.
 * Invariants: M5, M6, M7 (with a seeded `Random` and a virtual clock). */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import { maxMeta, type Member, type MemberId } from "../swim/Member.ts"
import { maxItemBytes, maxKeyBytes } from "../swim/Message.ts"
import * as Swim from "../swim/Swim.ts"
import * as Saved from "../wire/Saved.ts"
import type * as Broadcast from "./Broadcast.ts"
import type * as Changes from "./Changes.ts"
import * as Config from "./Config.ts"
import * as Discovery from "./Discovery.ts"
import type * as Metrics from "./Metrics.ts"
import * as Shell from "./Shell.ts"
import * as Speaking from "./Speaking.ts"
import * as Transport from "./Transport.ts"

/** Another living member has our name and is older. Fault: configuration (two nodes with one name). State: we are not a
 * member for the others. Retry: only under another name; the process should exit with code 1. */
export class NameConflict extends Schema.TaggedError<NameConflict>()("NameConflict", {
  name: Schema.String,
  address: Schema.String
}) {
  override get message(): string {
    return `another living member at ${this.address} is already called "${this.name}"`
  }
}

/** Metadata or an item is larger than gossip carries. Fault: the caller. State: unchanged. Retry: useless. */
export class TooLarge extends Schema.TaggedError<TooLarge>()("TooLarge", {
  what: Schema.Literals(["metadata", "item", "key"]),
  bytes: Schema.Finite,
  limit: Schema.Finite
}) {
  override get message(): string {
    return `the ${this.what} has ${this.bytes} bytes, at most ${this.limit} are allowed`
  }
}

export class Membership extends Context.Service<Membership, {
  /** This node as it announces itself. */
  readonly self: Effect.Effect<Member>
  /** All members known, this node included, also suspect, dead and left ones until they are forgotten. */
  readonly members: Effect.Effect<ReadonlyArray<Member>>
  /** A snapshot, then every change; a slow reader gets a new snapshot instead of what it missed. Ends with the
   * membership. */
  readonly changes: Stream.Stream<Changes.Change>
  /** Contacts `seeds` ("host:port", names allowed) now and, while they cannot be reached, again for ever. */
  readonly join: (seeds: ReadonlyArray<string>) => Effect.Effect<void, Discovery.InvalidAddress>
  /** Says goodbye, waits until enough members acknowledged it or the deadline passed, then stops. Idempotent. */
  readonly leave: Effect.Effect<void>
  /** Replaces this node's metadata (at most 512 bytes) and announces it. */
  readonly setMetadata: (meta: Uint8Array) => Effect.Effect<void, TooLarge>
  /** Proposes a value (at most 96 bytes) under a key (at most 64 bytes); a higher value replaces a lower one
   * everywhere, compared as bytes. */
  readonly setItem: (key: string, value: Uint8Array) => Effect.Effect<void, TooLarge>
  /** The highest value known under `key`. */
  readonly item: (key: string) => Effect.Effect<Option.Option<Uint8Array>>
  /** Done after the first contact with another member; at once without seeds other than this member itself. */
  readonly ready: Effect.Effect<void>
  /** Fails when an older living member has our name; dies when a loop of the membership died. Otherwise it never
   * ends: race the program against it. */
  readonly conflict: Effect.Effect<never, NameConflict>
  /** Says something to all members, this one included: in order per origin, to everybody who is a member while it is
   * kept (a minute). Waits while too much is queued. */
  readonly broadcast: <A>(
    definition: Broadcast.Broadcast<A>,
    value: A
  ) => Effect.Effect<void, Broadcast.MessageTooLarge | Broadcast.Undelivered | Schema.SchemaError>
  /** Says something to one member; completes when that has it. */
  readonly send: <A>(
    member: MemberId,
    definition: Broadcast.Broadcast<A>,
    value: A
  ) => Effect.Effect<void, Broadcast.MessageTooLarge | Broadcast.Undelivered | Schema.SchemaError>
  /** What was said to all or to this member, from the moment it is read; in order per origin. Ends with the
   * membership. */
  readonly messages: <A>(
    definition: Broadcast.Broadcast<A>
  ) => Stream.Stream<Broadcast.Message<A>, Broadcast.SlowReader>
  /** The members known, with their ages, for the option `restore` of a later run. */
  readonly saved: Effect.Effect<Uint8Array>
  /** How well this node and its ways to others are. */
  readonly health: Effect.Effect<Swim.Health>
  /** Counters since the layer was built. */
  readonly statistics: Effect.Effect<Metrics.Statistics>
}>()("shoal/membership/Membership") {}

const make = Effect.fnUntraced(function*(
  options: Config.Options
): Effect.fn.Return<
  Membership["Service"],
  Config.InvalidConfig | Transport.TransportError,
  Transport.Transport | Scope.Scope
> {
  const config = yield* Effect.fromResult(Config.resolve(options))
  const shell = yield* Shell.make(config)
  const { changes, post, signals, stop, swim } = shell
  const scope = yield* Effect.scope
  const command = (command: Swim.Command) => post({ _tag: "Command", command })
  // The core gives up waiting for acknowledgements by itself; the margin only covers a core that does not.
  const goodbye = command({ _tag: "Leave" }).pipe(
    Effect.andThen(Deferred.await(signals.left)),
    Effect.timeoutOption(config.params.leaveTimeout + leaveMarginMs),
    Effect.andThen(stop)
  )
  let leaving: Effect.Effect<Fiber.Fiber<void>> = Effect.suspend(() =>
    Effect.tap(Effect.forkIn(goodbye, scope), (fiber) =>
      Effect.sync(() => {
        leaving = Effect.succeed(fiber)
      }))
  )
  return Membership.of({
    self: Effect.sync(() => Swim.self(swim)),
    members: Effect.sync(() => Swim.members(swim)),
    changes: changes.stream,
    join: Effect.fnUntraced(function*(seeds: ReadonlyArray<string>) {
      const addresses = yield* Effect.fromResult(Discovery.parseSeeds(seeds))
      yield* command({ _tag: "Join", seeds: addresses })
    }),
    leave: Effect.flatMap(Effect.suspend(() => leaving), Fiber.join),
    setMetadata: (meta) =>
      meta.length > maxMeta
        ? Effect.fail(new TooLarge({ what: "metadata", bytes: meta.length, limit: maxMeta }))
        : command({ _tag: "SetMeta", meta: meta.slice() }),
    setItem: Effect.fnUntraced(function*(key: string, value: Uint8Array) {
      const keyBytes = new TextEncoder().encode(key).length
      if (keyBytes > maxKeyBytes) return yield* new TooLarge({ what: "key", bytes: keyBytes, limit: maxKeyBytes })
      if (value.length > maxItemBytes) {
        return yield* new TooLarge({ what: "item", bytes: value.length, limit: maxItemBytes })
      }
      yield* command({ _tag: "SetItem", key, value: value.slice() })
    }),
    item: (key) => Effect.sync(() => Option.fromUndefinedOr(Swim.item(swim, key))),
    ready: Deferred.await(signals.ready),
    conflict: Effect.mapError(
      Deferred.await(signals.conflict),
      (other) => new NameConflict({ name: other.id, address: Transport.formatAddress(other.address) })
    ),
    broadcast: Speaking.broadcast(shell),
    send: Speaking.send(shell),
    messages: (definition) => shell.messages.read(definition),
    saved: Effect.map(
      Clock.currentTimeMillis,
      (savedAt) => Saved.encode({ savedAt, states: Swim.saved(swim) })
    ),
    health: Effect.sync(() => Swim.health(swim)),
    statistics: Effect.sync(shell.statistics)
  })
})

const leaveMarginMs = 1000

/** One member. Building it opens its sockets; several members in one process need `Layer.fresh` or one scope each. */
export const layer = (
  options: Config.Options
): Layer.Layer<Membership, Config.InvalidConfig | Transport.TransportError, Transport.Transport> =>
  Layer.effect(Membership, make(options))
