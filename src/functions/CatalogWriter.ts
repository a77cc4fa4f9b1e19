/** The master's hand: how a change becomes durable before anybody sees it.
 *
 * Job: one change at a time gets its stamp, is prepared on this disk and on those of enough others (each has the bundle
 * and the change synced and obeys no higher reign), and only then is merged, which shows it; then everybody is told.
 * When copies are missing at the deadline the change is marked as failed here and everywhere: a prepared copy of it
 * that turns up later takes no effect.
 * Boundary: `CatalogSync` makes the records complete before the first write of a reign and ends what an earlier master
 * left prepared. A master that dies between preparing and answering leaves it to its successor whether the change takes
 * effect; its caller has no answer. Invariants: R1, R4 (acknowledged means on min(N, 3) disks, the master's among them). */
import * as Clock from "effect/Clock"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import { NotMaster } from "../cluster/ClusterError.ts"
import type { ClusterManager } from "../cluster/ClusterManager.ts"
import * as Reign from "../cluster/Reign.ts"
import type { Bundles } from "./Bundles.ts"
import type { CatalogLedger } from "./CatalogLedger.ts"
import * as CatalogMetrics from "./CatalogMetrics.ts"
import * as CatalogPeers from "./CatalogPeers.ts"
import { Invalid, NotDurable, NotFound } from "./CatalogRpc.ts"
import * as CatalogState from "./CatalogState.ts"
import { type CatalogSync, copies } from "./CatalogSync.ts"
import * as Manifest from "./Manifest.ts"

/** For the copies to be made. */
const deadline = "2 seconds"
const hedgeMs = 200
/** An acknowledgement waits this long for everybody to be told, so that a caller finds its change at any node. */
const spreadPatience = "100 millis"
/** Nodes asked beyond those that must answer. */
const maxHedges = 6
/** Functions a catalog has at most. */
export const maxFunctions = 100_000

export interface CatalogWriter {
  readonly deploy: (options: {
    readonly draft: Manifest.Draft
    readonly alias: string
    readonly holder: string
  }) => Effect.Effect<Manifest.Manifest, NotMaster | NotDurable | Invalid>
  readonly remove: (name: Manifest.FunctionName) => Effect.Effect<void, NotMaster | NotDurable | NotFound>
  /** A prepared change of an earlier reign, brought by its holder. */
  /** Completes when no change is being made; whoever asks has closed the node to new ones (H1). */
  readonly idle: Effect.Effect<void>
  readonly promote: (change: CatalogState.FunctionRecord) => Effect.Effect<void, NotMaster>
}

interface Parts {
  readonly cluster: ClusterManager["Service"]
  readonly peers: CatalogPeers.CatalogPeers["Service"]
  readonly ledger: CatalogLedger
  readonly bundles: Bundles
  readonly sync: CatalogSync
  readonly digests: Digest.Digest["Service"]
  readonly scope: Scope.Scope
}

interface Change {
  readonly reign: Reign.Reign
  readonly record: CatalogState.FunctionRecord
}

/** One copy at another node, or why not. A node that obeys a higher reign tells us of it. */
const copyAt = Effect.fnUntraced(function*(parts: Parts, { record, reign }: Change, id: string) {
  const { cluster, peers } = parts
  const { self } = yield* peers.view
  return yield* peers.call(
    { id, within: deadline },
    (client) => client.CatalogPrepare({ reign, change: record, holder: self })
  ).pipe(
    Effect.tapError((error) => error._tag === "LowerReign" ? cluster.learn(error.reign) : Effect.void),
    Effect.mapError((error) => `${id}: ${detailOf(error)}`),
    Effect.result
  )
})

/** Asks the others for copies: as many at once as are missing and one more, then one more every `hedgeMs`, so that a
 * node that hangs does not use up the time. Stops as soon as there are enough. */
const replicate = Effect.fnUntraced(function*(parts: Parts, change: Change, missing: number) {
  const reasons: Array<string> = []
  if (missing === 0) return { made: 0, reasons }
  const ids = CatalogPeers.others(yield* parts.peers.view).slice(0, missing + maxHedges)
  const answers = yield* Queue.unbounded<Result.Result<void, string>>()
  const asking = Effect.forEach(
    ids,
    (id, i) =>
      Effect.sleep(Math.max(0, i - missing) * hedgeMs).pipe(
        Effect.andThen(copyAt(parts, change, id)),
        Effect.flatMap((answer) => Queue.offer(answers, answer))
      ),
    { concurrency: "unbounded", discard: true }
  )
  let made = 0
  const counting = Effect.gen(function*() {
    let expected = ids.length
    while (made < missing && expected-- > 0) {
      const answer = yield* Queue.take(answers)
      if (Result.isSuccess(answer)) made++
      else reasons.push(answer.failure)
    }
  })
  yield* Effect.raceFirst(Effect.andThen(asking, Effect.never), counting).pipe(
    Effect.timeoutOrElse({ duration: deadline, orElse: () => Effect.sync(() => void reasons.push("not in time")) })
  )
  return { made, reasons }
})

const detailOf = (error: { readonly _tag: string; readonly detail?: string }): string => {
  if (error.detail !== undefined) return error.detail
  return error._tag === "LowerReign" ? "obeys a higher reign" : error._tag
}

/** Marks the change as failed, on disk before the caller hears of it, and tells the others. A caller whose master lost
 * its reign meanwhile is sent to the next. */
const abort = Effect.fnUntraced(function*(parts: Parts, { record, reign }: Change, failure: NotDurable) {
  const stamp = CatalogState.stampOf(record)
  yield* Metric.update(Metric.withAttributes(CatalogMetrics.writes, { outcome: "not-durable" }), 1)
  if (stamp !== undefined) {
    const mark = CatalogState.abortion(record.name, stamp)
    yield* parts.ledger.merge(mark)
    yield* Effect.forkIn(parts.sync.spread([mark]), parts.scope)
  }
  yield* Effect.logWarning("a change of the catalog was not durable").pipe(
    Effect.annotateLogs({
      function: record.name,
      copies: failure.copies,
      needed: failure.needed,
      cause: failure.detail
    })
  )
  const still = yield* parts.cluster.mastership
  return yield* Reign.equals(still, reign) ? failure : new NotMaster({ reign: still })
})

/** Makes a change durable, then visible. */
const write = Effect.fnUntraced(function*(parts: Parts, change: Change) {
  const { cluster, ledger, peers, scope, sync } = parts
  const { record, reign } = change
  const needed = Math.min(CatalogPeers.others(yield* peers.view).length + 1, copies)
  const failure = (made: number, detail: string) => new NotDurable({ name: record.name, copies: made, needed, detail })
  const [prepared, { made, reasons }] = yield* Effect.all(
    [Effect.result(ledger.prepare(record)), replicate(parts, change, needed - 1)],
    { concurrency: "unbounded" }
  )
  if (Result.isFailure(prepared)) return yield* abort(parts, change, failure(made, prepared.failure.message))
  if (!prepared.success) return yield* abort(parts, change, failure(made, "too many changes are under way"))
  if (made + 1 < needed) return yield* abort(parts, change, failure(made + 1, reasons.join("; ") || "too few nodes"))
  const still = yield* cluster.mastership
  if (!Reign.equals(still, reign)) return yield* new NotMaster({ reign: still })
  const committed = yield* Effect.result(ledger.commit(record))
  if (Result.isFailure(committed)) return yield* abort(parts, change, failure(made, committed.failure.message))
  yield* Metric.update(Metric.withAttributes(CatalogMetrics.writes, { outcome: "durable" }), 1)
  const merged = ledger.get(record.name)
  return merged === undefined ? undefined : yield* Effect.forkIn(sync.spread([merged]), scope)
})

/** What a change gave, and those who are being told of it. */
interface Done<A> {
  readonly value: A
  readonly told: Fiber.Fiber<void> | undefined
}

const deploy = Effect.fnUntraced(function*(parts: Parts, options: Parameters<CatalogWriter["deploy"]>[0]) {
  const { bundles, cluster, digests, ledger, sync } = parts
  const { alias, draft, holder } = options
  const reign = yield* cluster.mastership
  yield* sync.ready(reign)
  const before = ledger.get(draft.name)
  const visible = before !== undefined && CatalogState.isVisible(before)
  if (!visible && ledger.state.visible >= maxFunctions) {
    return yield* new Invalid({ detail: `the catalog has ${maxFunctions} functions, the most it can have` })
  }
  const aliases = before === undefined ? [] : Object.keys(before.aliases)
  if (!aliases.includes(alias) && aliases.length >= CatalogState.maxAliases) {
    return yield* new Invalid({ detail: `${draft.name} has ${CatalogState.maxAliases} aliases, the most it can have` })
  }
  yield* Effect.mapError(
    bundles.ensure(draft.bundle, holder),
    ({ detail }) => new NotDurable({ name: draft.name, copies: 0, needed: 1, detail })
  )
  const version = yield* digests.digestHex(Digest.sha256, new TextEncoder().encode(Manifest.canonical(draft)))
  const at = yield* Clock.currentTimeMillis
  const known = before === undefined ? undefined : CatalogState.manifestOf(before, version)
  const manifest: Manifest.Manifest = known ?? { ...draft, version, createdAt: at }
  const stamp = ledger.nextStamp(reign.epoch, reign.id)
  const over = before === undefined ? undefined : CatalogState.current(before, alias)?.stamp
  const told = yield* write(parts, { reign, record: CatalogState.deployment({ manifest, alias, stamp, at, over }) })
  yield* Effect.logInfo("a function was deployed").pipe(
    Effect.annotateLogs({ function: manifest.name, version, alias, epoch: stamp.epoch, sequence: stamp.sequence })
  )
  return { value: manifest, told }
})

const remove = Effect.fnUntraced(function*(parts: Parts, name: Manifest.FunctionName) {
  const { cluster, ledger, sync } = parts
  const reign = yield* cluster.mastership
  yield* sync.ready(reign)
  const before = ledger.get(name)
  if (before === undefined || !CatalogState.isVisible(before)) return yield* new NotFound({ name, unavailable: false })
  const stamp = ledger.nextStamp(reign.epoch, reign.id)
  const told = yield* write(parts, { reign, record: CatalogState.removal(name, stamp) })
  yield* Effect.logInfo("a function was removed").pipe(
    Effect.annotateLogs({ function: name, epoch: stamp.epoch, sequence: stamp.sequence })
  )
  return { value: undefined, told }
})

export const make = (parts: Parts): CatalogWriter => {
  const one = Semaphore.makeUnsafe(1)
  const { cluster } = parts
  /** A change begins only while this master is open (H1); one whose turn comes when it is closed waits again. */
  const turn = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | NotMaster> => {
    const begun = Effect.flatMap(
      cluster.isOpen,
      (open) => open ? Effect.asSome(effect) : Effect.succeed(Option.none<A>())
    )
    return cluster.writable.pipe(
      Effect.andThen(one.withPermit(begun)),
      Effect.flatMap((done) => Option.isSome(done) ? Effect.succeed(done.value) : Effect.suspend(() => turn(effect)))
    )
  }
  /** A caller that goes away does not leave a change half written. It waits a moment for everybody to be told, while the
   * next change is made. */
  const whole = <A, E>(effect: Effect.Effect<Done<A>, E>): Effect.Effect<A, E | NotMaster> =>
    Effect.forkIn(turn(effect), parts.scope).pipe(
      Effect.flatMap(Fiber.join),
      Effect.flatMap(({ told, value }) =>
        told === undefined
          ? Effect.succeed(value)
          : Effect.as(Effect.timeoutOption(Fiber.await(told), spreadPatience), value)
      )
    )
  return {
    deploy: (options) => whole(deploy(parts, options)),
    remove: (name) => whole(remove(parts, name)),
    promote: (change) => turn(parts.sync.promote(change)),
    idle: one.withPermit(Effect.void)
  }
}
