/** What the control planes of two nodes say to each other, as Effect RPC on a control connection.
 *
 * Job: the calls, their payloads and their typed refusals. Who calls is known from the connection (`PeerServer.Caller`),
 * so no payload names its sender. Control messages carry the reign they are sent under; look-ups do not need one.
 * Boundary: what a call does is decided in `ClusterState`; `ClusterServer` translates. The schemas are part of the
 * protocol between releases: fields are only added, as optional ones; they are free of checks, ranges are checked by
 * the receiver. Invariants: R1. */
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSchema from "effect/rpc/RpcSchema"
import * as Schema from "effect/Schema"
import { MemberIdSchema } from "../swim/Member.ts"
import { Busy, HandoverRefused, Malformed, NotMaster } from "./ClusterError.ts"
import { Message as HandoverMessage } from "./HandoverMessage.ts"
import * as Reign from "./Reign.ts"

// checks halve the speed of the binary codec; the receiver checks ranges
/* oxlint-disable effecttsgo/schema-number */

/** One run of one member. */
export const Run = Schema.Struct({ id: MemberIdSchema, bootId: Schema.Number })

/** An entry of the caller's own. */
export const OwnEntry = Schema.Struct({ version: Schema.String, counter: Schema.Number, live: Schema.Boolean })

export const Entry = Schema.Struct({
  version: Schema.String,
  node: MemberIdSchema,
  bootId: Schema.Number,
  counter: Schema.Number,
  live: Schema.Boolean
})

export const Beat = Schema.Struct({ reign: Reign.Wire, witnesses: Schema.Array(MemberIdSchema) })

/** A part of the table (the last one completes the snapshot), or a change of it. */
export const Feed = Schema.Union([
  Schema.TaggedStruct("Snapshot", {
    reign: Reign.Wire,
    sequence: Schema.Number,
    entries: Schema.Array(Entry),
    last: Schema.Boolean
  }),
  Schema.TaggedStruct("Delta", {
    reign: Reign.Wire,
    sequence: Schema.Number,
    entries: Schema.Array(Entry),
    erased: Schema.Array(Run),
    size: Schema.Number,
    hash: Schema.Number
  })
])
export type Feed = typeof Feed.Type

/** The answer to a look-up; `home` is who granted a lease and wants to hear of its renewal. */
export const Found = Schema.Union([
  Schema.TaggedStruct("Known", { nodes: Schema.Array(Run) }),
  Schema.TaggedStruct("Granted", { home: Schema.UndefinedOr(Run) }),
  Schema.TaggedStruct("Wait", { holder: Run })
])
export type Found = typeof Found.Type

export class ClusterRpc extends RpcGroup.make(
  /** To the master, from its witnesses: beat every 100 ms while you are master. */
  Rpc.make("ClusterBeat", {
    payload: { reign: Reign.Wire },
    success: RpcSchema.Stream(Beat, Schema.Union([NotMaster, Malformed, Busy]))
  }),
  /** Between witnesses: I have lost (or found again) the holder of this reign. */
  Rpc.make("ClusterVerdict", {
    payload: { reign: Reign.Wire, lost: Schema.Boolean },
    error: Schema.Union([Malformed, Busy])
  }),
  /** From a master: this is the reign, mine or the one I obey from now on. Whoever obeys it says what it has. */
  Rpc.make("ClusterAnnounce", {
    payload: { reign: Reign.Wire },
    success: Schema.Struct({ marks: Schema.optionalKey(Schema.Record(Schema.String, Schema.String)) }),
    error: Schema.Union([Malformed, Busy])
  }),
  /** To the master: somebody claims this reign, and I do not obey because I hear you. Which one do you obey? */
  Rpc.make("ClusterContest", {
    payload: { reign: Reign.Wire },
    success: Schema.Struct({ reign: Schema.UndefinedOr(Reign.Wire) }),
    error: Schema.Union([Malformed, Busy])
  }),
  /** To everybody: do you support this claim? */
  Rpc.make("ClusterSupport", {
    payload: { claim: Reign.Wire },
    success: Schema.Struct({
      support: Schema.Literals(["supported", "hearing", "refused", "unreachable"]),
      reign: Schema.UndefinedOr(Reign.Wire)
    }),
    error: Schema.Union([Malformed, Busy])
  }),
  /** To the master: what runs on the caller. `live` is how many live entries the master has of it then. */
  Rpc.make("ClusterRegister", {
    payload: { reign: Reign.Wire, entries: Schema.Array(OwnEntry) },
    success: Schema.Struct({ live: Schema.Number }),
    error: Schema.Union([NotMaster, Malformed, Busy])
  }),
  /** From master or replica: your entries are missing here, register them all again. */
  Rpc.make("ClusterReregister", { payload: { reign: Reign.Wire }, error: Schema.Union([Malformed, Busy]) }),
  /** To the master, from a replica: the whole table in chunks, then its changes in order. */
  Rpc.make("ClusterSubscribe", {
    payload: { reign: Reign.Wire },
    success: RpcSchema.Stream(Feed, Schema.Union([NotMaster, Malformed, Busy]))
  }),
  /** To a replica or the master: where is it warm, or who may start it? `live` is how many entries the caller has told
   * the master of: a replica that knows none of them asks for them. */
  Rpc.make("ClusterQuery", {
    payload: { version: Schema.String, live: Schema.Number },
    success: Found,
    error: Busy
  }),
  /** To the home of the version: a start lease for `asker`. */
  Rpc.make("ClusterLease", { payload: { version: Schema.String, asker: Run }, success: Found, error: Busy }),
  Rpc.make("ClusterRenew", {
    payload: { version: Schema.String },
    success: Schema.Struct({ held: Schema.Boolean }),
    error: Busy
  }),
  /** Between a master and the one it hands over to, in both directions. */
  Rpc.make("ClusterHandover", { payload: { message: HandoverMessage }, error: Schema.Union([Malformed, Busy]) }),
  /** To the master: hand over to this member. Answered at the end of the attempt. */
  Rpc.make("ClusterTransfer", {
    payload: { to: MemberIdSchema },
    success: Schema.Struct({ reign: Reign.Wire, closedMs: Schema.Number }),
    error: Schema.Union([HandoverRefused, NotMaster, Busy])
  }),
  Rpc.make("ClusterEnd", { payload: { version: Schema.String }, error: Busy })
) {}
