/** The answering side of `ClusterRpc`: calls of other nodes as questions to the actor.
 *
 * Job: names the caller by its connection, checks ranges, translates answers into successes and typed refusals, and
 * serves the two streams from the hubs of `Replication`.
 * Boundary: every answer is the state's. Only a look-up takes a second step: a replica asks the version's home. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as PubSub from "effect/PubSub"
import * as Stream from "effect/Stream"
import * as Member from "../swim/Member.ts"
import { ClusterActor } from "./ClusterActor.ts"
import { HandoverRefused, Malformed, NotMaster } from "./ClusterError.ts"
import type { Answer, Where } from "./ClusterMessage.ts"
import { ClusterRpc, type Feed, type Found } from "./ClusterRpc.ts"
import * as Metrics from "./Metrics.ts"
import { Caller } from "./PeerServer.ts"
import * as Reign from "./Reign.ts"
import * as Replication from "./Replication.ts"
import type { Entry, Run } from "./RoutingTable.ts"

type Actor = ClusterActor["Service"]

/** What a replica waits for the home; the asker itself waits 50 ms. */
const homeTimeout = "40 millis"
/** A call that nobody waits for any more ends after this time. */
export const callTimeout = "1 second"
const maxVersionLength = 128

export const layer = ClusterRpc.toLayer(Effect.gen(function*() {
  const actor = yield* ClusterActor
  return ClusterRpc.of({
    ClusterBeat: ({ reign }) => Stream.unwrap(beats(actor, reign)),
    ClusterVerdict: Effect.fnUntraced(function*({ lost, reign }) {
      const from = yield* caller(reign)
      yield* actor.post({ _tag: "VerdictReceived", from, reign, lost })
    }),
    ClusterAnnounce: Effect.fnUntraced(function*({ reign }) {
      const from = yield* caller(reign)
      yield* actor.post({ _tag: "ReignHeard", reign, from })
      const obeyed = yield* actor.read((state) => state.election.reign)
      return Reign.equals(obeyed, reign) && Reign.isHeldBy(reign, from) ? { marks: yield* actor.marks } : {}
    }),
    ClusterContest: Effect.fnUntraced(function*({ reign }) {
      const from = yield* caller(reign)
      const answer = yield* actor.ask({ _tag: "Contested", from, reign })
      return { reign: answer._tag === "Acknowledged" ? answer.reign : undefined }
    }),
    ClusterSupport: Effect.fnUntraced(function*({ claim }) {
      const from = yield* caller(claim)
      if (!Reign.isHeldBy(claim, from)) return yield* new Malformed({ field: "claim" })
      const answer = yield* actor.ask({ _tag: "SupportAsked", from, claim })
      return answer._tag === "Supported"
        ? { support: answer.support, reign: answer.reign }
        : yield* unexpected("SupportAsked", answer)
    }),
    ClusterRegister: Effect.fnUntraced(function*({ entries, reign }) {
      const from = yield* caller(reign)
      const own = entries.map((entry) => ({ ...entry, node: from.id, bootId: from.bootId }))
      const answer = yield* actor.ask({ _tag: "RegisterReceived", from, reign, entries: own })
      if (answer._tag === "Registered") return { live: answer.live }
      return yield* refused("RegisterReceived", answer)
    }),
    ClusterReregister: Effect.fnUntraced(function*({ reign }) {
      const from = yield* caller(reign)
      yield* actor.post({ _tag: "Reregister", from, reign })
    }),
    ClusterSubscribe: ({ reign }) => Stream.unwrap(subscription(actor, reign)),
    ClusterQuery: Effect.fnUntraced(function*({ live, version }) {
      const from = yield* callerOnly
      if (from === undefined || version.length > maxVersionLength) return granted(undefined)
      const answer = yield* actor.ask({ _tag: "Query", from, version, live })
      return yield* resolve(actor, version, from, answer)
    }),
    ClusterLease: Effect.fnUntraced(function*({ asker, version }) {
      if (version.length > maxVersionLength) return granted(undefined)
      const answer = yield* actor.ask({ _tag: "LeaseAsked", from: asker, version })
      return answer._tag === "Located" ? toFound(answer.where, actor.self) : granted(undefined)
    }),
    ClusterRenew: Effect.fnUntraced(function*({ version }) {
      const from = yield* callerOnly
      if (from === undefined) return { held: false }
      const answer = yield* actor.ask({ _tag: "LeaseRenewed", from, version })
      return { held: answer._tag === "Renewed" && answer.held }
    }),
    ClusterHandover: Effect.fnUntraced(function*({ message }) {
      const from = yield* caller(message.reign)
      yield* actor.post({ _tag: "HandoverReceived", from, message })
    }),
    ClusterTransfer: ({ to }) => transfer(actor, to),
    ClusterEnd: Effect.fnUntraced(function*({ version }) {
      const from = yield* callerOnly
      if (from !== undefined) yield* actor.post({ _tag: "LeaseEnded", from, version })
    })
  })
}))

/** The run at the other end of the connection. */
const callerOnly: Effect.Effect<Run | undefined> = Effect.map(
  Effect.serviceOption(Caller),
  (found) => Option.isNone(found) ? undefined : { id: Member.id(found.value.id), bootId: found.value.bootId }
)

/** The caller of a control message, after its reign was found to be one. */
const caller = (reign: Reign.Reign): Effect.Effect<Run, Malformed> =>
  Effect.flatMap(callerOnly, (run) => {
    if (run === undefined) return Effect.fail(new Malformed({ field: "caller" }))
    return Reign.isValid(reign) ? Effect.succeed(run) : Effect.fail(new Malformed({ field: "reign" }))
  })

const unexpected = (question: string, answer: Answer): Effect.Effect<never> =>
  Effect.die(new Error(`${question} was answered by ${answer._tag}`))

const refused = (question: string, answer: Answer): Effect.Effect<never, NotMaster> =>
  answer._tag === "NotMaster" ? Effect.fail(new NotMaster({ reign: answer.reign })) : unexpected(question, answer)

/** Has this node hand over, if it is master; ends with the attempt. */
export const transfer = Effect.fn("ClusterServer.transfer")(function*(actor: Actor, to: Member.MemberId) {
  const began = yield* Clock.currentTimeMillis
  const answer = yield* actor.ask({ _tag: "HandoverAsked", to })
  if (answer._tag === "HandoverEnded") {
    const outcome = answer.refused?.reason ?? "done"
    const took = (yield* Clock.currentTimeMillis) - began
    yield* Metric.update(Metric.withAttributes(Metrics.handovers, { outcome }), took)
    if (answer.closedMs > 0) yield* Metric.update(Metrics.closed, answer.closedMs)
  }
  if (answer._tag !== "HandoverEnded") return yield* refused("HandoverAsked", answer)
  if (answer.reign !== undefined) return { reign: answer.reign, closedMs: answer.closedMs }
  return yield* new HandoverRefused(answer.refused ?? { reason: "aborted", detail: "it was given up" })
})

// ---- streams

const beats = Effect.fnUntraced(function*(actor: Actor, reign: Reign.Reign) {
  const from = yield* caller(reign)
  yield* actor.post({ _tag: "ReignHeard", reign, from })
  const listening = yield* PubSub.subscribe(actor.replication.beats)
  const current = actor.replication.latest()
  const first = current?._tag === "Beat" ? current : undefined
  if (first === undefined) {
    const known = yield* actor.read((state) => state.election.reign)
    if (!Reign.isHeldBy(known, actor.self)) return yield* new NotMaster({ reign: known })
  }
  const rest = Stream.fromSubscription(listening)
  return (first === undefined ? rest : Stream.concat(Stream.succeed(first), rest)).pipe(
    Stream.mapEffect((beat) =>
      beat._tag === "Beat"
        ? Effect.succeed({ reign: beat.reign, witnesses: beat.witnesses })
        : Effect.fail(new NotMaster({ reign: beat.reign }))
    )
  )
})

const subscription = Effect.fnUntraced(function*(actor: Actor, reign: Reign.Reign) {
  const from = yield* caller(reign)
  // listening begins before the snapshot is taken, so that no change falls between
  const listening = yield* PubSub.subscribe(actor.replication.feed)
  const answer = yield* actor.ask({ _tag: "SubscribeAsked", from, reign })
  if (answer._tag !== "Subscribed") return yield* refused("SubscribeAsked", answer)
  const snapshot = Replication.chunks(reign, answer.sequence, answer.entries)
  yield* Metric.update(Metrics.snapshots, 1)
  yield* Metric.update(Metrics.snapshotBytes, answer.entries.reduce((sum, entry) => sum + sizeOf(entry), 0))
  const changes = Stream.fromSubscription(listening).pipe(
    Stream.mapEffect((item): Effect.Effect<Feed, NotMaster> =>
      item._tag === "Changed"
        ? Effect.succeed({ _tag: "Delta", ...item.delta })
        : Effect.fail(new NotMaster({ reign: item.reign }))
    )
  )
  return Stream.concat(Stream.rechunk(Stream.fromIterable(snapshot), 1), changes)
})

/** Of an entry in a snapshot: its strings, boot id, counter and state. */
const sizeOf = ({ node, version }: Entry): number => version.length + node.length + 17

// ---- look-ups

const granted = (home: Run | undefined): Found => ({ _tag: "Granted", home })

/** An answer that is complete; `home` is who gave it. */
export const toFound = (where: Where, home: Run): Found => {
  switch (where._tag) {
    case "Known":
      return { _tag: "Known", nodes: where.nodes }
    case "Wait":
      return { _tag: "Wait", holder: where.holder }
    case "Granted":
      return granted(home)
    case "AskReplica":
    case "AskHome":
      return granted(undefined)
  }
}

/** Asks the home on behalf of `asker` when the table has nothing. */
export const resolve = (
  actor: Actor,
  version: string,
  asker: Run,
  answer: Answer
): Effect.Effect<Found> => {
  if (answer._tag !== "Located") return Effect.succeed(granted(undefined))
  const { where } = answer
  if (where._tag !== "AskHome") return Effect.succeed(toFound(where, actor.self))
  const own = () =>
    Effect.map(
      actor.ask({ _tag: "LeaseAsked", from: asker, version }),
      (last) => last._tag === "Located" ? toFound(last.where, actor.self) : granted(undefined)
    )
  return within(
    firstOf(
      where.to,
      (to) => actor.calls.call(to, callTimeout, (client) => client.ClusterLease({ version, asker })),
      own
    ),
    homeTimeout
  )
}

/** Asks one after the other until one answers; `otherwise` when none did. */
export const firstOf = <E, E2>(
  targets: ReadonlyArray<Run>,
  ask: (to: Run) => Effect.Effect<Found, E>,
  otherwise: () => Effect.Effect<Found, E2>
): Effect.Effect<Found, E2> =>
  Effect.suspend(() => {
    const [first, ...rest] = targets
    return first === undefined ? otherwise() : Effect.catch(ask(first), () => firstOf(rest, ask, otherwise))
  })

/** The answer, or permission to start when it does not come in time. A call that is late is not waited for: giving it
 * up may itself take as long as its connection is stuck. */
export const within = <E>(call: Effect.Effect<Found, E>, deadline: "40 millis" | "50 millis"): Effect.Effect<Found> =>
  Effect.gen(function*() {
    const fiber = yield* Effect.forkDetach(Effect.orElseSucceed(call, () => granted(undefined)))
    const exit = yield* Effect.timeoutOption(Fiber.await(fiber), deadline)
    if (Option.isSome(exit)) return exit.value._tag === "Success" ? exit.value.value : granted(undefined)
    fiber.interruptUnsafe()
    return granted(undefined)
  })
