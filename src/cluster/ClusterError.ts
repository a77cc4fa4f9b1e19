/** The errors of the control plane that cross nodes or reach callers.
 *
 * Boundary: each carries what the other side needs to go on; no error here changes state. */
import * as Schema from "effect/Schema"
import * as Reign from "./Reign.ts"

/** The node asked is not master. Fault: the caller's view is older (or newer) than the callee's. State: unchanged.
 * Retry: at the holder of the reign it carries, if that is higher than the caller's. */
export class NotMaster extends Schema.TaggedError<NotMaster>()("NotMaster", {
  reign: Schema.UndefinedOr(Reign.Wire)
}) {}

/** The message was sent under a lower reign than the callee knows. Fault: the sender is fenced. State: unchanged.
 * Retry: after obeying the reign it carries. */
export class LowerReign extends Schema.TaggedError<LowerReign>()("LowerReign", {
  reign: Reign.Wire
}) {}

/** A field is out of its range (such as an epoch of 2^48). Fault: the sender's. State: unchanged. Retry: useless. */
export class Malformed extends Schema.TaggedError<Malformed>()("Malformed", {
  field: Schema.String
}) {}

/** No master could be reached in time. Fault: nobody's, there is none at the moment. State: unknown when a call was on
 * its way, else unchanged. Retry: safe for idempotent calls. */
export class NoMaster extends Schema.TaggedError<NoMaster>()("NoMaster", {
  reign: Schema.UndefinedOr(Reign.Wire)
}) {}

/** No handover took place, or it was given up. Fault: the choice of the target, or (`aborted`, `busy`) the moment. State:
 * unchanged, the master goes on. Retry: safe. */
export class HandoverRefused extends Schema.TaggedError<HandoverRefused>()("HandoverRefused", {
  reason: Schema.Literals(["not-a-member", "not-alive", "not-eligible", "already-master", "busy", "aborted"]),
  detail: Schema.String
}) {
  override get message(): string {
    return this.detail
  }
}

/** The manager's mailbox is full. Fault: overload. State: unchanged. Retry: later. */
export class Busy extends Schema.TaggedError<Busy>()("Busy", {}) {}
