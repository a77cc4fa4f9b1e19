/** The control plane of one node, as the rest of the node sees it.
 *
 * Job: the view, this node's registrations, look-ups, start leases, and calls to whoever is master.
 * Boundary: `ClusterActor` owns the state, `ClusterState` and the pure modules below it decide everything. What only
 * follows the actor's answers is here: asking the next node, waiting for a master. Invariants: R1, R2, R5. */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Membership } from "../membership/Membership.ts"
import type { BootId, MemberId } from "../swim/Member.ts"
import * as ClusterActor from "./ClusterActor.ts"
import { type HandoverRefused, LowerReign, Malformed, NoMaster, NotMaster } from "./ClusterError.ts"
import type { Found } from "./ClusterRpc.ts"
import * as ClusterServer from "./ClusterServer.ts"
import * as ClusterState from "./ClusterState.ts"
import * as ClusterView from "./ClusterView.ts"
import * as ElectionState from "./ElectionState.ts"
import type { Part } from "./HandoverParts.ts"
import type * as Peers from "./Peers.ts"
import * as Reign from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"
import type * as Store from "./Store.ts"
import * as Succession from "./Succession.ts"

/** One run of one member. */
export interface NodeRef {
  readonly id: MemberId
  readonly bootId: BootId
}

/** Where a function version runs, or who may start it.
 *
 * `none`: it is warm at `nodes`. `granted`: start it here (with a lease, or because nobody answered within 50 ms).
 * `wait`: `nodes` holds the one that is starting it; queue there. */
export interface Located {
  readonly nodes: ReadonlyArray<NodeRef>
  readonly lease: "granted" | "wait" | "none"
}

export interface HandedOver {
  readonly reign: Reign.Reign
  readonly closedMs: number
}

export class ClusterManager extends Context.Service<ClusterManager, {
  readonly view: Effect.Effect<ClusterView.ClusterView>
  /** The current view, then one after every change; a slow reader gets the newest, not each. */
  readonly views: Stream.Stream<ClusterView.ClusterView>
  /** This node runs the function version from now on. Asynchronous: the master is told by itself, again on every new
   * reign. */
  readonly register: (version: string) => Effect.Effect<void>
  readonly deregister: (version: string) => Effect.Effect<void>
  /** Answers within 50 ms, with `granted` when nobody did. */
  readonly locate: (version: string) => Effect.Effect<Located>
  /** Every 100 ms while this node starts the version it was granted. */
  readonly renewLease: (version: string) => Effect.Effect<void>
  /** The start failed (a successful start ends the lease by `register`). */
  readonly endLease: (version: string) => Effect.Effect<void>
  /** How many routing entries count in this node's table. */
  readonly routes: Effect.Effect<number>
  readonly routesOf: Effect.Effect<ReadonlyArray<{ readonly version: string; readonly nodes: ReadonlyArray<NodeRef> }>>
  /** The reign under which this node is master now. */
  readonly mastership: Effect.Effect<Reign.Reign, NotMaster>
  /** The reign under which a write may begin here now. While this master is closed for a handover it waits, so that a
   * write is late rather than refused. A write that has begun goes on; it asks `mastership` before it is shown. */
  readonly writable: Effect.Effect<Reign.Reign, NotMaster>
  /** Whether a write may begin here, without waiting. */
  readonly isOpen: Effect.Effect<boolean>
  /** Has the master, whichever node that is, hand over to this member; the new reign, and how long writes waited. */
  readonly handover: (to: MemberId) => Effect.Effect<HandedOver, HandoverRefused | NoMaster>
  /** Hands over if this node is master and somebody can take over (at most 2 s), and takes nothing over from now on. */
  readonly retire: Effect.Effect<void>
  /** A part of the node whose state a successor must have. */
  readonly takesPart: (part: Part) => Effect.Effect<void>
  /** R1 at the door of every control message: a lower reign is refused with the one known here, a higher is learned. */
  readonly admit: (reign: Reign.Reign) => Effect.Effect<void, LowerReign | Malformed>
  /** A reign heard elsewhere: a peer's hello, a refusal, a catalog. */
  readonly learn: (reign: Reign.Reign) => Effect.Effect<void>
  /** An epoch found elsewhere (the catalog on disk, a peer's hello): the next claim of this node is above it. */
  readonly observeEpoch: (epoch: number) => Effect.Effect<void>
  /** Runs `call` against the current master (which may be this node), again when it answers `NotMaster` or another takes
   * over by itself meanwhile (so `call` may be done twice), until the deadline (default 5 s). Other failures are the caller's, unless `retryOn` names them. */
  readonly masterCall: <A, E, R>(
    call: (master: NodeRef & { readonly reign: Reign.Reign }) => Effect.Effect<A, E, R>,
    options?: {
      readonly within?: Duration.Input | undefined
      readonly retryOn?: ((error: E) => boolean) | undefined
    }
  ) => Effect.Effect<A, Exclude<E, NotMaster> | NoMaster, R>
}>()("shoal/cluster/ClusterManager") {}

type Actor = ClusterActor.ClusterActor["Service"]

const masterTimeout = "5 seconds"
/** Pause before the master is looked for again. */
const retryInterval = "20 millis"
/** Versions whose home is remembered while this node starts them. */
const maxHomes = 16_384

const make = Effect.gen(function*() {
  const actor = yield* ClusterActor.ClusterActor
  /** who granted the lease of a version that is being started here */
  const homes = new Map<string, Run>()
  const remember = (version: string, home: Run | undefined) => {
    if (home === undefined) return
    homes.delete(version)
    homes.set(version, home)
    if (homes.size > maxHomes) { for (const oldest of homes.keys()) return void homes.delete(oldest) }
  }
  const toLocated = (version: string, found: Found): Located => {
    if (found._tag === "Known") return { nodes: found.nodes, lease: "none" }
    if (found._tag === "Wait") return { nodes: [found.holder], lease: "wait" }
    remember(version, found.home)
    return { nodes: [], lease: "granted" }
  }
  return ClusterManager.of({
    view: actor.view,
    views: actor.views,
    register: (version) =>
      Effect.andThen(
        Effect.sync(() => homes.delete(version)),
        actor.post({ _tag: "OwnChanged", version, live: true })
      ),
    deregister: (version) => actor.post({ _tag: "OwnChanged", version, live: false }),
    locate: (version) => Effect.map(locate(actor, version), (found) => toLocated(version, found)),
    renewLease: (version) => toHome(actor, homes.get(version), version, "renew"),
    endLease: (version) =>
      Effect.suspend(() => {
        const home = homes.get(version)
        homes.delete(version)
        return toHome(actor, home, version, "end")
      }),
    routes: readOr(actor, ClusterState.routes, 0),
    routesOf: readOr(actor, ClusterState.routesOf, []),
    mastership: mastership(actor),
    writable: writable(actor),
    isOpen: readOr(actor, (state) => Succession.isOpen(state.succession), false),
    handover: (to) => Effect.withSpan(handover(actor, to), "ClusterManager.handover", { attributes: { to } }),
    retire: Effect.withSpan(retire(actor), "ClusterManager.retire"),
    takesPart: actor.takesPart,
    admit: (reign) => admit(actor, reign),
    learn: (reign) => Reign.isValid(reign) ? learn(actor, reign) : Effect.void,
    observeEpoch: (epoch) => actor.post({ _tag: "EpochSeen", epoch }),
    masterCall: (call, options) => Effect.withSpan(masterCall(actor, call, options), "ClusterManager.masterCall")
  })
})

/** The manager over an actor that is already there (which `ClusterServer` needs too). */
export const layerActor: Layer.Layer<ClusterManager, never, ClusterActor.ClusterActor> = Layer.effect(
  ClusterManager,
  make
)

/** The manager with its actor. */
export const layer = (
  options: ClusterActor.Options
): Layer.Layer<
  ClusterManager | ClusterActor.ClusterActor,
  Store.StoreError,
  Membership | Peers.Peers | Store.Store
> => Layer.provideMerge(layerActor, ClusterActor.layer(options))

const readOr = <A>(actor: Actor, f: (state: ClusterState.ClusterState) => A, otherwise: A): Effect.Effect<A> =>
  Effect.catchTag(actor.read(f), "Busy", () => Effect.succeed(otherwise))

// ---- look-ups

const granted: Found = { _tag: "Granted", home: undefined }

const locate = (actor: Actor, version: string): Effect.Effect<Found> =>
  actor.ask({ _tag: "Locate", version }).pipe(
    Effect.flatMap((answer): Effect.Effect<Found> => {
      if (answer._tag !== "Located") return Effect.succeed(granted)
      const { where } = answer
      if (where._tag === "AskReplica") {
        const { live } = where
        return ClusterServer.within(
          ClusterServer.firstOf(
            where.to,
            (to) => actor.calls.call(to, ClusterServer.callTimeout, (client) => client.ClusterQuery({ version, live })),
            () => Effect.succeed(granted)
          ),
          "50 millis"
        )
      }
      return ClusterServer.resolve(actor, version, actor.self, answer)
    }),
    Effect.catchTag("Busy", () => Effect.succeed(granted))
  )

/** Renews or ends a lease where it was granted; without a home there is none. */
const toHome = (actor: Actor, home: Run | undefined, version: string, what: "renew" | "end"): Effect.Effect<void> => {
  if (home === undefined) return Effect.void
  if (home.id === actor.self.id) {
    return what === "renew"
      ? Effect.ignore(actor.ask({ _tag: "LeaseRenewed", from: actor.self, version }))
      : actor.post({ _tag: "LeaseEnded", from: actor.self, version })
  }
  return Effect.ignore(
    actor.calls.call(
      home,
      "200 millis",
      (client) => what === "renew" ? Effect.asVoid(client.ClusterRenew({ version })) : client.ClusterEnd({ version })
    )
  )
}

// ---- reigns

const known = (actor: Actor): Effect.Effect<Reign.Reign | undefined> =>
  readOr(actor, (state) => state.election.reign, undefined)

const learn = (actor: Actor, reign: Reign.Reign): Effect.Effect<void> =>
  actor.post({ _tag: "ReignHeard", reign, from: undefined })

const mastership = (actor: Actor): Effect.Effect<Reign.Reign, NotMaster> =>
  Effect.flatMap(
    Effect.catchTag(
      actor.read((state) => ({ reign: state.election.reign, master: ElectionState.isMaster(state.election) })),
      "Busy",
      () => Effect.succeed({ reign: undefined, master: false })
    ),
    ({ master, reign }) => master && reign !== undefined ? Effect.succeed(reign) : Effect.fail(new NotMaster({ reign }))
  )

const writable = (actor: Actor): Effect.Effect<Reign.Reign, NotMaster> =>
  Effect.flatMap(
    Effect.catchTag(
      actor.ask({ _tag: "WriteAsked" }),
      "Busy",
      () => Effect.succeed({ _tag: "NotMaster" as const, reign: undefined })
    ),
    (answer) =>
      answer._tag === "Writable"
        ? Effect.succeed(answer.reign)
        : Effect.fail(new NotMaster({ reign: answer._tag === "NotMaster" ? answer.reign : undefined }))
  )

/** Longer than the longest attempt, which its own deadlines end. */
const handoverTimeout = "15 seconds"

const handover = (
  actor: Actor,
  to: MemberId
): Effect.Effect<HandedOver, HandoverRefused | NoMaster> =>
  masterCall(
    actor,
    (master) =>
      master.id === actor.self.id
        ? ClusterServer.transfer(actor, to)
        : actor.calls.call(master, handoverTimeout, (client) => client.ClusterTransfer({ to })),
    { within: handoverTimeout, retryOn: (error) => error._tag === "Busy" }
  ).pipe(
    Effect.catchTags({
      Busy: () => Effect.flatMap(known(actor), (reign) => Effect.fail(new NoMaster({ reign }))),
      Unavailable: () => Effect.flatMap(known(actor), (reign) => Effect.fail(new NoMaster({ reign })))
    })
  )

const retireTimeout = "2 seconds"

/** Whoever would succeed first; one that refuses may be about to leave too. */
const retire = (actor: Actor): Effect.Effect<void> =>
  Effect.gen(function*() {
    yield* actor.post({ _tag: "Retiring" })
    const candidates = yield* actor.read((state) =>
      state.topology.active.filter((node) =>
        node.eligible && node.member.status === "alive" && node.id !== actor.self.id
      )
    )
    for (const { id } of candidates.slice(0, maxSuccessors)) {
      const role = (yield* actor.view).role
      if (role !== "master") return
      const done = yield* Effect.result(ClusterServer.transfer(actor, id))
      if (Result.isSuccess(done)) return
    }
  }).pipe(
    // it is called where a node ends, which is uninterruptible
    Effect.interruptible,
    Effect.timeoutOption(retireTimeout),
    Effect.ignore
  )

const maxSuccessors = 3

const admit = (actor: Actor, reign: Reign.Reign): Effect.Effect<void, LowerReign | Malformed> =>
  Effect.gen(function*() {
    if (!Reign.isValid(reign)) return yield* new Malformed({ field: "reign" })
    const own = yield* known(actor)
    if (own !== undefined && Reign.isLower(reign, own)) return yield* new LowerReign({ reign: own })
    if (Reign.equals(own, reign)) return
    yield* learn(actor, reign)
    const after = yield* known(actor)
    // it was heard but is not obeyed: the own master lives
    if (after !== undefined && !Reign.equals(after, reign)) return yield* new LowerReign({ reign: after })
  })

const isNotMaster = Schema.is(NotMaster)

type Target = NodeRef & { readonly reign: Reign.Reign }

/** The master as this node sees it, once there is one that is alive or suspect. */
const findMaster = (actor: Actor): Effect.Effect<Target> =>
  Effect.flatMap(actor.view, (view) => {
    const master = ClusterView.master(view)
    return master === undefined || view.reign === undefined
      ? Effect.andThen(Effect.sleep(retryInterval), findMaster(actor))
      : Effect.succeed({ id: master.id, bootId: master.bootId, reign: view.reign })
  })

/** Completes when another reign is obeyed than before, or it is time to try again. */
const nextReign = (actor: Actor, former: Reign.Reign): Effect.Effect<void> =>
  actor.views.pipe(
    Stream.filter((view) => !Reign.equals(view.reign, former)),
    Stream.take(1),
    Stream.runDrain,
    Effect.timeoutOption(retryInterval),
    Effect.asVoid
  )

/** Fails when another took over from this master by itself: a master that stopped never answers. After a handover the old
 * master still does. */
const superseded = (actor: Actor, master: Target): Effect.Effect<never, NotMaster> =>
  actor.views.pipe(
    Stream.filter(({ reign }) =>
      reign !== undefined && reign.kind !== "granted" && Reign.isLower(master.reign, reign) &&
      !Reign.isHeldBy(reign, master)
    ),
    Stream.take(1),
    Stream.runDrain,
    Effect.andThen(Effect.fail(new NotMaster({ reign: undefined })))
  )

/** Leaves the effect to itself when interrupted: giving up a call may take as long as its connection is stuck. */
const unattended = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(
    Effect.forkDetach(effect),
    (fiber) => Effect.onInterrupt(Fiber.join(fiber), () => Effect.sync(() => fiber.interruptUnsafe()))
  )

const masterCall = <A, E, R>(
  actor: Actor,
  call: (master: Target) => Effect.Effect<A, E, R>,
  options?: {
    readonly within?: Duration.Input | undefined
    readonly retryOn?: ((error: E) => boolean) | undefined
  }
): Effect.Effect<A, Exclude<E, NotMaster> | NoMaster, R> => {
  const again = (former: Reign.Reign, after: Effect.Effect<void>) =>
    Effect.andThen(after, Effect.andThen(nextReign(actor, former), attempt))
  const attended = (master: Target) =>
    master.id === actor.self.id
      ? call(master)
      : Effect.raceFirst(unattended(call(master)), superseded(actor, master))
  const attempt: Effect.Effect<A, Exclude<E, NotMaster>, R> = Effect.suspend(() =>
    Effect.flatMap(
      findMaster(actor),
      (master) =>
        Effect.catch(attended(master), (error): Effect.Effect<A, Exclude<E, NotMaster>, R> => {
          if (isNotMaster(error)) {
            return again(
              master.reign,
              error.reign === undefined || !Reign.isValid(error.reign) ? Effect.void : learn(actor, error.reign)
            )
          }
          return options?.retryOn?.(error) === true
            ? again(master.reign, Effect.void)
            : Effect.fail(error as Exclude<E, NotMaster>)
        })
    )
  )
  return Effect.timeoutOrElse(attempt, {
    duration: options?.within ?? masterTimeout,
    orElse: () => Effect.flatMap(known(actor), (reign) => Effect.fail(new NoMaster({ reign })))
  })
}
