/** What two nodes say to each other about a handover, frozen: releases hand over to each other by it.
 *
 * PURE. Boundary: what a message does is `Handover`'s. Fields are only added, as optional ones; a fixture of every
 * message is compared byte for byte in the tests. */
import * as Schema from "effect/Schema"
import * as Reign from "./Reign.ts"

/* oxlint-disable effecttsgo/schema-number -- the receiver checks ranges, see `isValid` */

/** What the target must have: the routing table up to a change, and of every other part a state with this mark. */
export const Need = Schema.Struct({ sequence: Schema.Number, marks: Schema.Record(Schema.String, Schema.String) })
export type Need = typeof Need.Type

/** Every message names the reign under which the attempt runs, and the number of the attempt in it. */
const attempt = { reign: Reign.Wire, attempt: Schema.Number }

export const Message = Schema.Union([
  /** Load all of this and follow. */
  Schema.TaggedStruct("Prepare", { ...attempt, need: Need }),
  /** The old master is closed; this is the last of it. */
  Schema.TaggedStruct("Seal", { ...attempt, need: Need }),
  /** The target has it: of `Prepare`, or (`sealed`) of `Seal`. */
  Schema.TaggedStruct("Ready", { ...attempt, sealed: Schema.Boolean }),
  /** The grant makes the target master. */
  Schema.TaggedStruct("Commit", { ...attempt, grant: Reign.Wire }),
  /** The target reigns. */
  Schema.TaggedStruct("Accepted", attempt),
  /** From the old master: forget it. From the target: this attempt will never be obeyed. */
  Schema.TaggedStruct("Abort", { ...attempt, reason: Schema.String })
])
export type Message = typeof Message.Type
/* oxlint-enable effecttsgo/schema-number */

/** Whether everything in a message from the network is within its range. */
export const isValid = (message: Message): boolean => {
  if (!Reign.isValid(message.reign) || !Number.isSafeInteger(message.attempt) || message.attempt < 1) return false
  if (message._tag === "Commit") return Reign.isValid(message.grant)
  if (message._tag === "Abort") return message.reason.length <= maxReason
  if (message._tag !== "Prepare" && message._tag !== "Seal") return true
  const marks = Object.entries(message.need.marks)
  return Number.isSafeInteger(message.need.sequence) && message.need.sequence >= 0 && marks.length <= maxMarks &&
    marks.every(([part, mark]) => part.length <= maxMark && mark.length <= maxMark)
}

const maxReason = 300
const maxMarks = 16
const maxMark = 256
