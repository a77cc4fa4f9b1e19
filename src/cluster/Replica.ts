/** The copies of the routing table: the master's sequenced changes, and how a replica follows them.
 *
 * PURE. The master numbers its changes and publishes them at most every 100 ms (a withdrawal at once); a replica takes a
 * snapshot, then every change in order. A gap, a lower reign or a digest that differs makes it subscribe anew. The first
 * snapshot under a reign is merged into what the replica has, because a new master may know less than its replicas
 * until everybody has registered again; later ones replace.
 * Boundary: who is master or replica is `Role`'s, moving the bytes `Replication`'s. Invariants: R1, R5. */
import type { Answer, Delta, Output } from "./ClusterMessage.ts"
import type { Role } from "./ClusterView.ts"
import * as Reign from "./Reign.ts"
import * as RoutingTable from "./RoutingTable.ts"
import type { Entry, Run } from "./RoutingTable.ts"
import type * as Topology from "./Topology.ts"

/** At most one batch in this time. */
export const batchInterval = 100
/** Changes that arrive together travel together. */
const gather = 2
const digestInterval = 1000
/** A replica keeps what the new master does not know yet for this long after a new reign. */
export const mergeWindow = 2000
/** A run that no member bears is erased after this time. */
const eraseAfter = 10_000
/** Entries in one batch; more wait for the next. */
export const maxDelta = 4000

export interface Replica {
  table: RoutingTable.RoutingTable
  role: Role
  reign: Reign.Reign | undefined
  reignSince: number
  sequence: number
  readonly buffer: Map<string, Entry>
  erased: Array<Run>
  flushAt: number
  lastFlush: number
  digestAt: number
  readonly absentSince: Map<string, number>
  follow: Run | undefined
  followAt: number
  /** the sequence up to which the table is complete; undefined before the snapshot */
  applied: number | undefined
  /** when it was last in step with the master */
  inStepAt: number
  incoming: RoutingTable.RoutingTable | undefined
}

const never = Number.POSITIVE_INFINITY

export const make = (): Replica => ({
  table: RoutingTable.make(),
  role: "worker",
  reign: undefined,
  reignSince: Number.NEGATIVE_INFINITY,
  sequence: 0,
  buffer: new Map(),
  erased: [],
  flushAt: never,
  lastFlush: Number.NEGATIVE_INFINITY,
  digestAt: never,
  absentSince: new Map(),
  follow: undefined,
  followAt: never,
  applied: undefined,
  inStepAt: Number.NEGATIVE_INFINITY,
  incoming: undefined
})

/** Takes over the role under a reign. */
export const assume = (
  self: Replica,
  role: Role,
  reign: Reign.Reign | undefined,
  now: number,
  out: Array<Output>
): void => {
  if (role === self.role && Reign.equals(reign, self.reign)) return
  const newReign = !Reign.equals(reign, self.reign)
  if (newReign) {
    self.reignSince = now
    self.sequence = 0
    self.buffer.clear()
    self.erased = []
    self.flushAt = never
    self.lastFlush = Number.NEGATIVE_INFINITY
  }
  self.role = role
  self.reign = reign
  self.incoming = undefined
  self.digestAt = role === "master" ? now + digestInterval : never
  self.absentSince.clear()
  if (role === "worker") self.table = RoutingTable.make()
  const target = role === "replica" && reign !== undefined ? { id: reign.id, bootId: reign.bootId } : undefined
  if (target !== undefined) {
    if (newReign || self.follow === undefined) subscribe(self, target, now, out)
  } else if (self.follow !== undefined) {
    self.follow = undefined
    self.followAt = never
    self.applied = undefined
    out.push({ _tag: "Follow", target: undefined, reign })
  }
}

const subscribe = (self: Replica, target: Run, now: number, out: Array<Output>): void => {
  if (self.follow === undefined) self.inStepAt = now
  self.follow = target
  self.followAt = never
  self.applied = undefined
  self.incoming = undefined
  out.push({ _tag: "Follow", target, reign: self.reign })
}

// ---- master

/** Entries from their writer (or from this node itself). */
export const accept = (self: Replica, entries: ReadonlyArray<Entry>, now: number): void => {
  const changed = RoutingTable.mergeAll(self.table, entries)
  if (changed.length === 0) return
  let urgent = false
  for (const entry of changed) {
    self.buffer.set(`${entry.bootId}/${entry.node}/${entry.version}`, entry)
    if (!entry.live) urgent = true
  }
  self.flushAt = Math.min(self.flushAt, urgent ? now : Math.max(now + gather, self.lastFlush + batchInterval))
}

export const snapshot = (self: Replica): Extract<Answer, { readonly _tag: "Subscribed" }> => ({
  _tag: "Subscribed",
  sequence: self.sequence,
  entries: RoutingTable.entries(self.table)
})

/** Erases the runs that no member bears any more. */
const eraseAbsent = (self: Replica, topology: Topology.Topology, now: number): void => {
  for (const run of RoutingTable.runs(self.table)) {
    const key = RoutingTable.runKey(run)
    const node = topology.nodes.get(run.id)
    if (node?.bootId === run.bootId) {
      self.absentSince.delete(key)
      continue
    }
    const since = self.absentSince.get(key) ?? now
    self.absentSince.set(key, since)
    if (now - since < eraseAfter) continue
    self.absentSince.delete(key)
    if (RoutingTable.erase(self.table, run)) {
      self.erased.push(run)
      self.flushAt = now
    }
  }
}

const flush = (self: Replica, reign: Reign.Reign, now: number, out: Array<Output>): void => {
  const entries: Array<Entry> = []
  for (const [key, entry] of self.buffer) {
    if (entries.length >= maxDelta) break
    entries.push(entry)
    self.buffer.delete(key)
  }
  const erased = self.erased
  self.erased = []
  self.sequence++
  self.lastFlush = now
  self.flushAt = self.buffer.size > 0 ? now + gather : never
  self.digestAt = now + digestInterval
  // while more is waiting, the digest would not be that of this sequence
  const { hash, size } = self.buffer.size > 0 ? unknownDigest : RoutingTable.digest(self.table)
  out.push({ _tag: "Publish", delta: { reign, sequence: self.sequence, entries, erased, size, hash } })
}

const unknownDigest = { size: -1, hash: 0 }

// ---- replica

const isFollowed = (self: Replica, from: Run, reign: Reign.Reign): boolean =>
  self.follow !== undefined && self.follow.id === from.id && self.follow.bootId === from.bootId &&
  Reign.equals(self.reign, reign)

export const receiveSnapshot = (
  self: Replica,
  message: {
    readonly from: Run
    readonly reign: Reign.Reign
    readonly sequence: number
    readonly entries: ReadonlyArray<Entry>
    readonly last: boolean
  },
  now: number,
  out: Array<Output>
): void => {
  if (!isFollowed(self, message.from, message.reign)) {
    return void out.push({ _tag: "Rejected", reason: "snapshot of another reign" })
  }
  const merging = now - self.reignSince < mergeWindow
  const target = merging ? self.table : self.incoming ?? RoutingTable.make()
  self.incoming = target
  RoutingTable.mergeAll(target, message.entries)
  if (!message.last) return
  self.table = target
  self.incoming = undefined
  self.applied = message.sequence
  self.inStepAt = now
}

export const receiveDelta = (
  self: Replica,
  from: Run,
  delta: Delta,
  now: number,
  out: Array<Output>
): void => {
  if (!isFollowed(self, from, delta.reign) || self.follow === undefined) {
    return void out.push({ _tag: "Rejected", reason: "delta of another reign" })
  }
  if (self.applied === undefined || delta.sequence <= self.applied) return
  if (delta.sequence !== self.applied + 1) {
    out.push({ _tag: "Rejected", reason: "gap in the sequence" })
    return subscribe(self, self.follow, now, out)
  }
  self.applied = delta.sequence
  self.inStepAt = now
  RoutingTable.mergeAll(self.table, delta.entries)
  for (const run of delta.erased) RoutingTable.erase(self.table, run)
  if (delta.size < 0 || now - self.reignSince < mergeWindow) return
  const { hash, size } = RoutingTable.digest(self.table)
  if (hash === delta.hash && size === delta.size) return
  out.push({ _tag: "Rejected", reason: "digest differs" })
  subscribe(self, self.follow, now, out)
}

/** The subscription ended: try again while the role lasts. */
export const followEnded = (self: Replica, target: Run, now: number): void => {
  if (self.follow === undefined || self.follow.id !== target.id || self.follow.bootId !== target.bootId) return
  self.applied = undefined
  self.followAt = now + batchInterval
}

// ---- both

export const settle = (self: Replica, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  if (self.role === "replica" && self.follow !== undefined && now >= self.followAt) {
    subscribe(self, self.follow, now, out)
  }
  if (self.role !== "master" || self.reign === undefined) return
  if (now >= self.digestAt) {
    eraseAbsent(self, topology, now)
    flush(self, self.reign, now, out)
  } else if (now >= self.flushAt) flush(self, self.reign, now, out)
}

/** How long ago the table was last in step with the master's; 0 for who follows nobody. */
export const lag = (self: Replica, now: number): number =>
  self.role === "replica" && self.follow !== undefined ? Math.max(0, now - self.inStepAt) : 0

export const nextWake = (self: Replica): number =>
  self.role === "worker" ? never : self.role === "master" ? Math.min(self.flushAt, self.digestAt) : self.followAt
