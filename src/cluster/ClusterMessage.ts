/** What goes into the control plane's state machine and what comes out of it, as data.
 *
 * PURE. Every input carries the time (`now`, monotonic milliseconds). `Run` names one run of one member: whoever speaks
 * is known with its boot id, so that a restarted member is never taken for its former self. An `ask` is the caller's
 * ticket: its answer comes out as `Reply` with the same number.
 * Boundary: types only; `ClusterState` steps, `ClusterManager` feeds and carries out. */
import type { Member, MemberId } from "../swim/Member.ts"
import type { Message, Need } from "./HandoverMessage.ts"
import type { Reign } from "./Reign.ts"
import type { Entry, Run } from "./RoutingTable.ts"

/** A witness's word on a claim. `hearing`: it still hears its master. `refused`: the claim's epoch is too low here. */
export type Support = "supported" | "hearing" | "refused" | "unreachable"

/** Where to go on with a look-up: `to` names the nodes to ask, each one only when those before it fail. */
export type Where =
  | { readonly _tag: "Known"; readonly nodes: ReadonlyArray<Run> }
  | { readonly _tag: "AskReplica"; readonly to: ReadonlyArray<Run>; readonly live: number }
  | { readonly _tag: "AskHome"; readonly to: ReadonlyArray<Run> }
  | { readonly _tag: "Granted" }
  | { readonly _tag: "Wait"; readonly holder: Run }

/** Why no handover took place, or why it was given up. */
export interface Refused {
  readonly reason: "not-a-member" | "not-alive" | "not-eligible" | "already-master" | "busy" | "aborted"
  readonly detail: string
}

export type Answer =
  | { readonly _tag: "Supported"; readonly support: Support; readonly reign: Reign | undefined }
  | { readonly _tag: "Registered"; readonly live: number }
  | { readonly _tag: "Subscribed"; readonly sequence: number; readonly entries: ReadonlyArray<Entry> }
  | { readonly _tag: "Located"; readonly where: Where }
  | { readonly _tag: "Renewed"; readonly held: boolean }
  | { readonly _tag: "Acknowledged"; readonly reign: Reign | undefined }
  /** a write may begin under this reign */
  | { readonly _tag: "Writable"; readonly reign: Reign }
  | {
    readonly _tag: "HandoverEnded"
    /** the one that was granted */
    readonly reign: Reign | undefined
    /** milliseconds for which writes waited */
    readonly closedMs: number
    readonly refused: Refused | undefined
  }
  | { readonly _tag: "NotMaster"; readonly reign: Reign | undefined }
  | { readonly _tag: "LowerReign"; readonly reign: Reign }

/** One sequenced change of the master's table, or (with nothing in it) its digest. */
export interface Delta {
  readonly reign: Reign
  readonly sequence: number
  readonly entries: ReadonlyArray<Entry>
  readonly erased: ReadonlyArray<Run>
  /** of the master's table after this change */
  readonly size: number
  readonly hash: number
}

export type Input =
  | { readonly _tag: "TimerFired"; readonly now: number }
  | { readonly _tag: "Members"; readonly now: number; readonly members: ReadonlyArray<Member> }
  | { readonly _tag: "MemberChanged"; readonly now: number; readonly member: Member }
  | { readonly _tag: "Contacted"; readonly now: number }
  | { readonly _tag: "EpochSeen"; readonly now: number; readonly epoch: number }
  /** `from` is set when a peer said so itself, not when gossip or a disk did */
  | { readonly _tag: "ReignHeard"; readonly now: number; readonly reign: Reign; readonly from: Run | undefined }
  | {
    readonly _tag: "Contested"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly reign: Reign
  }
  | { readonly _tag: "Persisted"; readonly now: number; readonly epoch: number; readonly ok: boolean }
  | {
    readonly _tag: "BeatReceived"
    readonly now: number
    readonly from: Run
    readonly reign: Reign
    readonly witnesses: ReadonlyArray<MemberId>
  }
  | { readonly _tag: "WatchEnded"; readonly now: number; readonly target: Run; readonly refused: boolean }
  | {
    readonly _tag: "VerdictReceived"
    readonly now: number
    readonly from: Run
    readonly reign: Reign
    readonly lost: boolean
  }
  | {
    readonly _tag: "SupportAsked"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly claim: Reign
  }
  | {
    readonly _tag: "SupportAnswered"
    readonly now: number
    readonly from: Run
    readonly epoch: number
    readonly support: Support
    readonly reign: Reign | undefined
  }
  | { readonly _tag: "OwnChanged"; readonly now: number; readonly version: string; readonly live: boolean }
  | { readonly _tag: "Reregister"; readonly now: number; readonly from: Run; readonly reign: Reign }
  | {
    readonly _tag: "RegisterReceived"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly reign: Reign | undefined
    readonly entries: ReadonlyArray<Entry>
  }
  | {
    readonly _tag: "RegisterAnswered"
    readonly now: number
    readonly to: Run
    /** the live entries the master has of this node; undefined when the call failed */
    readonly live: number | undefined
  }
  | {
    readonly _tag: "SubscribeAsked"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly reign: Reign
  }
  | {
    readonly _tag: "SnapshotReceived"
    readonly now: number
    readonly from: Run
    readonly reign: Reign
    readonly sequence: number
    readonly entries: ReadonlyArray<Entry>
    /** a snapshot comes in chunks; only the last completes it */
    readonly last: boolean
  }
  | { readonly _tag: "DeltaReceived"; readonly now: number; readonly from: Run; readonly delta: Delta }
  | { readonly _tag: "FollowEnded"; readonly now: number; readonly target: Run }
  | { readonly _tag: "Locate"; readonly now: number; readonly ask: number; readonly version: string }
  | {
    readonly _tag: "Query"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly version: string
    /** how many live entries the asker has told of */
    readonly live: number
  }
  | {
    readonly _tag: "LeaseAsked"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly version: string
  }
  | {
    readonly _tag: "LeaseRenewed"
    readonly now: number
    readonly ask: number
    readonly from: Run
    readonly version: string
  }
  | { readonly _tag: "LeaseEnded"; readonly now: number; readonly from: Run; readonly version: string }
  /** may a write begin here? answered when a handover under way is decided */
  | { readonly _tag: "WriteAsked"; readonly now: number; readonly ask: number }
  | { readonly _tag: "HandoverAsked"; readonly now: number; readonly ask: number; readonly to: MemberId }
  | { readonly _tag: "HandoverReceived"; readonly now: number; readonly from: Run; readonly message: Message }
  /** nobody, or another, listens where this run of a member did: its process is gone */
  | { readonly _tag: "HandoverLost"; readonly now: number; readonly run: Run }
  /** the last writes of the other parts have finished */
  | { readonly _tag: "PartsClosed"; readonly now: number; readonly attempt: number; readonly marks: Need["marks"] }
  | {
    readonly _tag: "PartsLoaded"
    readonly now: number
    readonly attempt: number
    readonly sealed: boolean
    /** undefined when all have what they need */
    readonly failure: string | undefined
  }
  /** this node is about to leave */
  | { readonly _tag: "Retiring"; readonly now: number }

export type Output =
  /** One wake-up for the whole state; it replaces the one before. */
  | { readonly _tag: "SetTimer"; readonly at: number }
  | { readonly _tag: "ViewChanged" }
  | { readonly _tag: "Log"; readonly message: string; readonly fields: Readonly<Record<string, string | number>> }
  /** Write what must survive a restart; a `claim` waits for it and goes on with `Persisted`. */
  | {
    readonly _tag: "Persist"
    readonly floor: number
    readonly reign: Reign | undefined
    readonly claim: number | undefined
  }
  /** Hand the reign to gossip. */
  | { readonly _tag: "SetItem"; readonly reign: Reign }
  | { readonly _tag: "Announce"; readonly to: ReadonlyArray<Run>; readonly reign: Reign }
  | { readonly _tag: "Contest"; readonly to: Run; readonly reign: Reign }
  /** Hold a heartbeat with this master, or with nobody. */
  | { readonly _tag: "Watch"; readonly target: Run | undefined; readonly reign: Reign | undefined }
  | { readonly _tag: "Beat"; readonly reign: Reign; readonly witnesses: ReadonlyArray<MemberId> }
  | { readonly _tag: "SendVerdict"; readonly to: ReadonlyArray<Run>; readonly reign: Reign; readonly lost: boolean }
  /** Make sure that the way to these nodes is open and has been used, for the moment in which it has to be fast. */
  | { readonly _tag: "Greet"; readonly to: ReadonlyArray<Run>; readonly reign: Reign }
  | { readonly _tag: "AskSupport"; readonly to: ReadonlyArray<Run>; readonly claim: Reign }
  | {
    readonly _tag: "SendRegister"
    readonly to: Run
    readonly reign: Reign
    readonly entries: ReadonlyArray<Entry>
  }
  | { readonly _tag: "SendReregister"; readonly to: Run; readonly reign: Reign }
  | { readonly _tag: "Publish"; readonly delta: Delta }
  /** Subscribe to this master's table (anew, when it is the same), or to none. */
  | { readonly _tag: "Follow"; readonly target: Run | undefined; readonly reign: Reign | undefined }
  | { readonly _tag: "SendHandover"; readonly to: Run; readonly message: Message }
  /** Let the other parts finish their writes and tell their marks. */
  | { readonly _tag: "CloseParts"; readonly attempt: number }
  /** Have the other parts get what this master has; the marks are known when it is closed. */
  | {
    readonly _tag: "LoadParts"
    readonly from: Run
    readonly attempt: number
    readonly sealed: boolean
    readonly marks: Need["marks"]
  }
  | { readonly _tag: "Reply"; readonly ask: number; readonly answer: Answer }
  /** Input that was refused or ignored, to be counted. */
  | { readonly _tag: "Rejected"; readonly reason: string }
