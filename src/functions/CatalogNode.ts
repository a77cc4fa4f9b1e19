/** The parts of the catalog of one node, opened from its disk and kept in step with the others.
 *
 * Boundary: `Catalog` is what the rest of the node uses, `CatalogHandlers` what other nodes reach; both stand on this. */
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import type * as Peers from "../cluster/Peers.ts"
import { Store, type StoreError } from "../cluster/Store.ts"
import * as Bundles from "./Bundles.ts"
import { CatalogLedger } from "./CatalogLedger.ts"
import * as CatalogPeers from "./CatalogPeers.ts"
import * as CatalogState from "./CatalogState.ts"
import * as CatalogSync from "./CatalogSync.ts"
import * as CatalogWriter from "./CatalogWriter.ts"

export class CatalogNode extends Context.Service<CatalogNode, {
  readonly ledger: CatalogLedger
  readonly bundles: Bundles.Bundles
  readonly sync: CatalogSync.CatalogSync
  readonly writer: CatalogWriter.CatalogWriter
  readonly peers: CatalogPeers.CatalogPeers["Service"]
}>()("shoal/functions/CatalogNode") {}

const open = Effect.gen(function*() {
  const store = yield* Store
  const cluster = yield* ClusterManager
  const peers = yield* CatalogPeers.CatalogPeers
  const digests = yield* Digest.Digest
  const scope = yield* Effect.scope
  const ledger = yield* CatalogLedger.open(store)
  const bundles = yield* Bundles.make(store)
  yield* cluster.observeEpoch(ledger.epoch)
  yield* Effect.logInfo("the catalog was opened").pipe(
    Effect.annotateLogs({ functions: ledger.state.visible, prepared: ledger.pending.length })
  )
  const sync = CatalogSync.make({ cluster, peers, ledger, bundles, scope })
  const writer = CatalogWriter.make({ cluster, peers, ledger, bundles, sync, digests, scope })
  yield* cluster.takesPart({
    name: "catalog",
    mark: Effect.sync(() => CatalogSync.markOf(ledger)),
    heard: (from, reign, mark) => sync.heard(from, reign, mark),
    close: Effect.map(writer.idle, () => CatalogState.digest(ledger.state)),
    load: ({ from, mark }) => sync.load(from, mark)
  })
  yield* Effect.addFinalizer(() => ledger.flush)
  yield* Effect.forkScoped(sync.run)
  return CatalogNode.of({ ledger, bundles, sync, writer, peers })
})

/** Opens the catalog and follows the others until the scope closes. */
export const layer: Layer.Layer<
  CatalogNode,
  StoreError,
  Store | ClusterManager | Peers.Peers | Digest.Digest
> = Layer.effect(CatalogNode, open).pipe(Layer.provide(CatalogPeers.layer))
