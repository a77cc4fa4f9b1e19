/** The control plane of one node: one actor that owns the pure `ClusterState`.
 *
 * Job: membership changes, heartbeats, registrations, look-ups and claims reach it as messages of one bounded mailbox;
 * it steps the state and carries out the outputs. It is supervised: a defect restarts it with its state rebuilt.
 * Boundary: every decision is in `ClusterState` and the pure modules below it. Invariants: R1, R2, R5. */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { BootId, MemberId } from "../swim/Member.ts"
import type { LowerReign, NoMaster, NotMaster } from "./ClusterError.ts"
import type { ClusterView } from "./ClusterView.ts"
import type { Reign } from "./Reign.ts"

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

export class ClusterManager extends Context.Service<ClusterManager, {
  readonly view: Effect.Effect<ClusterView>
  /** The current view, then one after every change; a slow reader gets the newest, not each. */
  readonly views: Stream.Stream<ClusterView>
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
  readonly mastership: Effect.Effect<Reign, NotMaster>
  /** R1 at the door of every control message: a lower reign is refused with the one known here, a higher is learned. */
  readonly admit: (reign: Reign) => Effect.Effect<void, LowerReign>
  /** A reign heard elsewhere: a peer's hello, a refusal, a catalog. */
  readonly learn: (reign: Reign) => Effect.Effect<void>
  /** An epoch found elsewhere (the catalog on disk, a peer's hello): the next claim of this node is above it. */
  readonly observeEpoch: (epoch: number) => Effect.Effect<void>
  /** Runs `call` against the current master (which may be this node), again when it answers `NotMaster` or a new reign
   * arrives, until the deadline (default 5 s). Other failures are the caller's, unless `retryOn` names them. */
  readonly masterCall: <A, E, R>(
    call: (master: NodeRef & { readonly reign: Reign }) => Effect.Effect<A, E, R>,
    options?: {
      readonly within?: Duration.Input | undefined
      readonly retryOn?: ((error: E) => boolean) | undefined
    }
  ) => Effect.Effect<A, Exclude<E, NotMaster> | NoMaster, R>
}>()("shoal/cluster/ClusterManager") {}
