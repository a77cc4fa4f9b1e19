/** What goes into the machine of a handover and what comes out of it, as data.
 *
 * PURE. Boundary: types only; `Handover` steps, `Succession` feeds and carries out. */
import type { Message, Need } from "./HandoverMessage.ts"
import type * as Reign from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"

export type Event =
  /** this master is to hand over to this member, which the caller found fit */
  | { readonly _tag: "Start"; readonly target: Run; readonly need: Need }
  /** asked for, or (at the target) because it gave its word to another */
  | { readonly _tag: "Cancel"; readonly reason: string }
  | { readonly _tag: "Received"; readonly from: Run; readonly message: Message }
  /** the target's parts have what was asked for, or cannot get it */
  | { readonly _tag: "Loaded"; readonly attempt: number; readonly sealed: boolean }
  | { readonly _tag: "LoadFailed"; readonly attempt: number; readonly reason: string }
  /** the epoch of the grant is on disk */
  | { readonly _tag: "Reserved"; readonly attempt: number; readonly epoch: number; readonly ok: boolean }
  /** no write is in flight at the closed master any more */
  | { readonly _tag: "Drained"; readonly attempt: number; readonly need: Need }
  /** this run of a member is dead, left, or was followed by another */
  | { readonly _tag: "Gone"; readonly run: Run }
  /** time passed, or the reign changed */
  | { readonly _tag: "Settle" }

export interface Context {
  readonly now: number
  /** the reign that this node obeys */
  readonly reign: Reign.Reign | undefined
  /** the start of the members that may be granted a reign */
  readonly startOf: (run: Run) => number | undefined
}

export type Outcome =
  | { readonly _tag: "Done"; readonly reign: Reign.Reign }
  | { readonly _tag: "Aborted"; readonly reason: string }

export type Output =
  | { readonly _tag: "Send"; readonly to: Run; readonly message: Message }
  /** Get what is needed from this master; answer `Loaded` or `LoadFailed`. */
  | {
    readonly _tag: "Load"
    readonly from: Run
    readonly attempt: number
    readonly sealed: boolean
    readonly need: Need
  }
  /** Write down an epoch above all that is known; answer `Reserved`. */
  | { readonly _tag: "Reserve"; readonly attempt: number }
  /** Let no write begin, and finish those that have; answer `Drained`. */
  | { readonly _tag: "Close"; readonly attempt: number }
  /** Writes may begin again, here or (when the reign is another's by now) there. */
  | { readonly _tag: "Open" }
  | { readonly _tag: "Obey"; readonly reign: Reign.Reign }
  /** Claim a reign above this epoch. */
  | { readonly _tag: "Reclaim"; readonly above: number }
  /** How the attempt of this master ended. */
  | { readonly _tag: "Ended"; readonly attempt: number; readonly outcome: Outcome }
