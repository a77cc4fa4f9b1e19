/** The actor that owns `ClusterState`: one bounded mailbox, one fiber.
 *
 * Job: takes all mail of a turn, steps the state with the time at which it was taken, carries out the outputs. A defect
 * restarts it: the state is built anew from the disk, the membership and what this node had registered, and the restart
 * is logged and counted.
 * Policy of the mailbox: this node's own sources (membership, streams, answers) wait while it is full; questions, from
 * other nodes or from callers here, are refused as `Busy`. Boundary: decides nothing. Invariants: R1, R2, R5. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Alarm from "../membership/Alarm.ts"
import type { Change } from "../membership/Changes.ts"
import * as Discovery from "../membership/Discovery.ts"
import { Membership } from "../membership/Membership.ts"
import { Busy } from "./ClusterError.ts"
import type { Answer, Input, Output } from "./ClusterMessage.ts"
import * as ClusterState from "./ClusterState.ts"
import type { ClusterView } from "./ClusterView.ts"
import * as ElectionState from "./ElectionState.ts"
import * as HandoverParts from "./HandoverParts.ts"
import * as Metrics from "./Metrics.ts"
import * as PeerCalls from "./PeerCalls.ts"
import type { Unstamped } from "./PeerCalls.ts"
import type * as Peers from "./Peers.ts"
import * as Reign from "./Reign.ts"
import * as ReignStore from "./ReignStore.ts"
import * as Replica from "./Replica.ts"
import * as Replication from "./Replication.ts"
import type { Run } from "./RoutingTable.ts"
import type * as Store from "./Store.ts"

type Asking = Extract<Unstamped, { readonly ask: number }>
/** A question: an input whose ticket the actor fills in. */
export type Question = Asking extends infer A ? A extends Asking ? Omit<A, "ask"> : never : never

export class ClusterActor extends Context.Service<ClusterActor, {
  readonly self: Run
  readonly post: (input: Unstamped) => Effect.Effect<void>
  readonly ask: (question: Question) => Effect.Effect<Answer, Busy>
  /** Reads the state between two steps. */
  readonly read: <A>(f: (state: ClusterState.ClusterState) => A) => Effect.Effect<A, Busy>
  readonly view: Effect.Effect<ClusterView>
  readonly views: Stream.Stream<ClusterView>
  readonly calls: PeerCalls.PeerCalls
  readonly replication: Replication.Replication
  /** What the parts of this node have now. */
  readonly marks: Effect.Effect<Readonly<Record<string, string>>>
  /** A part of the node whose state a successor must have before this node hands over. */
  readonly takesPart: (part: HandoverParts.Part) => Effect.Effect<void>
}>()("shoal/cluster/ClusterActor") {}

export interface Options {
  /** started with seeds: no claim before the first contact or 3 s */
  readonly joining: boolean
  /** called with the epoch of every reign obeyed, for the hello of new connections */
  readonly onEpoch?: ((epoch: number) => void) | undefined
}

/** Key of the reign among gossip's items. */
export const itemKey = "reign"

const restartPause = "10 millis"
/** Messages that wait at most. */
const capacity = 8192

type Mail =
  | { readonly _tag: "Input"; readonly input: Unstamped }
  | { readonly _tag: "Read"; readonly read: (state: ClusterState.ClusterState) => void }

interface Shell {
  readonly self: Run
  readonly options: Options
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly membership: Membership["Service"]
  readonly mailbox: Queue.Queue<Mail, Cause.Done>
  readonly asks: Map<number, Deferred.Deferred<Answer, Busy>>
  readonly store: ReignStore.ReignStore
  readonly viewHub: PubSub.PubSub<ClusterView>
  readonly parts: Map<string, HandoverParts.Part>
  state: ClusterState.ClusterState
  view: ClusterView
  /** `view` is older than the state: it is made anew for who looks, and published once at the end of a turn, because a
   * large cluster that starts or parts changes it many times in one */
  stale: boolean
  unpublished: boolean
  asked: number
  restarts: number
  /** since when there is no master */
  masterlessSince: number | undefined
}

export const make = Effect.fnUntraced(function*(options: Options) {
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const membership = yield* Membership
  const store = yield* ReignStore.make
  const { bootId, id } = yield* membership.self
  const self: Run = { id, bootId }
  const state = ClusterState.make({
    self,
    now: Alarm.monotonicMillis(clock),
    seed: yield* Random.nextIntBetween(0, 0xffffffff),
    joining: options.joining,
    ...store.saved
  })
  const shell: Shell = {
    self,
    options,
    clock,
    scope,
    membership,
    mailbox: yield* Queue.bounded<Mail, Cause.Done>(capacity),
    asks: new Map(),
    store,
    viewHub: yield* PubSub.sliding<ClusterView>(1),
    parts: new Map(),
    state,
    view: ClusterState.view(state),
    stale: false,
    unpublished: false,
    asked: 0,
    restarts: 0,
    masterlessSince: undefined
  }
  const post = (input: Unstamped): Effect.Effect<void> =>
    Effect.asVoid(Queue.offer(shell.mailbox, { _tag: "Input", input }))
  const directory: PeerCalls.Directory = {
    self,
    peerOf: (run) => peerOf(shell, run),
    post,
    heard: (from, reign, marks) => HandoverParts.heard(shell.parts, from, reign, marks)
  }
  const calls = yield* PeerCalls.make(directory)
  const replication = yield* Replication.make(directory, calls)
  const alarm = Alarm.make({
    clock,
    scope,
    ring: () => Queue.offerUnsafe(shell.mailbox, { _tag: "Input", input: { _tag: "TimerFired" } })
  })
  const perform = (output: Output) => carryOut({ shell, alarm, calls, replication, post }, output)
  yield* supervise(shell, perform, post).pipe(Effect.forkScoped)
  yield* feedMembership(membership, post).pipe(Effect.forkScoped)
  yield* Effect.addFinalizer(() => Queue.shutdown(shell.mailbox))
  return ClusterActor.of({
    self,
    post,
    ask: (question) => ask(shell, question),
    read: (f) => read(shell, f),
    view: Effect.sync(() => currentView(shell)),
    views: views(shell),
    calls,
    replication,
    marks: Effect.suspend(() => HandoverParts.marks(shell.parts)),
    takesPart: (part) => Effect.sync(() => void shell.parts.set(part.name, part))
  })
})

export const layer = (
  options: Options
): Layer.Layer<ClusterActor, Store.StoreError, Membership | Peers.Peers | Store.Store> =>
  Layer.effect(ClusterActor, make(options))

const peerOf = (shell: Shell, run: Run): Peers.Peer | undefined => {
  const node = shell.state.topology.nodes.get(run.id)
  if (node === undefined || node.bootId !== run.bootId || node.meta === undefined) return undefined
  const rpc = Discovery.parseAddress(node.meta.rpc)
  return Result.isFailure(rpc) ? undefined : { id: node.id, bootId: node.bootId, rpc: rpc.success }
}

// ---- the loop

/** Runs the loop for ever; a defect is logged, counted and followed by a new state. */
const supervise = (
  shell: Shell,
  perform: (output: Output) => Effect.Effect<void>,
  post: (input: Unstamped) => Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.forever(Effect.catchCause(loop(shell, perform), (cause) => restart(shell, cause, post))).pipe(
    Effect.catchTag("Done", () => Effect.void)
  )

const loop = Effect.fnUntraced(function*(
  shell: Shell,
  perform: (output: Output) => Effect.Effect<void>
): Effect.fn.Return<never, Cause.Done> {
  const out: Array<Output> = []
  while (true) {
    const mails = yield* Queue.takeAll(shell.mailbox)
    for (const mail of mails) {
      if (mail._tag === "Read") mail.read(shell.state)
      else {
        const now = Alarm.monotonicMillis(shell.clock)
        ClusterState.step(shell.state, { ...mail.input, now } as Input, out)
        yield* Metric.update(inputCounter(mail.input._tag), 1)
        for (const output of out) yield* perform(output)
        out.length = 0
      }
    }
    if (shell.unpublished) yield* publishView(shell)
    yield* Metric.update(Metrics.mailbox, Queue.sizeUnsafe(shell.mailbox))
    yield* observe(shell)
  }
})

/** What is measured of the state itself, once a turn. */
const observe = (shell: Shell): Effect.Effect<void> => {
  const { election, replica, topology } = shell.state
  const now = Alarm.monotonicMillis(shell.clock)
  const since = ElectionState.masterlessSince(election, topology, now)
  const before = shell.masterlessSince
  shell.masterlessSince = since === undefined ? undefined : before ?? since
  return Effect.all([
    Metric.update(Metrics.replicaLag, Replica.lag(replica, now)),
    Metric.update(Metrics.hasMaster, election.reign !== undefined && since === undefined ? 1 : 0),
    before === undefined || since !== undefined ? Effect.void : Metric.update(Metrics.withoutMaster, now - before)
  ], { discard: true })
}

const inputCounters = new Map<string, ReturnType<typeof labelled>>()
const labelled = (kind: string) => Metric.withAttributes(Metrics.inputs, { kind })
const inputCounter = (kind: string): ReturnType<typeof labelled> => {
  const known = inputCounters.get(kind)
  if (known !== undefined) return known
  const made = labelled(kind)
  inputCounters.set(kind, made)
  return made
}

const restart = Effect.fnUntraced(function*(
  shell: Shell,
  cause: Cause.Cause<Cause.Done>,
  post: (input: Unstamped) => Effect.Effect<void>
): Effect.fn.Return<void, Cause.Done> {
  // a failure is the end of the mailbox, an interruption the end of the scope
  if (!Cause.hasDies(cause)) return yield* Effect.fail(Cause.Done())
  shell.restarts++
  yield* Metric.update(Metrics.restarts, 1)
  yield* Effect.logError("the cluster manager had a defect and starts anew").pipe(
    Effect.annotateLogs({ restarts: shell.restarts, cause: Cause.pretty(cause) })
  )
  for (const deferred of shell.asks.values()) yield* Deferred.fail(deferred, new Busy())
  shell.asks.clear()
  const { election, registrations, succession } = shell.state
  shell.state = ClusterState.make({
    self: shell.self,
    now: Alarm.monotonicMillis(shell.clock),
    seed: yield* Random.nextIntBetween(0, 0xffffffff),
    joining: false,
    floor: election.floor,
    reign: election.reign,
    registrations,
    succession,
    rebuilt: true
  })
  // a defect that repeats must not spin
  yield* Effect.sleep(restartPause)
  // the mailbox may be full: the one fiber that empties it must not wait for it
  yield* Effect.forkIn(resync(shell.membership, post), shell.scope)
})

const resync = Effect.fnUntraced(function*(
  membership: Membership["Service"],
  post: (input: Unstamped) => Effect.Effect<void>
): Effect.fn.Return<void> {
  yield* post({ _tag: "Members", members: yield* membership.members })
  const item = yield* membership.item(itemKey)
  if (item._tag === "Some") yield* hearItem(item.value, post)
})

// ---- what comes in

const hearItem = (value: Uint8Array, post: (input: Unstamped) => Effect.Effect<void>): Effect.Effect<void> => {
  const reign = Reign.fromBytes(value)
  return reign === undefined
    ? Metric.update(Metric.withAttributes(Metrics.rejected, { reason: "malformed item" }), 1)
    : post({ _tag: "ReignHeard", reign, from: undefined })
}

const feedMembership = (
  membership: Membership["Service"],
  post: (input: Unstamped) => Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.all([
    Stream.runForEach(membership.changes, (change) => takeChange(change, post)),
    Effect.andThen(membership.ready, post({ _tag: "Contacted" }))
  ], { concurrency: "unbounded", discard: true }).pipe(
    Effect.tapCause((cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logFatal("the cluster manager lost the membership").pipe(
          Effect.annotateLogs({ cause: Cause.pretty(cause) })
        )
    )
  )

const takeChange = (change: Change, post: (input: Unstamped) => Effect.Effect<void>): Effect.Effect<void> => {
  switch (change._tag) {
    case "Snapshot":
      return Effect.andThen(
        post({ _tag: "Members", members: change.members }),
        Effect.forEach(
          change.items.filter((item) => item.key === itemKey),
          (item) => hearItem(item.value, post),
          { discard: true }
        )
      )
    case "ItemChanged":
      return change.key === itemKey ? hearItem(change.value, post) : Effect.void
    default:
      return post({ _tag: "MemberChanged", member: change.member })
  }
}

const ask = (shell: Shell, question: Question): Effect.Effect<Answer, Busy> =>
  Effect.suspend(() => {
    const ticket = ++shell.asked
    const deferred = Deferred.makeUnsafe<Answer, Busy>()
    shell.asks.set(ticket, deferred)
    const input = { ...question, ask: ticket } as Unstamped
    if (!Queue.offerUnsafe(shell.mailbox, { _tag: "Input", input })) {
      shell.asks.delete(ticket)
      return Effect.fail(new Busy())
    }
    return Effect.onInterrupt(Deferred.await(deferred), () => Effect.sync(() => shell.asks.delete(ticket)))
  })

const read = <A>(shell: Shell, f: (state: ClusterState.ClusterState) => A): Effect.Effect<A, Busy> =>
  Effect.suspend(() => {
    const deferred = Deferred.makeUnsafe<A>()
    const mail: Mail = { _tag: "Read", read: (state) => Deferred.doneUnsafe(deferred, Effect.succeed(f(state))) }
    return Queue.offerUnsafe(shell.mailbox, mail) ? Deferred.await(deferred) : Effect.fail(new Busy())
  })

const views = (shell: Shell): Stream.Stream<ClusterView> =>
  Stream.unwrap(
    Effect.map(PubSub.subscribe(shell.viewHub), (subscription) =>
      Stream.concat(Stream.sync(() => currentView(shell)), Stream.fromSubscription(subscription)))
  )

// ---- what goes out

interface Hands {
  readonly shell: Shell
  readonly alarm: Alarm.Alarm
  readonly calls: PeerCalls.PeerCalls
  readonly replication: Replication.Replication
  readonly post: (input: Unstamped) => Effect.Effect<void>
}

const carryOut = (hands: Hands, output: Output): Effect.Effect<void> => {
  const { alarm, calls, post, replication, shell } = hands
  switch (output._tag) {
    case "SetTimer":
      return alarm.arm(output.at)
    case "ViewChanged":
      return Effect.sync(() => {
        shell.stale = true
        shell.unpublished = true
      })
    case "Log":
      return Effect.logInfo(output.message).pipe(Effect.annotateLogs(output.fields))
    case "Rejected":
      return Metric.update(Metric.withAttributes(Metrics.rejected, { reason: output.reason }), 1)
    case "Persist":
      return inBackground(shell, persist(shell, output, post))
    case "SetItem":
      return obeyed(hands, output.reign)
    case "Reply": {
      const deferred = shell.asks.get(output.ask)
      shell.asks.delete(output.ask)
      return deferred === undefined ? Effect.void : Effect.asVoid(Deferred.succeed(deferred, output.answer))
    }
    case "Beat":
    case "Watch":
    case "Follow":
      return replication.carryOut(output)
    case "Publish":
      return replication.carryOut(output).pipe(
        Effect.andThen(Metric.update(Metrics.batches, 1)),
        Effect.andThen(Metric.update(Metrics.batchEntries, output.delta.entries.length))
      )
    case "Announce":
    case "Contest":
    case "SendVerdict":
    case "Greet":
    case "AskSupport":
    case "SendRegister":
    case "SendReregister":
    case "SendHandover":
      return inBackground(shell, calls.carryOut(output))
    case "CloseParts":
      return inBackground(
        shell,
        Effect.flatMap(
          HandoverParts.close(shell.parts),
          (marks) => post({ _tag: "PartsClosed", attempt: output.attempt, marks })
        )
      )
    case "LoadParts": {
      const { attempt, sealed } = output
      return inBackground(
        shell,
        Effect.flatMap(
          HandoverParts.load(shell.parts, output),
          (failure) => post({ _tag: "PartsLoaded", attempt, sealed, failure })
        )
      )
    }
  }
}

const inBackground = (shell: Shell, effect: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.asVoid(Effect.forkIn(
    Effect.tapCause(effect, (cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.void
        : Effect.logError("a message of the cluster manager had a defect").pipe(
          Effect.annotateLogs({ cause: Cause.pretty(cause) })
        )),
    shell.scope
  ))

const persist = (
  shell: Shell,
  { claim, floor, reign }: Extract<Output, { readonly _tag: "Persist" }>,
  post: (input: Unstamped) => Effect.Effect<void>
): Effect.Effect<void> =>
  Effect.flatMap(
    shell.store.save({ floor, reign }),
    (ok) => claim === undefined ? Effect.void : post({ _tag: "Persisted", epoch: claim, ok })
  )

/** A new reign: gossip carries it, those who listened to this node as master are told, and so is everybody's hello. */
const obeyed = (hands: Hands, reign: Reign.Reign): Effect.Effect<void> => {
  const { replication, shell } = hands
  shell.options.onEpoch?.(reign.epoch)
  const gossip = Effect.ignore(shell.membership.setItem(itemKey, Reign.toBytes(reign)))
  return Metric.update(Metrics.reigns, 1).pipe(
    Effect.andThen(Metric.update(Metrics.epoch, reign.epoch)),
    Effect.andThen(Reign.isHeldBy(reign, shell.self) ? Effect.void : replication.resign(reign)),
    Effect.andThen(inBackground(shell, gossip))
  )
}

const roleNumber = { master: 1, replica: 2, worker: 3 } as const

const currentView = (shell: Shell): ClusterView => {
  if (shell.stale) {
    shell.stale = false
    shell.view = ClusterState.view(shell.state)
  }
  return shell.view
}

const publishView = (shell: Shell): Effect.Effect<void> =>
  Effect.suspend(() => {
    shell.unpublished = false
    const view = currentView(shell)
    return PubSub.publish(shell.viewHub, view).pipe(
      Effect.andThen(Metric.update(Metrics.role, roleNumber[view.role])),
      Effect.andThen(Metric.update(Metrics.routes, ClusterState.routes(shell.state)))
    )
  })
