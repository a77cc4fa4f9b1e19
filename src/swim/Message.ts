/** Everything members say to each other, as one tagged union of check-free schemas.
 *
 * PURE. Boundary: shapes only. Bytes are `wire`'s business, ranges are checked there after decoding (`Codec`),
 * meaning is given by `Swim`. Ask, Who, Sync*, LeftAck, broadcasts and direct messages are extensions: a receiver may drop
 * them and the protocol stays correct. */
import * as Schema from "effect/Schema"
import { MemberIdSchema, StatusSchema } from "./Member.ts"

// Check-free on purpose: a check would halve the codec's speed; the codec looks at ranges after decoding.
/* oxlint-disable effecttsgo/schema-number */
const Whole = Schema.Number
const Address = Schema.Struct({ host: Schema.String, port: Whole })

/** Are you there? `target` guards against another node at a reused address. `digest` is of the sender's table: two
 * members that differ for longer than news take compare their tables. */
export const Ping = Schema.TaggedStruct("Ping", {
  seq: Whole,
  target: MemberIdSchema,
  from: MemberIdSchema,
  bootId: Whole,
  digest: Whole
})

/** Please ping `target` for me; `left` is the time in milliseconds until I judge. */
export const PingReq = Schema.TaggedStruct("PingReq", {
  seq: Whole,
  target: MemberIdSchema,
  address: Address,
  from: MemberIdSchema,
  left: Whole
})

export const Ack = Schema.TaggedStruct("Ack", { seq: Whole, digest: Whole })

/** From a relay: I am well, but the target has not answered me yet. */
export const Nack = Schema.TaggedStruct("Nack", { seq: Whole })

export const Alive = Schema.TaggedStruct("Alive", {
  id: MemberIdSchema,
  bootId: Whole,
  startedAt: Whole,
  address: Address,
  incarnation: Whole,
  meta: Schema.Uint8Array
})

export const Suspect = Schema.TaggedStruct("Suspect", {
  id: MemberIdSchema,
  bootId: Whole,
  incarnation: Whole,
  from: MemberIdSchema
})

export const Dead = Schema.TaggedStruct("Dead", {
  id: MemberIdSchema,
  bootId: Whole,
  incarnation: Whole,
  from: MemberIdSchema
})

export const Left = Schema.TaggedStruct("Left", {
  id: MemberIdSchema,
  bootId: Whole,
  incarnation: Whole
})

/** I have heard that you leave. */
export const LeftAck = Schema.TaggedStruct("LeftAck", { bootId: Whole, from: MemberIdSchema })

/** I am about to declare this member dead: do you know anything newer about it? */
export const Ask = Schema.TaggedStruct("Ask", {
  id: MemberIdSchema,
  bootId: Whole,
  incarnation: Whole,
  from: MemberIdSchema
})

/** I do not know you, or know another run of your name: say who you are. */
export const Who = Schema.TaggedStruct("Who", {})

/** A keyed gossip value; the lexicographically higher one replaces the lower one. */
export const Item = Schema.TaggedStruct("Item", { key: Schema.String, value: Schema.Uint8Array })

/** A user broadcast; `seq` counts per origin, run and `lane` (0, or 1 for urgent ones). */
export const Broadcast = Schema.TaggedStruct("Broadcast", {
  origin: MemberIdSchema,
  bootId: Whole,
  lane: Whole,
  seq: Whole,
  kind: Schema.String,
  key: Schema.String,
  payload: Schema.Uint8Array
})

/** These numbers of a lane were made pointless by newer ones: `seq` to `until`, exclusive. */
export const Skip = Schema.TaggedStruct("Skip", {
  origin: MemberIdSchema,
  bootId: Whole,
  lane: Whole,
  seq: Whole,
  until: Whole
})

/** I miss broadcasts from `low` on, except those whose bit is set in `have`. */
export const Want = Schema.TaggedStruct("Want", {
  from: MemberIdSchema,
  origin: MemberIdSchema,
  bootId: Whole,
  lane: Whole,
  low: Whole,
  have: Schema.Uint8Array
})

/** I know of this lane up to `head`, exclusive, and may have nothing below `low` any more. */
export const Have = Schema.TaggedStruct("Have", {
  from: MemberIdSchema,
  origin: MemberIdSchema,
  bootId: Whole,
  lane: Whole,
  low: Whole,
  head: Whole
})

/** A user message to one run of one member; nothing below `base` is waited for any more. */
export const Direct = Schema.TaggedStruct("Direct", {
  from: MemberIdSchema,
  bootId: Whole,
  to: MemberIdSchema,
  toBoot: Whole,
  seq: Whole,
  base: Whole,
  kind: Schema.String,
  payload: Schema.Uint8Array
})

/** I have got your message; `bootId` is the sender's run. */
export const DirectAck = Schema.TaggedStruct("DirectAck", { from: MemberIdSchema, bootId: Whole, seq: Whole })

/** Opens an exchange over a stream: `hash` covers the whole table; a joiner has nothing and wants everything. */
export const SyncDigest = Schema.TaggedStruct("SyncDigest", {
  from: MemberIdSchema,
  bootId: Whole,
  join: Schema.Boolean,
  count: Whole,
  hash: Whole
})

/** The answer: who I am and one hash per bucket of names; none when both tables are equal. */
export const SyncBuckets = Schema.TaggedStruct("SyncBuckets", {
  from: MemberIdSchema,
  bootId: Whole,
  hashes: Schema.Uint8Array
})

/** The buckets that differ, as a bit set; the states of those buckets follow from both sides. */
export const SyncWant = Schema.TaggedStruct("SyncWant", { buckets: Schema.Uint8Array, count: Whole })

/** One entry of a table in an exchange; `age` is how long it has had this status, in milliseconds. */
export const State = Schema.TaggedStruct("State", {
  id: MemberIdSchema,
  bootId: Whole,
  startedAt: Whole,
  address: Address,
  incarnation: Whole,
  status: StatusSchema,
  age: Whole,
  meta: Schema.Uint8Array
})

/** No more states follow from this side. */
export const SyncEnd = Schema.TaggedStruct("SyncEnd", {})

export const Message = Schema.Union([
  Ping,
  PingReq,
  Ack,
  Nack,
  Alive,
  Suspect,
  Dead,
  Left,
  LeftAck,
  Ask,
  Who,
  Item,
  Broadcast,
  SyncDigest,
  SyncBuckets,
  SyncWant,
  State,
  SyncEnd,
  Skip,
  Want,
  Have,
  Direct,
  DirectAck
])
export type Message = typeof Message.Type

export type Ping = typeof Ping.Type
export type PingReq = typeof PingReq.Type
export type Alive = typeof Alive.Type
export type Suspect = typeof Suspect.Type
export type Dead = typeof Dead.Type
export type Left = typeof Left.Type
export type Ask = typeof Ask.Type
export type Item = typeof Item.Type
export type Broadcast = typeof Broadcast.Type
export type Skip = typeof Skip.Type
export type Want = typeof Want.Type
export type Have = typeof Have.Type
export type Direct = typeof Direct.Type
export type DirectAck = typeof DirectAck.Type
export type State = typeof State.Type
export type SyncDigest = typeof SyncDigest.Type

export const maxItemBytes = 96
export const maxKeyBytes = 64
