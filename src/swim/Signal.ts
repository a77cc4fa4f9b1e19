/** What goes into the protocol machine and what comes out of it.
 *
 * PURE. Boundary: types only. `now` is monotonic milliseconds; wall time appears only in `startedAt`. */
import type * as Member from "./Member.ts"
import type * as Message from "./Message.ts"

export type Command =
  /** Contacts the seeds for ever, or for so many milliseconds. */
  | { readonly _tag: "Join"; readonly seeds: ReadonlyArray<Member.Address>; readonly limit?: number }
  | { readonly _tag: "Leave" }
  | { readonly _tag: "SetMeta"; readonly meta: Uint8Array }
  | { readonly _tag: "SetItem"; readonly key: string; readonly value: Uint8Array }
  /** To all. Refused (`Rejected`) when it is too large or the queue is full. */
  | {
    readonly _tag: "Broadcast"
    readonly kind: string
    readonly key: string
    readonly payload: Uint8Array
    readonly urgent?: boolean | undefined
    readonly invalidates?: ReadonlyArray<string> | undefined
  }
  /** To one member; ends with the event `Sent` of the same token. */
  | {
    readonly _tag: "Send"
    readonly to: Member.MemberId
    readonly token: number
    readonly kind: string
    readonly payload: Uint8Array
  }
  /** Members saved by an earlier run, with their ages; never raises anything above what is known. */
  | { readonly _tag: "Restore"; readonly states: ReadonlyArray<Message.State> }

export type Input =
  | {
    readonly _tag: "Received"
    readonly now: number
    readonly from: Member.Address
    readonly messages: ReadonlyArray<Message.Message>
  }
  /** One poll turn without a datagram: everything received has been given to `step`. */
  | { readonly _tag: "Drained"; readonly now: number }
  | { readonly _tag: "TimerFired"; readonly now: number }
  /** Accepted streams bear odd numbers chosen by the shell, the machine's own are even. */
  | {
    readonly _tag: "StreamOpened"
    readonly now: number
    readonly stream: number
    readonly remote: Member.Address
    readonly initiator: boolean
  }
  | {
    readonly _tag: "StreamReceived"
    readonly now: number
    readonly stream: number
    readonly messages: ReadonlyArray<Message.Message>
  }
  /** The stream is over in both directions; also the answer to an `OpenStream` that failed. */
  | { readonly _tag: "StreamClosed"; readonly now: number; readonly stream: number; readonly error?: string }
  | { readonly _tag: "Command"; readonly now: number; readonly command: Command }

export type Event =
  | { readonly _tag: "Joined"; readonly member: Member.Member }
  /** Metadata, address or start time changed. */
  | { readonly _tag: "Updated"; readonly member: Member.Member }
  | { readonly _tag: "Suspected"; readonly member: Member.Member }
  /** Suspect before, alive again by its own word. (A dead or left one that comes back is `Joined`.) */
  | { readonly _tag: "Refuted"; readonly member: Member.Member }
  | { readonly _tag: "Failed"; readonly member: Member.Member }
  | { readonly _tag: "Left"; readonly member: Member.Member }
  /** Another run bears the name now. */
  | { readonly _tag: "Replaced"; readonly member: Member.Member; readonly previous: Member.Member }
  | { readonly _tag: "ItemChanged"; readonly key: string; readonly value: Uint8Array }
  | { readonly _tag: "Delivered"; readonly broadcast: Message.Broadcast }
  /** A message to us alone. */
  | { readonly _tag: "Received"; readonly message: Message.Direct }
  /** A message of ours was acknowledged, or given up. */
  | { readonly _tag: "Sent"; readonly token: number; readonly error?: string }
  /** An older node elsewhere bears our name. */
  | { readonly _tag: "NameConflict"; readonly other: Member.Member }
  | { readonly _tag: "LeaveDone"; readonly acknowledged: number }
  /** The first contact with the cluster. */
  | { readonly _tag: "JoinDone"; readonly contacted: number }
  | { readonly _tag: "JoinRetry"; readonly seed: Member.Address; readonly error: string }

export type Output =
  /** One datagram, never above the budget (M6). */
  | { readonly _tag: "Send"; readonly to: Member.Address; readonly messages: ReadonlyArray<Message.Message> }
  /** The one wake-up of the whole machine; replaces the previous one. */
  | { readonly _tag: "SetTimer"; readonly at: number }
  | { readonly _tag: "OpenStream"; readonly stream: number; readonly to: Member.Address }
  | {
    readonly _tag: "StreamSend"
    readonly stream: number
    readonly messages: ReadonlyArray<Message.Message>
    readonly end: boolean
  }
  | { readonly _tag: "CloseStream"; readonly stream: number }
  | { readonly _tag: "Notify"; readonly event: Event }
  | { readonly _tag: "Rejected"; readonly reason: string; readonly from?: Member.Address }
