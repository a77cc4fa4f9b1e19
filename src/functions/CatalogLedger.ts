/** The records of this node: in memory, on its disk, and the stream of what they mean.
 *
 * Job: loads the records at the start; merges what arrives: own writes are on the disk before they are seen, what others
 * have is seen at once and on the disk a moment later (`flushing`); keeps prepared changes, which are on disk and not seen
 * until they are merged or known to have failed. A file that does not open is set aside under `aside/` and named in the
 * log; its record comes back from another node.
 * Boundary: whose writes to merge is decided above. When the disk refuses a record that other nodes have, the node
 * serves it from memory and tries to write it again. Files: `records/NAME`, `prepared/KEY`.
 * Invariants: R4. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as SubscriptionRef from "effect/SubscriptionRef"
import { seal, type Store, type StoreError, unseal } from "../cluster/Store.ts"
import type * as Aliases from "./Aliases.ts"
import * as CatalogMetrics from "./CatalogMetrics.ts"
import * as CatalogState from "./CatalogState.ts"
import type { Function as Listed } from "./Link.ts"

/** The functions that can be called, plain data. */
export interface CatalogView {
  readonly functions: ReadonlyArray<Listed>
}

/** Prepared changes a node keeps at most. */
const maxPrepared = 1024
const flushAfter = "200 millis"
const folder = { records: "records/", prepared: "prepared/", aside: "aside/" } as const

const Text = Schema.fromJsonString(CatalogState.FunctionRecord)
const encode = Schema.encodeUnknownExit(Text)
const decode = Schema.decodeUnknownExit(Text)

const toFile = (record: CatalogState.FunctionRecord): Uint8Array => {
  const exit = encode(record)
  if (Exit.isFailure(exit)) throw new TypeError("a record of the catalog has no text")
  return seal(new TextEncoder().encode(exit.value))
}

const fromFile = (bytes: Uint8Array): CatalogState.FunctionRecord | undefined => {
  const text = unseal(bytes)
  const exit = Option.isNone(text) ? undefined : decode(new TextDecoder().decode(text.value))
  return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
}

/** Moves a file that is not what it should be out of the way. */
export const setAside = Effect.fnUntraced(function*(store: Store["Service"], path: string, reason: string) {
  const at = yield* Clock.currentTimeMillis
  const aside = `${folder.aside}${path.replaceAll("/", "-")}-${at}`
  const bytes = yield* store.read(path)
  if (Option.isSome(bytes)) yield* store.replace(aside, bytes.value)
  yield* store.remove(path)
  yield* Metric.update(CatalogMetrics.setAside, 1)
  yield* Effect.logWarning("a file of the catalog was set aside").pipe(
    Effect.annotateLogs({ file: store.location(path), aside: store.location(aside), reason })
  )
})

const toListed = (record: CatalogState.FunctionRecord): Listed => ({
  name: record.name,
  aliases: Object.fromEntries(
    Object.entries(record.aliases).flatMap(([alias, [move]]) => move === undefined ? [] : [[alias, move.version]])
  ),
  manifests: record.versions.map((entry) => entry.manifest)
})

export class CatalogLedger {
  readonly state = CatalogState.make()
  private readonly store: Store["Service"]
  private readonly prepared = new Map<string, CatalogState.FunctionRecord>()
  /** Records whose file is older than they are. */
  private readonly unwritten = new Set<string>()
  /** Names whose record is on the disk and that may have prepared changes to forget. */
  private readonly unsettled = new Set<string>()
  private readonly refused = new Set<string>()
  private readonly dirty = Latch.makeUnsafe(false)
  private readonly locks = Array.from({ length: CatalogState.buckets }, () => Semaphore.makeUnsafe(1))
  private readonly revision: SubscriptionRef.SubscriptionRef<number>
  private sequence = 0
  private cached: { readonly revision: number; readonly view: CatalogView } | undefined

  private constructor(store: Store["Service"], revision: SubscriptionRef.SubscriptionRef<number>) {
    this.store = store
    this.revision = revision
  }

  /** Opens the records on the disk. */
  static readonly open: (store: Store["Service"]) => Effect.Effect<CatalogLedger, StoreError> = Effect.fnUntraced(
    function*(store: Store["Service"]) {
      const ledger = new CatalogLedger(store, yield* SubscriptionRef.make(0))
      for (const path of yield* store.list(folder.records)) {
        const record = yield* ledger.load(path)
        if (record !== undefined) CatalogState.apply(ledger.state, record)
      }
      for (const path of yield* store.list(folder.prepared)) {
        const change = yield* ledger.load(path)
        if (change !== undefined) ledger.keep(path, change)
      }
      yield* ledger.settle()
      yield* Metric.update(CatalogMetrics.functions, ledger.state.visible)
      return ledger
    }
  )

  private load(path: string): Effect.Effect<CatalogState.FunctionRecord | undefined, StoreError> {
    return Effect.gen({ self: this }, function*() {
      const bytes = yield* this.store.read(path)
      const record = Option.isNone(bytes) ? undefined : fromFile(bytes.value)
      if (record === undefined) yield* setAside(this.store, path, "torn or altered")
      return record
    })
  }

  get(name: string): CatalogState.FunctionRecord | undefined {
    return CatalogState.get(this.state, name)
  }

  /** The stamp for the next write in a reign, above all that were merged or prepared here. */
  nextStamp(epoch: number, master: string): Aliases.Stamp {
    return CatalogState.nextStamp(this.state, { epoch, master, above: this.sequence })
  }

  /** The highest epoch that wrote here. */
  get epoch(): number {
    const epochs = [...this.prepared.values()].map((change) => CatalogState.stampOf(change)?.epoch ?? 0)
    return Math.max(this.state.highest?.epoch ?? 0, ...epochs)
  }

  private write(
    record: CatalogState.FunctionRecord,
    disk: "first" | "later"
  ): Effect.Effect<boolean, StoreError> {
    const { name } = record
    const locked = Effect.gen({ self: this }, function*() {
      const before = this.get(name)
      const merged = CatalogState.merge(before ?? CatalogState.empty(name), record)
      if (before !== undefined && CatalogState.canonical(before) === CatalogState.canonical(merged)) return false
      if (disk === "first") {
        yield* this.store.replace(`${folder.records}${name}`, toFile(merged))
        this.unwritten.delete(name)
        this.unsettled.add(name)
      } else this.unwritten.add(name)
      CatalogState.apply(this.state, record)
      this.dirty.openUnsafe()
      yield* SubscriptionRef.update(this.revision, (n) => n + 1)
      yield* Metric.update(CatalogMetrics.functions, this.state.visible)
      return true
    })
    return this.lock(name, locked)
  }

  private lock<A, E>(name: string, effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    const lock = this.locks[CatalogState.bucketOf(name)]
    return lock === undefined ? effect : Effect.uninterruptible(lock.withPermit(effect))
  }

  /** Merges what other nodes have on their disks; true if it was news. */
  learn(record: CatalogState.FunctionRecord): Effect.Effect<boolean> {
    return Effect.orDie(this.write(record, "later"))
  }

  /** Merges a write of our own: it is seen only if it is on the disk. True if it was news. */
  commit(change: CatalogState.FunctionRecord): Effect.Effect<boolean, StoreError> {
    return this.write(change, "first")
  }

  /** Merges what has to be known from now on, on the disk first unless the disk refuses. True if it was news. */
  merge(record: CatalogState.FunctionRecord): Effect.Effect<boolean> {
    return Effect.catch(
      this.commit(record),
      (error) => Effect.andThen(this.complain(record.name, error), this.learn(record))
    )
  }

  private complain(name: string, error: StoreError): Effect.Effect<void> {
    if (this.refused.has(name)) return Effect.void
    this.refused.add(name)
    return Effect.logError("a record of the catalog could not be written").pipe(
      Effect.annotateLogs({ function: name, cause: error.message })
    )
  }

  private writeAgain(name: string): Effect.Effect<void> {
    const record = this.get(name)
    const path = `${folder.records}${name}`
    const written = record === undefined ? this.store.remove(path) : this.store.replace(path, toFile(record))
    const done = Effect.sync(() => {
      this.unwritten.delete(name)
      this.refused.delete(name)
      this.unsettled.add(name)
    })
    return this.lock(name, Effect.andThen(written, done)).pipe(
      Effect.catch((error) => this.complain(name, error))
    )
  }

  /** Brings the disk up to date; what it refuses stays for the next time. */
  readonly flush: Effect.Effect<void> = Effect.suspend(() => {
    this.dirty.closeUnsafe()
    for (const name of CatalogState.takeForgotten(this.state)) this.unwritten.add(name)
    return Effect.forEach([...this.unwritten], (name) => this.writeAgain(name), { concurrency: 4, discard: true }).pipe(
      Effect.andThen(Effect.suspend(() => {
        const names = new Set(this.unsettled)
        this.unsettled.clear()
        return this.settle(names)
      }))
    )
  })

  /** Brings the disk up to date a moment after each change, when whoever waits for the change has been answered. */
  readonly flushing: Effect.Effect<never> = Effect.forever(
    this.dirty.await.pipe(Effect.andThen(Effect.sleep(flushAfter)), Effect.andThen(this.flush))
  )

  /** Puts a change on the disk without showing it; false if it is known to have failed or been taken already. */
  prepare(change: CatalogState.FunctionRecord): Effect.Effect<boolean, StoreError> {
    const stamp = CatalogState.stampOf(change)
    const path = `${folder.prepared}${change.name}-${CatalogState.keyOf(change)}`
    return this.lock(
      change.name,
      Effect.gen({ self: this }, function*() {
        if (stamp === undefined || CatalogState.verdict(this.get(change.name), stamp) !== "unknown") return false
        if (this.prepared.size >= maxPrepared && !this.prepared.has(path)) return false
        yield* this.store.replace(path, toFile(change))
        this.keep(path, change)
        yield* Metric.update(CatalogMetrics.prepared, this.prepared.size)
        return true
      })
    )
  }

  private keep(path: string, change: CatalogState.FunctionRecord): void {
    this.prepared.set(path, change)
    this.sequence = Math.max(this.sequence, CatalogState.stampOf(change)?.sequence ?? 0)
  }

  /** The prepared changes whose end is not known. */
  get pending(): ReadonlyArray<CatalogState.FunctionRecord> {
    return [...this.prepared.values()].filter((change) => !this.isOver(change))
  }

  /** The change was taken or has failed. */
  private isOver(change: CatalogState.FunctionRecord): boolean {
    const stamp = CatalogState.stampOf(change)
    return stamp === undefined || CatalogState.verdict(this.get(change.name), stamp) !== "unknown"
  }

  /** Forgets a prepared change. */
  discard(change: CatalogState.FunctionRecord): Effect.Effect<void> {
    const path = `${folder.prepared}${change.name}-${CatalogState.keyOf(change)}`
    this.prepared.delete(path)
    return Effect.andThen(
      Metric.update(CatalogMetrics.prepared, this.prepared.size),
      Effect.ignore(this.store.remove(path))
    )
  }

  /** Forgets the prepared changes (of `names`) that were taken or have failed. */
  private settle(names?: ReadonlySet<string>): Effect.Effect<void> {
    const done = [...this.prepared.values()].filter((change) =>
      (names === undefined || names.has(change.name)) && this.isOver(change)
    )
    return Effect.forEach(done, (change) => this.discard(change), { discard: true })
  }

  /** What can be called now. */
  get view(): CatalogView {
    const revision = SubscriptionRef.getUnsafe(this.revision)
    if (this.cached?.revision !== revision) {
      const functions = CatalogState.records(this.state).filter(CatalogState.isVisible).map(toListed)
        .sort((a, b) => a.name < b.name ? -1 : 1)
      this.cached = { revision, view: { functions } }
    }
    return this.cached.view
  }

  /** What can be called, now and after every change; a slow reader gets the newest. */
  get views(): Stream.Stream<CatalogView> {
    return SubscriptionRef.changes(this.revision).pipe(
      Stream.buffer({ capacity: 1, strategy: "sliding" }),
      Stream.map(() => this.view)
    )
  }
}
