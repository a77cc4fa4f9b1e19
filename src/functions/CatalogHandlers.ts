/** What a node does when another node's catalog calls.
 *
 * Job: the handlers of `CatalogRpc`. Control messages pass the reign's door before they touch anything, and a prepared
 * change passes it again after it was written, because a higher reign may have arrived meanwhile.
 * Boundary: everything is done by the parts of `CatalogNode`. Invariants: R1 (a lower reign is refused), R4 (an answer to
 * `CatalogPrepare` means bundle and change are on the disk). */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Rpc from "effect/rpc/Rpc"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as Stream from "effect/Stream"
import { type LowerReign, Malformed } from "../cluster/ClusterError.ts"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import * as Reign from "../cluster/Reign.ts"
import { CatalogNode } from "./CatalogNode.ts"
import { CatalogRpc, NoCopy, type Warm } from "./CatalogRpc.ts"
import * as CatalogState from "./CatalogState.ts"

/** The reign's door. */
const admit = Effect.fnUntraced(function*(reign: Reign.Reign): Effect.fn.Return<
  void,
  LowerReign | Malformed,
  ClusterManager
> {
  if (!Reign.isValid(reign)) return yield* new Malformed({ field: "reign" })
  const cluster = yield* ClusterManager
  yield* cluster.admit(reign)
})

const prepare = Effect.fnUntraced(function*(
  { change, holder, reign }: {
    readonly reign: Reign.Reign
    readonly change: CatalogState.FunctionRecord
    readonly holder: string
  }
) {
  const { bundles, ledger } = yield* CatalogNode
  yield* admit(reign)
  const stamp = CatalogState.stampOf(change)
  if (stamp === undefined || stamp.epoch !== reign.epoch || stamp.master !== reign.id) {
    return yield* new Malformed({ field: "change" })
  }
  yield* Effect.forEach(change.versions, ({ manifest }) => bundles.ensure(manifest.bundle, holder), { discard: true })
  const kept = yield* Effect.mapError(ledger.prepare(change), (error) => new NoCopy({ detail: error.message }))
  if (!kept) return yield* new NoCopy({ detail: "the change has failed or was taken already" })
  yield* Effect.tapError(admit(reign), () => ledger.discard(change))
})

const digestOf = Effect.fnUntraced(function*() {
  const { state } = (yield* CatalogNode).ledger
  return {
    whole: CatalogState.digest(state),
    buckets: Array.from({ length: CatalogState.buckets }, (_, bucket) => CatalogState.bucketDigest(state, bucket))
  }
})

/** The records of some buckets that the caller does not have. */
const unknownTo = (
  { state }: CatalogNode["Service"]["ledger"],
  { buckets, known }: { readonly buckets: ReadonlyArray<number>; readonly known: Readonly<Record<string, string>> }
): ReadonlyArray<CatalogState.FunctionRecord> => {
  const wanted = new Set(buckets)
  return CatalogState.records(state).filter((record) =>
    wanted.has(CatalogState.bucketOf(record.name)) &&
    (!Object.hasOwn(known, record.name) || known[record.name] !== CatalogState.digestOf(state, record.name))
  )
}

/** What this node's table says. */
export const warmHere = (cluster: ClusterManager["Service"]): Effect.Effect<ReadonlyArray<Warm>> =>
  Effect.map(
    cluster.routesOf,
    (routes) => routes.map(({ nodes, version }) => ({ version, nodes: nodes.map((node): string => node.id) }))
  )

const layerOf = Effect.gen(function*() {
  const node = yield* CatalogNode
  const cluster = yield* ClusterManager
  const { bundles, ledger, writer } = node
  const here = <A, E>(effect: Effect.Effect<A, E, CatalogNode | ClusterManager>): Effect.Effect<A, E> =>
    effect.pipe(Effect.provideService(CatalogNode, node), Effect.provideService(ClusterManager, cluster))
  return CatalogRpc.of({
    CatalogDeploy: (options) => writer.deploy(options),
    CatalogRemove: ({ name }) => writer.remove(name),
    CatalogPrepare: (message) => here(prepare(message)),
    CatalogPush: ({ records, reign }) =>
      here(Effect.andThen(admit(reign), Effect.forEach(records, (record) => ledger.learn(record), { discard: true }))),
    CatalogPromote: ({ change }) => writer.promote(change),
    CatalogCompare: ({ whole }) =>
      Effect.sync(() => ({ same: whole === CatalogState.digest(ledger.state), prepared: ledger.pending.length })),
    CatalogDigest: () => here(digestOf()),
    CatalogRecords: (wanted) => Stream.rechunk(Stream.fromIterable(unknownTo(ledger, wanted)), 1),
    CatalogPrepared: () => Stream.rechunk(Stream.fromIterable(ledger.pending), 1),
    CatalogLookup: ({ name }) =>
      Effect.sync(() => {
        const record = ledger.get(name)
        return record === undefined ? {} : { record }
      }),
    CatalogWarm: () => Stream.unwrap(Effect.map(warmHere(cluster), (all) => Stream.fromIterable(all))),
    CatalogBundle: ({ digest }) => bundles.pieces(digest)
  })
})

/** For the RPC server of the node, beside the handlers of the other groups. */
export const layer: Layer.Layer<
  Rpc.ToHandler<RpcGroup.Rpcs<typeof CatalogRpc>>,
  never,
  CatalogNode | ClusterManager
> = CatalogRpc.toLayer(layerOf)
