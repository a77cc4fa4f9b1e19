/** Which functions exist, in which versions, under which aliases, and which were removed. PURE.
 *
 * Job: one record per function as a lattice. Versions are only added, aliases are last-writer-wins with history, a
 * removal covers everything stamped at or before it; so records merge in any order, any number of times, to the same.
 * A change is a record too, with just what it adds, and takes effect by being merged. Digests (per function, per bucket,
 * whole) let two nodes find out what differs.
 * Boundary: who may write, where the records are kept and where bundles come from is `Catalog`'s business. Invariant: R4
 * (what was merged stays, until removed or out of retention: the aliased versions and the last `keptVersions`).
 *
 * Retention does not break the laws: a version is dropped only if it is neither under an alias nor among the highest
 * stamps of a union, and then it is neither in any larger union that does not itself bring the alias that needs it. */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Aliases from "./Aliases.ts"
import * as Manifest from "./Manifest.ts"

/** A version and the write that added it, or that last deployed it. */
export const Entry = Schema.Struct({ stamp: Aliases.Stamp, manifest: Manifest.Manifest })
export type Entry = typeof Entry.Type

/** Everything about one function. Lists are sorted, highest stamp first. */
export const FunctionRecord = Schema.Struct({
  name: Manifest.FunctionName,
  /** the last removal: nothing at or before it counts */
  removed: Schema.optionalKey(Aliases.Stamp),
  versions: Schema.Array(Entry).check(Schema.isMaxLength(256)),
  aliases: Schema.Record(Schema.String, Schema.Array(Aliases.Move).check(Schema.isMaxLength(256))),
  /** writes that failed for lack of copies: a prepared copy of them must never take effect */
  aborted: Schema.Array(Aliases.Stamp).check(Schema.isMaxLength(256))
})
export type FunctionRecord = typeof FunctionRecord.Type

/** Versions kept besides those under an alias. */
export const keptVersions = 10
const keptAborted = 64
/** Removed functions that are remembered: those removed last. Every node forgets the same ones. */
export const keptRemoved = 10_000
export const maxAliases = 32

const stampKey = (stamp: Aliases.Stamp): string => JSON.stringify([stamp.epoch, stamp.sequence, stamp.master])

export const empty = (name: Manifest.FunctionName): FunctionRecord => ({ name, versions: [], aliases: {}, aborted: [] })

const maxStamp = (a: Aliases.Stamp | undefined, b: Aliases.Stamp | undefined): Aliases.Stamp | undefined => {
  if (a === undefined) return b
  return b === undefined || Aliases.compareStamps(a, b) >= 0 ? a : b
}

const entryKey = (entry: Entry): string => {
  const { manifest } = entry
  return JSON.stringify([
    entry.stamp.epoch,
    entry.stamp.sequence,
    entry.stamp.master,
    Manifest.canonical(manifest),
    manifest.createdAt
  ])
}

const compareEntries = (a: Entry, b: Entry): number =>
  Aliases.compareStamps(b.stamp, a.stamp) || (a.manifest.version < b.manifest.version ? -1 : 1)

const mergeVersions = (a: FunctionRecord, b: FunctionRecord): Array<Entry> => {
  const newest = new Map<string, Entry>()
  for (const entry of [...a.versions, ...b.versions]) {
    const known = newest.get(entry.manifest.version)
    const order = known === undefined ? 1 : Aliases.compareStamps(entry.stamp, known.stamp)
    if (known === undefined || order > 0 || (order === 0 && entryKey(entry) > entryKey(known))) {
      newest.set(entry.manifest.version, entry)
    }
  }
  return [...newest.values()].sort(compareEntries)
}

const mergeAliases = (
  a: FunctionRecord,
  b: FunctionRecord,
  removed: Aliases.Stamp | undefined
): Record<string, Aliases.History> => {
  const merged: Record<string, Aliases.History> = {}
  for (const alias of [...new Set([...Object.keys(a.aliases), ...Object.keys(b.aliases)])].sort()) {
    const history = Aliases.merge(a.aliases[alias] ?? [], b.aliases[alias] ?? [], removed)
    if (history.length > 0) merged[alias] = history
  }
  return merged
}

/** The least record that has what both have. Both are of the same function. */
export const merge = (a: FunctionRecord, b: FunctionRecord): FunctionRecord => {
  const removed = maxStamp(a.removed, b.removed)
  const aliases = mergeAliases(a, b, removed)
  const aliased = new Set(Object.values(aliases).map((history) => history[0]?.version))
  let recent = 0
  const versions = mergeVersions(a, b).filter((entry) => {
    const counts = removed === undefined || Aliases.compareStamps(entry.stamp, removed) > 0
    return (counts && recent++ < keptVersions) || aliased.has(entry.manifest.version)
  })
  const aborted = [...new Map([...a.aborted, ...b.aborted].map((stamp) => [stampKey(stamp), stamp])).values()]
    .sort((x, y) => Aliases.compareStamps(y, x)).slice(0, keptAborted)
  return removed === undefined
    ? { name: a.name, versions, aliases, aborted }
    : { name: a.name, removed, versions, aliases, aborted }
}

/** The change that adds a version and moves an alias to it. */
export const deployment = (options: {
  readonly manifest: Manifest.Manifest
  readonly alias: string
  readonly stamp: Aliases.Stamp
  readonly at: number
  readonly over: Aliases.Stamp | undefined
}): FunctionRecord => {
  const { alias, at, manifest, over, stamp } = options
  const move: Aliases.Move = over === undefined
    ? { stamp, version: manifest.version, at }
    : { stamp, version: manifest.version, at, over }
  return { ...empty(manifest.name), versions: [{ stamp, manifest }], aliases: { [alias]: [move] } }
}

/** The change that removes a function with everything it has. */
export const removal = (name: Manifest.FunctionName, stamp: Aliases.Stamp): FunctionRecord => ({
  ...empty(name),
  removed: stamp
})

/** The change that says that a write failed. */
export const abortion = (name: Manifest.FunctionName, stamp: Aliases.Stamp): FunctionRecord => ({
  ...empty(name),
  aborted: [stamp]
})

/** The stamp of a change: the highest in it. */
export const stampOf = (change: FunctionRecord): Aliases.Stamp | undefined => {
  let highest = change.removed
  for (const { stamp } of change.versions) highest = maxStamp(highest, stamp)
  for (const history of Object.values(change.aliases)) highest = maxStamp(highest, history[0]?.stamp)
  return highest
}

/** A short name for a change, the same wherever it is kept. */
export const keyOf = (change: FunctionRecord): string => {
  const stamp = stampOf(change)
  return hex(hash(stamp === undefined ? "" : stampKey(stamp)))
}

/** Whether a record already has a write, or knows that it failed. */
export const verdict = (record: FunctionRecord | undefined, stamp: Aliases.Stamp): "taken" | "aborted" | "unknown" => {
  if (record === undefined) return "unknown"
  const same = (other: Aliases.Stamp): boolean => Aliases.compareStamps(other, stamp) === 0
  if (record.aborted.some(same)) return "aborted"
  const covered = record.removed !== undefined && Aliases.compareStamps(stamp, record.removed) <= 0
  const moved = Object.values(record.aliases).some((history) => history.some((move) => same(move.stamp)))
  return covered || moved || record.versions.some((entry) => same(entry.stamp)) ? "taken" : "unknown"
}

/** The current move of an alias. */
export const current = (record: FunctionRecord, alias: string): Aliases.Move | undefined => record.aliases[alias]?.[0]

/** Something of the function can be called. */
export const isVisible = (record: FunctionRecord): boolean => Object.keys(record.aliases).length > 0

export const manifestOf = (record: FunctionRecord, version: string): Manifest.Manifest | undefined =>
  record.versions.find((entry) => entry.manifest.version === version)?.manifest

/** The version a reference means; a prefix must fit exactly one. */
export const resolve = (record: FunctionRecord, reference: Aliases.Reference): Option.Option<Manifest.Manifest> => {
  if (!isVisible(record)) return Option.none()
  if (reference._tag === "Alias") {
    const move = current(record, reference.alias)
    return Option.fromUndefinedOr(move === undefined ? undefined : manifestOf(record, move.version))
  }
  const fitting = record.versions.filter(({ manifest }) => manifest.version.startsWith(reference.prefix))
  return Option.fromUndefinedOr(fitting.length === 1 ? fitting[0]?.manifest : undefined)
}

/** The text of a record: equal records, equal text. */
export const canonical = (record: FunctionRecord): string => {
  const stamp = (s: Aliases.Stamp | undefined) => s === undefined ? 0 : [s.epoch, s.sequence, s.master]
  return JSON.stringify([
    record.name,
    stamp(record.removed),
    record.versions.map((entry) => [
      stamp(entry.stamp),
      entry.manifest.version,
      Manifest.canonical(entry.manifest),
      entry.manifest.createdAt
    ]),
    Object.keys(record.aliases).sort().map((alias) => [
      alias,
      (record.aliases[alias] ?? []).map((move) => [stamp(move.stamp), move.version, move.at, stamp(move.over)])
    ]),
    record.aborted.map(stamp)
  ])
}

/** 128 bits as four words. */
type Words = Uint32Array

/** cyrb128: four interleaved multiplicative hashes over UTF-16 units. For finding differences, not for trust. */
const hash = (text: string): Words => {
  let h1 = 1779033703
  let h2 = 3144134277
  let h3 = 1013904242
  let h4 = 2773480762
  for (let i = 0; i < text.length; i++) {
    const k = text.charCodeAt(i)
    h1 = h2 ^ Math.imul(h1 ^ k, 597399067)
    h2 = h3 ^ Math.imul(h2 ^ k, 2869860233)
    h3 = h4 ^ Math.imul(h3 ^ k, 951274213)
    h4 = h1 ^ Math.imul(h4 ^ k, 2716044179)
  }
  h1 = Math.imul(h3 ^ (h1 >>> 18), 597399067)
  h2 = Math.imul(h4 ^ (h2 >>> 22), 2869860233)
  h3 = Math.imul(h1 ^ (h3 >>> 17), 951274213)
  h4 = Math.imul(h2 ^ (h4 >>> 19), 2716044179)
  return Uint32Array.of(h1 ^ h2 ^ h3 ^ h4, h2 ^ h1, h3 ^ h1, h4 ^ h1)
}

const hex = (words: Words): string => Array.from(words, (word) => word.toString(16).padStart(8, "0")).join("")

const toggle = (target: Words | undefined, words: Words): void => {
  for (let i = 0; i < 4; i++) if (target !== undefined) target[i] = (target[i] ?? 0) ^ (words[i] ?? 0)
}

/** Functions fall into this many buckets by name. */
export const buckets = 64

export const bucketOf = (name: string): number => (hash(name)[0] ?? 0) % buckets

interface Kept {
  readonly record: FunctionRecord
  readonly digest: Words
}

/** All records of a node. Mutable inside; changed by `apply` only. */
export interface CatalogState {
  readonly kept: Map<string, Kept>
  readonly bucketDigests: ReadonlyArray<Words>
  readonly keptRemoved: number
  highest: Aliases.Stamp | undefined
  visible: number
  /** names that were forgotten and not yet asked for (`takeForgotten`) */
  forgotten: Array<string>
}

export const make = (options: { readonly keptRemoved?: number } = {}): CatalogState => ({
  kept: new Map(),
  bucketDigests: Array.from({ length: buckets }, () => new Uint32Array(4)),
  keptRemoved: options.keptRemoved ?? keptRemoved,
  highest: undefined,
  visible: 0,
  forgotten: []
})

/** The names forgotten since the last time this was asked. */
export const takeForgotten = (self: CatalogState): ReadonlyArray<string> => self.forgotten.splice(0)

/** The last that is known of a function of which nothing can be called. */
const lastOf = (record: FunctionRecord): Aliases.Stamp | undefined =>
  record.aborted.reduce<Aliases.Stamp | undefined>(maxStamp, stampOf(record))

/** Forgets the function that was removed first, when there are too many. A node that still has it, because it was away
 * while so many others were removed, brings it back. */
const forget = (self: CatalogState): void => {
  if (self.kept.size - self.visible <= self.keptRemoved) return
  let first: Kept | undefined
  let at: Aliases.Stamp | undefined
  for (const kept of self.kept.values()) {
    if (isVisible(kept.record)) continue
    const stamp = lastOf(kept.record)
    if (first !== undefined && maxStamp(at, stamp) === stamp) continue
    first = kept
    at = stamp
  }
  if (first === undefined) return
  const { name } = first.record
  toggle(self.bucketDigests[bucketOf(name)], first.digest)
  self.kept.delete(name)
  self.forgotten.push(name)
}

export const get = (self: CatalogState, name: string): FunctionRecord | undefined => self.kept.get(name)?.record

/** Merges a record or a change; the resulting record if it is another than before. */
export const apply = (self: CatalogState, record: FunctionRecord): FunctionRecord | undefined => {
  const before = self.kept.get(record.name)
  const merged = merge(before?.record ?? empty(record.name), record)
  const digest = hash(canonical(merged))
  if (before !== undefined && before.digest.every((word, i) => word === digest[i])) return undefined
  const bucket = self.bucketDigests[bucketOf(record.name)]
  if (before !== undefined) toggle(bucket, before.digest)
  toggle(bucket, digest)
  self.visible += Number(isVisible(merged)) - Number(before !== undefined && isVisible(before.record))
  self.kept.set(record.name, { record: merged, digest })
  self.highest = maxStamp(self.highest, stampOf(merged))
  for (const stamp of merged.aborted) self.highest = maxStamp(self.highest, stamp)
  if (!isVisible(merged)) forget(self)
  return merged
}

/** The stamp of the next write of a master in its reign, above every stamp this state has seen. */
export const nextStamp = (
  self: CatalogState,
  options: { readonly epoch: number; readonly master: string; readonly above: number }
): Aliases.Stamp => ({
  epoch: options.epoch,
  sequence: Math.max(options.above, self.highest?.sequence ?? 0) + 1,
  master: options.master
})

export const digestOf = (self: CatalogState, name: string): string | undefined => {
  const kept = self.kept.get(name)
  return kept === undefined ? undefined : hex(kept.digest)
}

export const bucketDigest = (self: CatalogState, bucket: number): string =>
  hex(self.bucketDigests[bucket] ?? new Uint32Array(4))

/** Equal states have equal digests. */
export const digest = (self: CatalogState): string => {
  const whole = new Uint32Array(4)
  for (let i = 0; i < buckets; i++) toggle(whole, hash(`${i}:${bucketDigest(self, i)}`))
  return hex(whole)
}

/** Every record, removed functions too. */
export const records = (self: CatalogState): ReadonlyArray<FunctionRecord> =>
  Array.from(self.kept.values(), ({ record }) => record)

/** The digests of all bundles that a kept version needs. */
export const bundles = (self: CatalogState): ReadonlyMap<string, number> => {
  const needed = new Map<string, number>()
  for (const { record } of self.kept.values()) {
    if (!isVisible(record)) continue
    for (const { manifest } of record.versions) needed.set(manifest.bundle, manifest.size)
  }
  return needed
}
