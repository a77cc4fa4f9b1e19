/** What the catalogs of two nodes say to each other, as Effect RPC on a control connection.
 *
 * Job: the calls, their payloads and their typed failures. Bundles travel as streams of pieces of at most
 * `pieceBytes`, always pulled by the node that needs them; records travel one by one.
 * Boundary: what a call does is in `CatalogHandlers`. Control messages (`CatalogPrepare`, `CatalogPush`) carry the
 * reign they are sent under; reads and offers do not need one. The schemas are part of the protocol between releases:
 * fields are only added, as optional ones. Invariants: R1, R4. */
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSchema from "effect/rpc/RpcSchema"
import * as Schema from "effect/Schema"
import { LowerReign, Malformed, NotMaster } from "../cluster/ClusterError.ts"
import * as Reign from "../cluster/Reign.ts"
import { FunctionRecord } from "./CatalogState.ts"
import * as Manifest from "./Manifest.ts"

/** Bytes of a bundle in one message, well below the largest frame. */
export const pieceBytes = 256 * 1024
/** Records in one push. */
export const maxPushed = 16

/** A write did not reach enough disks in time. Fault: too few reachable nodes, or their disks. State: unchanged.
 * Retry: safe. */
export class NotDurable extends Schema.TaggedError<NotDurable>()("NotDurable", {
  name: Schema.String,
  copies: Schema.Finite,
  needed: Schema.Finite,
  detail: Schema.String
}) {
  override get message(): string {
    return `${this.name} is on ${this.copies} of the ${this.needed} disks it needs: ${this.detail}`
  }
}

/** What was to be deployed or removed is not acceptable. Fault: the caller's. State: unchanged. Retry: useless. */
export class Invalid extends Schema.TaggedError<Invalid>()("Invalid", { detail: Schema.String }) {
  override get message(): string {
    return this.detail
  }
}

/** No function or version of that name. Fault: the caller's, unless `unavailable`: then nobody who would know answered.
 * State: unchanged. Retry: if `unavailable`. */
export class NotFound extends Schema.TaggedError<NotFound>()("NotFound", {
  name: Schema.String,
  unavailable: Schema.Boolean
}) {}

/** A node could not take its copy of a write, or has no such bundle. Fault: its disk, or the way to the bundle. State:
 * unchanged there. Retry: at another node. */
export class NoCopy extends Schema.TaggedError<NoCopy>()("NoCopy", { detail: Schema.String }) {}

export const Draft = Schema.Struct({
  name: Manifest.Manifest.fields.name,
  bundle: Manifest.Manifest.fields.bundle,
  size: Manifest.Manifest.fields.size,
  limits: Manifest.Manifest.fields.limits,
  env: Manifest.Manifest.fields.env
})

/** The nodes that have a version warm. */
export const Warm = Schema.Struct({ version: Schema.String, nodes: Schema.Array(Schema.String) })
export type Warm = typeof Warm.Type

export class CatalogRpc extends RpcGroup.make(
  /** To the master: make a version of this and move the alias to it. `holder` has the bundle. */
  Rpc.make("CatalogDeploy", {
    payload: { draft: Draft, alias: Manifest.Alias, holder: Schema.String },
    success: Manifest.Manifest,
    error: Schema.Union([NotMaster, NotDurable, Invalid])
  }),
  /** To the master. */
  Rpc.make("CatalogRemove", {
    payload: { name: Manifest.FunctionName },
    error: Schema.Union([NotMaster, NotDurable, NotFound])
  }),
  /** From the master: put this change and its bundle (which `holder` has) on your disk, but do not show it yet. */
  Rpc.make("CatalogPrepare", {
    payload: { reign: Reign.Wire, change: FunctionRecord, holder: Schema.String },
    error: Schema.Union([LowerReign, Malformed, NoCopy])
  }),
  /** From the master: these records are new. */
  Rpc.make("CatalogPush", {
    payload: { reign: Reign.Wire, records: Schema.Array(FunctionRecord).check(Schema.isMaxLength(maxPushed)) },
    error: Schema.Union([LowerReign, Malformed])
  }),
  /** To the master, from who holds a prepared change of an earlier reign: see that it takes effect, unless it failed. */
  Rpc.make("CatalogPromote", { payload: { change: FunctionRecord }, error: Schema.Union([NotMaster, NotDurable]) }),
  /** Are your records mine, and how many changes have you prepared and know neither as taken nor as failed? */
  Rpc.make("CatalogCompare", {
    payload: { whole: Schema.String },
    success: Schema.Struct({ same: Schema.Boolean, prepared: Schema.Finite })
  }),
  /** How do your records differ from mine? */
  Rpc.make("CatalogDigest", {
    success: Schema.Struct({ whole: Schema.String, buckets: Schema.Array(Schema.String) })
  }),
  /** Your records of these buckets, but for those that I have with the same digest. */
  Rpc.make("CatalogRecords", {
    payload: { buckets: Schema.Array(Schema.Finite), known: Schema.Record(Schema.String, Schema.String) },
    success: RpcSchema.Stream(FunctionRecord, Schema.Never)
  }),
  /** Those prepared changes. */
  Rpc.make("CatalogPrepared", { success: RpcSchema.Stream(FunctionRecord, Schema.Never) }),
  Rpc.make("CatalogLookup", {
    payload: { name: Schema.String },
    success: Schema.Struct({ record: Schema.optionalKey(FunctionRecord) })
  }),
  /** Where versions are warm, as far as you know: for a worker, whose own table has only itself. */
  Rpc.make("CatalogWarm", { success: RpcSchema.Stream(Warm, Schema.Never) }),
  Rpc.make("CatalogBundle", {
    payload: { digest: Manifest.Digest },
    success: RpcSchema.Stream(Schema.Uint8Array, NoCopy)
  })
) {}
