/** The two streams between nodes of the control plane: the master's heartbeat to its witnesses, and the changes of its
 * routing table to its replicas.
 *
 * Job: the receiving ends follow a target until told otherwise and post what arrives; the sending ends are two sliding
 * hubs from which `ClusterServer` serves subscribers, so that a slow one loses changes (and sees the gap) instead of
 * holding the master back.
 * Boundary: whom to watch and follow, and what a gap means, is decided in `ClusterState`. Invariants: R1, R5. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as FiberHandle from "effect/FiberHandle"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import type { MemberId } from "../swim/Member.ts"
import type { Delta, Output } from "./ClusterMessage.ts"
import type { Feed } from "./ClusterRpc.ts"
import type * as PeerCalls from "./PeerCalls.ts"
import type { Reign } from "./Reign.ts"
import type { Entry, Run } from "./RoutingTable.ts"

/** Said to all who listen when this node stops being master. */
export interface Resigned {
  readonly _tag: "Resigned"
  readonly reign: Reign
}

export interface Beat {
  readonly _tag: "Beat"
  readonly reign: Reign
  readonly witnesses: ReadonlyArray<MemberId>
}

export interface Changed {
  readonly _tag: "Changed"
  readonly delta: Delta
}

export interface Replication {
  readonly beats: PubSub.PubSub<Beat | Resigned>
  readonly feed: PubSub.PubSub<Changed | Resigned>
  /** The beat sent last, for whoever begins to listen. */
  readonly latest: () => Beat | Resigned | undefined
  readonly carryOut: (output: Streamed) => Effect.Effect<void>
  /** Tells all listeners that another node reigns. */
  readonly resign: (reign: Reign) => Effect.Effect<void>
}

/** The outputs that concern the streams. */
export type Streamed = Extract<Output, { readonly _tag: "Watch" | "Follow" | "Beat" | "Publish" }>

/** Beats a slow witness may be behind. */
const beatBuffer = 4
/** Changes a slow replica may be behind before it sees a gap. */
const feedBuffer = 256
const retryInterval = "100 millis"
const quickRetry = "1 millis"
const quickRetries = 20
/** Entries in one chunk of a snapshot. */
export const chunkSize = 2000

export const make = Effect.fnUntraced(function*(directory: PeerCalls.Directory, calls: PeerCalls.PeerCalls) {
  const beats = yield* PubSub.sliding<Beat | Resigned>(beatBuffer)
  const feed = yield* PubSub.sliding<Changed | Resigned>(feedBuffer)
  const watching = yield* FiberHandle.make()
  const following = yield* FiberHandle.make()
  let latest: Beat | Resigned | undefined
  const carryOut = (output: Streamed): Effect.Effect<unknown> => {
    switch (output._tag) {
      case "Beat": {
        latest = output
        return PubSub.publish(beats, output)
      }
      case "Publish":
        return PubSub.publish(feed, { _tag: "Changed", delta: output.delta })
      case "Watch":
        return output.target === undefined || output.reign === undefined
          ? FiberHandle.clear(watching)
          : FiberHandle.run(watching, watch(directory, calls, output.target, output.reign))
      case "Follow":
        return output.target === undefined || output.reign === undefined
          ? FiberHandle.clear(following)
          : FiberHandle.run(following, follow(directory, calls, output.target, output.reign))
    }
  }
  const replication: Replication = {
    beats,
    feed,
    latest: () => latest,
    carryOut: (output) => Effect.asVoid(carryOut(output)),
    resign: (reign) =>
      Effect.suspend(() => {
        const resigned: Resigned = { _tag: "Resigned", reign }
        latest = resigned
        return Effect.andThen(PubSub.publish(beats, resigned), Effect.asVoid(PubSub.publish(feed, resigned)))
      })
  }
  return replication
})

/** How listening ended: `refused` is evidence that the process is gone. */
type End = "refused" | "closed" | "silent" | "resigned"

/** Holds the heartbeat: a connection that closed is tried again at once, because a refusal says that the process is
 * gone, and every 100 ms from then on. */
const watch = Effect.fnUntraced(function*(
  directory: PeerCalls.Directory,
  calls: PeerCalls.PeerCalls,
  target: Run,
  reign: Reign
): Effect.fn.Return<never> {
  let quick = 0
  while (true) {
    const end = yield* listen(directory, calls, target, reign)
    if (end === "refused") yield* directory.post({ _tag: "WatchEnded", target, refused: true })
    quick = end === "closed" ? quick + 1 : 0
    yield* Effect.sleep(quick > 0 && quick <= quickRetries ? quickRetry : retryInterval)
  }
})

const listen = (
  directory: PeerCalls.Directory,
  calls: PeerCalls.PeerCalls,
  target: Run,
  reign: Reign
): Effect.Effect<End> =>
  Effect.suspend(() => {
    const peer = directory.peerOf(target)
    if (peer === undefined) return Effect.succeed<End>("silent")
    return Effect.scoped(Effect.flatMap(calls.clientOf(peer), (client) =>
      Stream.runForEach(
        client.ClusterBeat({ reign }),
        (beat) => directory.post({ _tag: "BeatReceived", from: target, ...beat })
      ))).pipe(
        Effect.as<End>("closed"),
        Effect.catchTags({
          PeerUnavailable: ({ reason }) =>
            Effect.succeed<End>(
              reason === "Refused" || reason === "OtherMember" ? "refused" : reason === "Closed" ? "closed" : "silent"
            ),
          NotMaster: ({ reign: known }) => Effect.as(heard(directory, known, target), "resigned" as const),
          Malformed: () => Effect.succeed<End>("silent"),
          Busy: () => Effect.succeed<End>("silent"),
          RpcClientError: () => Effect.succeed<End>("closed")
        }),
        Effect.catchCause((cause) => closedBy(cause, "the heartbeat with the master broke"))
      )
  })

const heard = (directory: PeerCalls.Directory, reign: Reign | undefined, from: Run): Effect.Effect<void> =>
  reign === undefined ? Effect.void : directory.post({ _tag: "ReignHeard", reign, from })

/** A server that closes fails its streams by interruption; anything else here is a defect of ours. */
const closedBy = (cause: Cause.Cause<never>, message: string): Effect.Effect<"closed"> =>
  Cause.hasInterruptsOnly(cause)
    ? Effect.succeed("closed")
    : Effect.as(Effect.logError(message).pipe(Effect.annotateLogs({ cause: Cause.pretty(cause) })), "closed")

/** One subscription, until it ends for whatever reason. */
const follow = (
  directory: PeerCalls.Directory,
  calls: PeerCalls.PeerCalls,
  target: Run,
  reign: Reign
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const peer = directory.peerOf(target)
    if (peer === undefined) return Effect.void
    return Effect.scoped(Effect.flatMap(calls.clientOf(peer), (client) =>
      Stream.runForEach(client.ClusterSubscribe({ reign }), (item) =>
        receive(directory, target, item)))).pipe(
        Effect.catchTags({
          NotMaster: ({ reign: known }) =>
            heard(directory, known, target),
          PeerUnavailable: () => Effect.void,
          Malformed: () => Effect.void,
          Busy: () => Effect.void,
          RpcClientError: () => Effect.void
        }),
        Effect.catchCause((cause) => closedBy(cause, "the subscription to the master broke"))
      )
  }).pipe(Effect.andThen(directory.post({ _tag: "FollowEnded", target })))

const receive = (directory: PeerCalls.Directory, target: Run, item: Feed): Effect.Effect<void> => {
  if (item._tag === "Delta") {
    const { _tag, ...delta } = item
    return directory.post({ _tag: "DeltaReceived", from: target, delta })
  }
  return directory.post({ ...item, _tag: "SnapshotReceived", from: target })
}

/** A snapshot as the messages of a subscription; an empty table is one empty chunk. */
export const chunks = (reign: Reign, sequence: number, entries: ReadonlyArray<Entry>): Array<Feed> => {
  const out: Array<Feed> = []
  for (let at = 0; at === 0 || at < entries.length; at += chunkSize) {
    const last = at + chunkSize >= entries.length
    out.push({ _tag: "Snapshot", reign, sequence, entries: entries.slice(at, at + chunkSize), last })
  }
  return out
}
