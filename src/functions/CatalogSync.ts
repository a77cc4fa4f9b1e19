/** How the records of all nodes become the same.
 *
 * Job: compares digests with one random member every two seconds and pulls what differs; pulls from everybody when this
 * node becomes master, before its first write; takes prepared changes of earlier reigns to their end; keeps the bundles
 * that a master or replica should have; tells others of a change at once.
 * Boundary: records merge in any order (`CatalogState`), so nothing here needs to succeed at any one time. Pulling is a
 * read: it works between reigns and after a partition. Invariants: R4. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import type { ClusterManager } from "../cluster/ClusterManager.ts"
import * as Reign from "../cluster/Reign.ts"
import type { Run } from "../cluster/RoutingTable.ts"
import type { Bundles } from "./Bundles.ts"
import type { CatalogLedger } from "./CatalogLedger.ts"
import * as CatalogMetrics from "./CatalogMetrics.ts"
import * as CatalogPeers from "./CatalogPeers.ts"
import { maxPushed } from "./CatalogRpc.ts"
import * as CatalogState from "./CatalogState.ts"

/** Between two comparisons, milliseconds, half of it random. */
const intervalMs = 2000
const callTimeout = "1 second"
/** Records of one bucket; a node with many comes up in several seconds, not in one call. */
const bucketTimeout = "5 seconds"
const arrivalPoll = "1 millis"
/** Disks that a change must be on before it is acknowledged, if there are as many nodes. */
export const copies = 3
/** A new master waits this long for all; after it for all but fewer than have each change. */
const latePatience = "100 millis"
/** Calls at once when all members are asked. */
const breadth = 16

export interface CatalogSync {
  /** Pulls the records that a member has and this node has not. */
  readonly pull: (id: string) => Effect.Effect<number, CatalogPeers.Unreachable>
  /** Gets all that a master has before it hands over to this node; `mark` is its digest when it was closed. */
  readonly load: (from: Run, mark: string | undefined) => Effect.Effect<void, CatalogPeers.Unreachable>
  /** What a member had when it obeyed this node's reign; undefined when it was not reached. */
  readonly heard: (from: Run, reign: Reign.Reign, mark: string | undefined) => Effect.Effect<void>
  /** Completes when this node has all that was acknowledged: only then may it write in `reign`. It has when all
   * members were heard that can be reached; a few that do not answer hold it up for a moment only. */
  readonly ready: (reign: Reign.Reign) => Effect.Effect<void>
  /** Tells every member; those it does not reach find out by comparing. */
  readonly spread: (records: ReadonlyArray<CatalogState.FunctionRecord>) => Effect.Effect<void>
  /** Merges a prepared change of an earlier reign, unless it failed or is there. */
  readonly promote: (change: CatalogState.FunctionRecord) => Effect.Effect<void>
  /** Follows the members until it is interrupted. */
  readonly run: Effect.Effect<never>
}

interface Parts {
  readonly cluster: ClusterManager["Service"]
  readonly peers: CatalogPeers.CatalogPeers["Service"]
  readonly ledger: CatalogLedger
  readonly bundles: Bundles
  readonly scope: Scope.Scope
}

const pullBucket = Effect.fnUntraced(function*({ ledger, peers }: Parts, id: string, bucket: number) {
  const known = Object.fromEntries(
    CatalogState.records(ledger.state).filter((record) => CatalogState.bucketOf(record.name) === bucket)
      .map((record) => [record.name, CatalogState.digestOf(ledger.state, record.name) ?? ""])
  )
  yield* peers.call({ id, within: bucketTimeout }, (client) =>
    client.CatalogRecords({ buckets: [bucket], known }).pipe(
      Stream.runForEach((record) =>
        Effect.flatMap(ledger.learn(record), (news) => Metric.update(CatalogMetrics.pulled, news ? 1 : 0))
      )
    ))
})

/** How many prepared changes the member has, when its records are here. */
const pull = Effect.fnUntraced(function*(parts: Parts, id: string) {
  const { cluster, ledger, peers } = parts
  const { prepared, same } = yield* peers.call(
    { id, within: callTimeout },
    (client) => client.CatalogCompare({ whole: CatalogState.digest(ledger.state) })
  )
  if (same) return prepared
  const theirs = yield* peers.call({ id, within: callTimeout }, (client) => client.CatalogDigest())
  const differing = Array.from({ length: CatalogState.buckets }, (_, bucket) => bucket)
    .filter((bucket) => theirs.buckets[bucket] !== CatalogState.bucketDigest(ledger.state, bucket))
  yield* Effect.forEach(differing, (bucket) => pullBucket(parts, id, bucket), { concurrency: 4, discard: true })
  yield* cluster.observeEpoch(ledger.epoch)
  return prepared
})

const promote = Effect.fnUntraced(function*({ ledger }: Parts, change: CatalogState.FunctionRecord) {
  const stamp = CatalogState.stampOf(change)
  if (stamp === undefined || CatalogState.verdict(ledger.get(change.name), stamp) !== "unknown") return false
  yield* Effect.logInfo("a change of an earlier reign takes effect").pipe(
    Effect.annotateLogs({ function: change.name, epoch: stamp.epoch, sequence: stamp.sequence, master: stamp.master })
  )
  yield* Metric.update(CatalogMetrics.promoted, 1)
  return yield* ledger.merge(change)
})

/** What this node has, in a few bytes: equal marks, equal records and no change whose end is open. */
export const markOf = (ledger: CatalogLedger): string =>
  `${CatalogState.digest(ledger.state)}${ledger.pending.length === 0 ? "" : ` ${ledger.pending.length}`}`

/** The records and the prepared changes of one member. */
const pullAll = Effect.fnUntraced(function*(parts: Parts, id: string) {
  const prepared = yield* pull(parts, id)
  if (prepared === 0) return []
  return yield* parts.peers.call(
    { id, within: callTimeout },
    (client) => Stream.runCollect(client.CatalogPrepared())
  )
})

const spread = Effect.fnUntraced(function*(parts: Parts, records: ReadonlyArray<CatalogState.FunctionRecord>) {
  const view = yield* parts.peers.view
  const { reign } = view
  if (reign === undefined) return
  const batches = Array.from(
    { length: Math.ceil(records.length / maxPushed) },
    (_, i) => records.slice(i * maxPushed, (i + 1) * maxPushed)
  )
  yield* Effect.forEach(
    CatalogPeers.others(view),
    (id) =>
      Effect.forEach(
        batches,
        (batch) =>
          parts.peers.call({ id, within: callTimeout }, (client) => client.CatalogPush({ reign, records: batch }))
      ).pipe(Effect.ignore),
    { concurrency: breadth, discard: true }
  )
})

/** Prepared changes of reigns that are over go to the master, which sees to their end. */
const settle = Effect.fnUntraced(function*(parts: Parts) {
  const { ledger, peers } = parts
  const { reign, self } = yield* peers.view
  if (reign === undefined || reign.id === self) return
  for (const change of ledger.pending) {
    if ((CatalogState.stampOf(change)?.epoch ?? 0) >= reign.epoch) continue
    yield* Effect.ignore(
      peers.call({ id: reign.id, within: callTimeout }, (client) => client.CatalogPromote({ change }))
    )
  }
})

/** Master and replicas have every bundle; the others fetch what they run. */
const collect = Effect.fnUntraced(function*({ bundles, ledger, peers }: Parts) {
  const needed = CatalogState.bundles(ledger.state)
  const prepared = ledger.pending.flatMap((change) => change.versions.map(({ manifest }) => manifest.bundle))
  if ((yield* peers.view).role !== "worker") {
    const missing = [...needed.keys()].filter((digest) => !bundles.has(digest))
    yield* Effect.forEach(missing, (digest) => Effect.ignore(bundles.ensure(digest)), { concurrency: 2, discard: true })
  }
  yield* bundles.sweep(new Set([...needed.keys(), ...prepared]))
})

export const make = (parts: Parts): CatalogSync => {
  const { cluster, ledger, peers } = parts
  const once = Semaphore.makeUnsafe(1)
  let readyFor: Reign.Reign | undefined
  /** the closed master of which everything was loaded */
  let loadedFrom: Run | undefined
  const isHanded = ({ kind, predecessor }: Reign.Reign) =>
    kind === "granted" && predecessor !== undefined && predecessor.bootId === loadedFrom?.bootId
  const offer = (change: CatalogState.FunctionRecord) =>
    Effect.flatMap(promote(parts, change), (taken) => {
      const record = ledger.get(change.name)
      return taken && record !== undefined ? spread(parts, [record]) : Effect.void
    })
  const offering = Semaphore.makeUnsafe(1)
  /** What the members have that were told of a reign of this node, by their ids. */
  let marks:
    | { readonly reign: Reign.Reign; readonly from: Map<string, Deferred.Deferred<string | undefined>> }
    | undefined
  const markFrom = (reign: Reign.Reign, id: string): Deferred.Deferred<string | undefined> => {
    if (marks === undefined || Reign.isLower(marks.reign, reign)) marks = { reign, from: new Map() }
    const mark = marks.from.get(id) ?? Deferred.makeUnsafe<string | undefined>()
    if (Reign.equals(marks.reign, reign)) marks.from.set(id, mark)
    return mark
  }
  /** All that others have, but for a few that are late: what was acknowledged is on more disks than these. */
  const prepareReign = Effect.fnUntraced(function*(reign: Reign.Reign) {
    if (Reign.equals(readyFor, reign)) return
    const ids = CatalogPeers.others(yield* peers.view)
    const take = (changes: ReadonlyArray<CatalogState.FunctionRecord>) =>
      offering.withPermit(Effect.forEach(changes, offer, { discard: true }))
    let answered = 0
    const enough = yield* Deferred.make<void>()
    const gather = Effect.fnUntraced(function*(id: string) {
      const mark = yield* Effect.timeoutOption(Deferred.await(markFrom(reign, id)), latePatience)
      // whoever could not be told of the reign just now is not asked again
      if (Option.isSome(mark) && mark.value === undefined) return
      const isSame = Option.isSome(mark) && mark.value === CatalogState.digest(ledger.state)
      if (!isSame) yield* take(yield* pullAll(parts, id))
      if (++answered >= ids.length - (copies - 1)) yield* Deferred.succeed(enough, undefined)
    })
    yield* take(ledger.pending)
    const gathering = yield* Effect.forkIn(
      Effect.forEach(ids, (id) => Effect.ignore(gather(id)), { concurrency: breadth, discard: true }),
      parts.scope
    )
    yield* Effect.timeoutOrElse(Effect.asVoid(Fiber.await(gathering)), {
      duration: latePatience,
      orElse: () => Effect.raceFirst(Effect.asVoid(Fiber.await(gathering)), Deferred.await(enough))
    })
    readyFor = reign
    yield* Effect.logInfo("the catalog is complete for this reign").pipe(Effect.annotateLogs({
      epoch: reign.epoch,
      asked: ids.length,
      answered,
      functions: ledger.state.visible
    }))
  })
  const complete = (reign: Reign.Reign) => once.withPermit(prepareReign(reign))
  // who was granted its reign has all that its predecessor acknowledged; it still asks everybody, meanwhile
  const ready = (reign: Reign.Reign) =>
    Effect.suspend(() => isHanded(reign) || Reign.equals(readyFor, reign) ? Effect.void : complete(reign))
  const load = Effect.fnUntraced(function*(from: Run, mark: string | undefined) {
    // the last change of a closed master is on its way already: it may be here before it is pulled
    const arrives = Effect.gen(function*() {
      while (mark !== CatalogState.digest(ledger.state)) yield* Effect.sleep(arrivalPoll)
    })
    yield* mark === undefined ? pull(parts, from.id) : Effect.raceFirst(arrives, pull(parts, from.id))
    if (mark !== undefined) loadedFrom = from
  })
  const compare = Effect.gen(function*() {
    const others = CatalogPeers.others(yield* peers.view)
    if (others.length > 0) {
      const index = yield* Random.nextIntBetween(0, others.length, { halfOpen: true })
      yield* Effect.ignore(pull(parts, others[index] ?? ""))
    }
    yield* settle(parts)
    yield* ledger.flush
    yield* collect(parts)
  })
  const comparing = Effect.gen(function*() {
    const wait = yield* Random.nextIntBetween(intervalMs / 2, intervalMs)
    yield* Effect.sleep(wait)
    yield* compare
  })
  let met = false
  /** At the start and at every new reign: the master asks everybody, the others ask the master. What is only checked
   * (by those that were there before, and after a grant) leaves the first moments to the writes that waited. */
  const following = cluster.views.pipe(
    Stream.changesWith((a, b) => Reign.equals(a.reign, b.reign) && a.role === b.role),
    Stream.switchMap(({ reign, role }) => {
      if (reign === undefined) return Stream.empty
      const isMaster = role === "master"
      const all = isMaster ? complete(reign) : Effect.ignore(pull(parts, reign.id))
      const now = isMaster ? reign.kind !== "granted" : !met
      met = true
      const wait = now ? Effect.succeed(0) : Random.nextIntBetween(intervalMs / 4, intervalMs / 2)
      return Stream.fromEffect(Effect.andThen(Effect.flatMap(wait, Effect.sleep), all))
    }),
    Stream.runDrain
  )
  const supervised = <A>(name: string, loop: Effect.Effect<A>): Effect.Effect<never> =>
    loop.pipe(
      Effect.tapCause((cause) =>
        Effect.logError("a loop of the catalog failed", cause).pipe(Effect.annotateLogs({ name }))
      ),
      Effect.ignoreCause,
      Effect.andThen(Effect.sleep(intervalMs)),
      Effect.forever
    )
  return {
    pull: (id) => pull(parts, id),
    ready,
    load,
    heard: (from, reign, mark) => Effect.asVoid(Deferred.succeed(markFrom(reign, from.id), mark)),
    spread: (records) => spread(parts, records),
    promote: offer,
    run: Effect.andThen(
      Effect.all([
        supervised("compare", Effect.forever(comparing)),
        supervised("follow", following),
        supervised("flush", ledger.flushing)
      ], {
        concurrency: "unbounded",
        discard: true
      }),
      Effect.never
    )
  }
}
