/** Which functions exist, for everybody on this node: deploy, remove, look up, fetch.
 *
 * Job: takes a deploy or removal to the current master, wherever it is asked; answers look-ups from this node's records
 * and asks the master and two others before it says that there is no such function; hands out the file of a bundle.
 * Boundary: the master's protocol is in `CatalogWriter`, the spreading in `CatalogSync`, the records and their order in
 * `CatalogState`. Invariants: R4. */
import * as Cache from "effect/Cache"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { NoMaster } from "../cluster/ClusterError.ts"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import * as Aliases from "./Aliases.ts"
import { warmHere } from "./CatalogHandlers.ts"
import type { CatalogView } from "./CatalogLedger.ts"
import { CatalogNode } from "./CatalogNode.ts"
import * as CatalogPeers from "./CatalogPeers.ts"
import { Invalid, type NoCopy, NotDurable, NotFound, type Warm } from "./CatalogRpc.ts"
import * as CatalogState from "./CatalogState.ts"
import * as Manifest from "./Manifest.ts"

/** What is deployed. The bundle is one ESM file; what is left out has its default. */
export interface Deployment {
  readonly name: string
  readonly bundle: Uint8Array
  readonly env?: Readonly<Record<string, string>> | undefined
  readonly limits?: Manifest.PartialLimits | undefined
  /** moved to the new version; `live` by default */
  readonly alias?: string | undefined
}

export class Catalog extends Context.Service<Catalog, {
  /** Completes when the version is on min(N, 3) disks and its alias is moved; a failure leaves everything as it was. */
  readonly deploy: (deployment: Deployment) => Effect.Effect<Manifest.Manifest, Invalid | NotDurable | NoMaster>
  readonly remove: (name: string) => Effect.Effect<void, NotFound | NotDurable | NoMaster>
  /** The record of a function, as this node has it, if anything of it can be called. */
  readonly describe: (name: string) => Effect.Effect<Option.Option<CatalogState.FunctionRecord>>
  readonly list: Effect.Effect<ReadonlyArray<CatalogState.FunctionRecord>>
  readonly snapshot: Effect.Effect<CatalogView>
  /** The current functions, then again after every change; a slow reader gets the newest. */
  readonly changes: Stream.Stream<CatalogView>
  /** How many functions can be called. */
  readonly count: Effect.Effect<number>
  /** Where versions are warm, in the whole cluster: a worker asks its master or a replica. */
  readonly warm: Effect.Effect<ReadonlyArray<Warm>>
  /** The version that a reference means (`Aliases.parse`). */
  readonly resolve: (name: string, reference: string | undefined) => Effect.Effect<Manifest.Manifest, NotFound>
  /** The file of a bundle on this machine, fetched from another node if need be. */
  readonly bundlePath: (digest: string) => Effect.Effect<string, NoCopy>
}>()("shoal/functions/Catalog") {}

const masterTimeout = "10 seconds"
const warmTimeout = "500 millis"
const lookupTimeout = "1 second"
/** Nodes asked for an unknown function: the master and two others. */
const asked = 3
/** How long "nobody knows it" holds. */
const unknownFor = "1 second"

const isName = Schema.is(Manifest.FunctionName)

const Input = Schema.Struct({
  name: Manifest.FunctionName,
  alias: Manifest.Alias,
  env: Manifest.Environment,
  limits: Manifest.Limits
})
const decodeInput = Schema.decodeUnknownEffect(Input)

/** What others know of a function, merged here: how many of the asked answered, none if there was nobody to ask. */
const ask = Effect.fnUntraced(function*(node: CatalogNode["Service"], name: string) {
  const others = CatalogPeers.others(yield* node.peers.view).slice(0, asked)
  const answers = yield* Effect.forEach(
    others,
    (id) =>
      node.peers.call({ id, within: lookupTimeout }, (client) => client.CatalogLookup({ name })).pipe(
        Effect.tap(({ record }) => record === undefined ? Effect.void : node.ledger.learn(record)),
        Effect.option
      ),
    { concurrency: asked }
  )
  return { asked: others.length, answered: answers.filter(Option.isSome).length }
})

/** The table of the master or of a replica; this node's own if it is one of them, or if none answers. */
const warm = Effect.fnUntraced(function*(node: CatalogNode["Service"], cluster: ClusterManager["Service"]) {
  const view = yield* cluster.view
  const tables = view.role === "worker" ? CatalogPeers.others(view).slice(0, 1 + Math.min(1, view.replicas.length)) : []
  for (const id of tables) {
    const answer = yield* Effect.option(
      node.peers.call({ id, within: warmTimeout }, (client) => Stream.runCollect(client.CatalogWarm()))
    )
    if (Option.isSome(answer)) return answer.value
  }
  return yield* warmHere(cluster)
})

const resolveLocal = (
  node: CatalogNode["Service"],
  name: string,
  reference: Aliases.Reference
): Option.Option<Manifest.Manifest> => {
  const record = node.ledger.get(name)
  return record === undefined ? Option.none() : CatalogState.resolve(record, reference)
}

/** Whoever wrote through this node finds the change here, also when the master's push has not come yet. */
const seen = (
  node: CatalogNode["Service"],
  master: string,
  name: string,
  isDone: (record: CatalogState.FunctionRecord) => boolean
): Effect.Effect<void> =>
  Effect.suspend(() => {
    const record = node.ledger.get(name)
    return record !== undefined && isDone(record) ? Effect.void : Effect.ignore(node.sync.pull(master))
  })

/** The master stayed out of reach to the end. */
const noMaster = (node: CatalogNode["Service"]): Effect.Effect<never, NoMaster> =>
  Effect.flatMap(node.peers.view, ({ reign }) => new NoMaster({ reign }))

const deploy = Effect.fnUntraced(function*(
  node: CatalogNode["Service"],
  cluster: ClusterManager["Service"],
  { alias = Manifest.live, bundle, env = {}, limits, name }: Deployment
) {
  const self = (yield* node.peers.view).self
  const input = yield* decodeInput({ name, alias, env, limits: Manifest.withDefaults(limits) }).pipe(
    Effect.mapError((error) => new Invalid({ detail: error.message }))
  )
  if (bundle.length === 0 || bundle.length > Manifest.maxBundleBytes) {
    return yield* new Invalid({ detail: `the bundle has ${bundle.length} bytes, not 1 to ${Manifest.maxBundleBytes}` })
  }
  const digest = yield* Effect.mapError(
    node.bundles.put(bundle),
    (error) => new NotDurable({ name, copies: 0, needed: 1, detail: error.message })
  )
  const { alias: moved, ...rest } = input
  const options = { draft: { ...rest, bundle: digest, size: bundle.length }, alias: moved, holder: self }
  return yield* cluster.masterCall(
    (master) =>
      master.id === self
        ? node.writer.deploy(options)
        : Effect.tap(
          node.peers.call({ id: master.id, within: masterTimeout }, (client) => client.CatalogDeploy(options)),
          ({ version }) =>
            seen(node, master.id, name, (record) => CatalogState.current(record, moved)?.version === version)
        ),
    { within: masterTimeout, retryOn: (error) => error._tag === "Unreachable" }
  ).pipe(Effect.catchTag("Unreachable", () => noMaster(node)))
})

const remove = Effect.fnUntraced(function*(
  node: CatalogNode["Service"],
  cluster: ClusterManager["Service"],
  name: string
) {
  if (!isName(name)) return yield* new NotFound({ name, unavailable: false })
  const self = (yield* node.peers.view).self
  yield* cluster.masterCall(
    (master) =>
      master.id === self
        ? node.writer.remove(name)
        : Effect.andThen(
          node.peers.call({ id: master.id, within: masterTimeout }, (client) => client.CatalogRemove({ name })),
          seen(node, master.id, name, (record) => !CatalogState.isVisible(record))
        ),
    { within: masterTimeout, retryOn: (error) => error._tag === "Unreachable" }
  ).pipe(Effect.catchTag("Unreachable", () => noMaster(node)))
})

const make = Effect.gen(function*() {
  const node = yield* CatalogNode
  const cluster = yield* ClusterManager
  const { bundles, ledger } = node
  const lookups = yield* Cache.makeWith((name: string) => ask(node, name), {
    capacity: 4096,
    timeToLive: (exit) => Exit.isSuccess(exit) ? unknownFor : 0
  })
  const resolve = Effect.fnUntraced(function*(name: string, reference: string | undefined) {
    const parsed = Aliases.parse(reference)
    if (parsed === undefined || !isName(name)) return yield* new NotFound({ name, unavailable: false })
    const known = resolveLocal(node, name, parsed)
    if (Option.isSome(known)) return known.value
    const answers = yield* Cache.get(lookups, name)
    const found = resolveLocal(node, name, parsed)
    if (Option.isSome(found)) return found.value
    return yield* new NotFound({ name, unavailable: answers.asked > 0 && answers.answered === 0 })
  })
  return Catalog.of({
    deploy: (deployment) =>
      Effect.withSpan(deploy(node, cluster, deployment), "Catalog.deploy", {
        attributes: { function: deployment.name }
      }),
    remove: (name) =>
      Effect.withSpan(remove(node, cluster, name), "Catalog.remove", { attributes: { function: name } }),
    describe: (name) =>
      Effect.sync(() => Option.filter(Option.fromUndefinedOr(ledger.get(name)), CatalogState.isVisible)),
    list: Effect.sync(() => CatalogState.records(ledger.state).filter(CatalogState.isVisible)),
    snapshot: Effect.sync(() => ledger.view),
    changes: ledger.views,
    count: Effect.sync(() => ledger.state.visible),
    warm: warm(node, cluster),
    resolve,
    bundlePath: (digest) => Effect.map(bundles.ensure(digest), () => bundles.location(digest))
  })
})

export const layer: Layer.Layer<Catalog, never, CatalogNode | ClusterManager> = Layer.effect(Catalog, make)
