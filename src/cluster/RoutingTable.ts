/** Where a function version is warm: a lattice with one writer per key.
 *
 * PURE. Node `n` in its run `bootId` alone writes `(version, n, bootId)`, with a counter that only grows; the entry
 * with the newer counter wins, so merging is commutative, associative and idempotent. Entries are filtered by the
 * reader's view, not deleted: one counts only while its run is alive or suspect there. Those of a run whose tombstone
 * is gone are erased by the master, which tells its replicas.
 * Boundary: who sends what to whom is decided in `Replica` and `Registrations`. Invariants: R5 (`digest`). */
import type { BootId, MemberId } from "../swim/Member.ts"
import * as Rendezvous from "./Rendezvous.ts"

export interface Entry {
  readonly version: string
  readonly node: MemberId
  readonly bootId: BootId
  /** grows with every change the node makes to any of its entries */
  readonly counter: number
  /** false: the node no longer runs it */
  readonly live: boolean
}

export interface Run {
  readonly id: MemberId
  readonly bootId: BootId
}

interface Writer extends Run {
  readonly entries: Map<string, Entry>
  live: number
}

export interface RoutingTable {
  readonly writers: Map<string, Writer>
  readonly versions: Map<string, Array<Entry>>
  size: number
  hash: number
}

/** Entries a single run may have, and all of them together; more are refused and counted by the caller. */
export const maxPerWriter = 131_072
export const maxEntries = 1_048_576

export const make = (): RoutingTable => ({ writers: new Map(), versions: new Map(), size: 0, hash: 0 })

export const runKey = (run: Run): string => `${run.bootId}/${run.id}`

const entryHash = (entry: Entry): number =>
  Rendezvous.hash(`${entry.version} ${entry.bootId} ${entry.node} ${entry.counter} ${entry.live ? 1 : 0}`)

/** Positive when `a` replaces `b`. One writer never gives a counter twice; if it did, the withdrawal wins. */
export const compareEntry = (a: Entry, b: Entry): number => a.counter - b.counter || Number(b.live) - Number(a.live)

/** Merges one entry; false when the table already knew it or a newer one, or is full. */
export const merge = (self: RoutingTable, entry: Entry): boolean => {
  const key = `${entry.bootId}/${entry.node}`
  let writer = self.writers.get(key)
  const known = writer?.entries.get(entry.version)
  if (known !== undefined && compareEntry(entry, known) <= 0) return false
  if (known === undefined && (self.size >= maxEntries || (writer?.entries.size ?? 0) >= maxPerWriter)) return false
  if (writer === undefined) {
    writer = { id: entry.node, bootId: entry.bootId, entries: new Map(), live: 0 }
    self.writers.set(key, writer)
  }
  if (known === undefined) self.size++
  else self.hash ^= entryHash(known)
  self.hash ^= entryHash(entry)
  writer.live += Number(entry.live) - Number(known?.live ?? false)
  writer.entries.set(entry.version, entry)
  index(self, entry, known)
  return true
}

const index = (self: RoutingTable, entry: Entry, known: Entry | undefined): void => {
  const row = self.versions.get(entry.version)
  const at = row === undefined || known === undefined ? -1 : row.indexOf(known)
  if (entry.live) {
    if (row === undefined) self.versions.set(entry.version, [entry])
    else if (at < 0) row.push(entry)
    else row[at] = entry
  } else if (row !== undefined && at >= 0) {
    if (row.length === 1) self.versions.delete(entry.version)
    else row.splice(at, 1)
  }
}

/** The entries that changed the table, for passing on. */
export const mergeAll = (self: RoutingTable, entries: Iterable<Entry>): Array<Entry> => {
  const changed: Array<Entry> = []
  for (const entry of entries) if (merge(self, entry)) changed.push(entry)
  return changed
}

/** Forgets everything a run has written; false when there was nothing. */
export const erase = (self: RoutingTable, run: Run): boolean => {
  const writer = self.writers.get(runKey(run))
  if (writer === undefined) return false
  for (const entry of writer.entries.values()) {
    self.hash ^= entryHash(entry)
    self.size--
    const row = self.versions.get(entry.version)
    const at = row?.indexOf(entry) ?? -1
    if (row === undefined || at < 0) continue
    if (row.length === 1) self.versions.delete(entry.version)
    else row.splice(at, 1)
  }
  self.writers.delete(runKey(run))
  return true
}

/** The runs at which the version is warm, as far as `counts` lets them through, by id. */
export const nodes = (self: RoutingTable, version: string, counts: (run: Run) => boolean): Array<Run> => {
  const out: Array<Run> = []
  for (const { bootId, node } of self.versions.get(version) ?? []) {
    const run = { id: node, bootId }
    if (counts(run)) out.push(run)
  }
  return out.length < 2 ? out : out.sort((a, b) => a.id < b.id ? -1 : a.id > b.id ? 1 : a.bootId - b.bootId)
}

/** Live entries of the runs that count. */
export const count = (self: RoutingTable, counts: (run: Run) => boolean): number => {
  let total = 0
  for (const writer of self.writers.values()) if (counts(writer)) total += writer.live
  return total
}

/** How many live entries a run has. */
export const liveOf = (self: RoutingTable, run: Run): number => self.writers.get(runKey(run))?.live ?? 0

export const runs = (self: RoutingTable): Array<Run> =>
  Array.from(self.writers.values(), ({ bootId, id }) => ({ id, bootId }))

/** Equal for equal tables; different for different ones but for a chance of one in 2^32 (and the sizes). */
export const digest = (self: RoutingTable): { readonly size: number; readonly hash: number } => ({
  size: self.size,
  hash: self.hash >>> 0
})

/** Every entry, live or withdrawn. */
export const entries = (self: RoutingTable): Array<Entry> => {
  const out: Array<Entry> = []
  for (const writer of self.writers.values()) for (const entry of writer.entries.values()) out.push(entry)
  return out
}
