/** The table of the other members: columns of numbers over interned identities, 21 bytes per entry.
 *
 * PURE. Boundary: stores and finds; whether a claim may replace an entry is decided in `Rumor`. The node itself is not
 * in its own table. Invariants: M3 (probe order), and `put` refuses with a defect what would break M1. */
import * as Identities from "./Identities.ts"
import * as Member from "./Member.ts"
import * as Prng from "./Prng.ts"

export interface Members {
  readonly identities: Identities.Identities
  /** Index of the interned identity, 0 = no entry; all columns are indexed by the name's row. */
  record: Uint32Array
  incarnation: Float64Array
  /** Since when the entry has its status, in tenths of a second after `base`. */
  since: Uint32Array
  status: Uint8Array
  /** The active rows, in random order: [0, cursor) were probed in this round, [cursor, active) were not. */
  order: Uint32Array
  active: number
  cursor: number
  /** Probes of this round; more than `cursor` when members that were probed in it have gone. */
  made: number
  size: number
  /** Grows with every change. */
  version: number
  /** A hash of all entries, independent of their order; kept up with every change. */
  sum: number
  /** 21 more bits of the same. */
  high: number
  readonly counts: [number, number, number, number]
  readonly base: number
  /** Rows that changed, for whoever checks every change; that reader empties it. */
  journal: Array<number> | undefined
}

export const bytesPerEntry = 4 + 8 + 4 + 1 + 4

export const make = (options: {
  readonly now: number
  readonly identities?: Identities.Identities | undefined
  readonly capacity?: number | undefined
}): Members => {
  const capacity = Math.max(8, options.capacity ?? 8)
  return {
    identities: options.identities ?? Identities.make(),
    record: new Uint32Array(capacity),
    incarnation: new Float64Array(capacity),
    since: new Uint32Array(capacity),
    status: new Uint8Array(capacity),
    order: new Uint32Array(capacity),
    active: 0,
    cursor: 0,
    made: 0,
    size: 0,
    version: 0,
    sum: 0,
    high: 0,
    counts: [0, 0, 0, 0],
    // Saved ages may lie before the start of this clock.
    base: options.now - 2 * 86_400_000,
    journal: undefined
  }
}

const grow = (self: Members, row: number): void => {
  if (row < self.record.length) return
  const capacity = Math.max(row + 1, Math.ceil(self.record.length * 1.5))
  const copy = <A extends Uint32Array | Float64Array | Uint8Array>(to: A, from: A): A => {
    to.set(from)
    return to
  }
  self.record = copy(new Uint32Array(capacity), self.record)
  self.incarnation = copy(new Float64Array(capacity), self.incarnation)
  self.since = copy(new Uint32Array(capacity), self.since)
  self.status = copy(new Uint8Array(capacity), self.status)
  self.order = copy(new Uint32Array(capacity), self.order)
}

/** The row of a member in this table, or -1. */
export const find = (self: Members, id: Member.MemberId): number => {
  const row = Identities.row(self.identities, id)
  return row >= 0 && has(self, row) ? row : -1
}

export const has = (self: Members, row: number): boolean => (self.record[row] ?? 0) !== 0

export const identity = (self: Members, row: number): Member.Identity =>
  Identities.identity(self.identities, self.record[row] ?? 0)

export const incarnation = (self: Members, row: number): number => self.incarnation[row] ?? 0

export const status = (self: Members, row: number): Member.Status => Member.statusOf(self.status[row] ?? 0)

export const isActive = (self: Members, row: number): boolean => has(self, row) && (self.status[row] ?? 0) < 2

/** An entry's part of a digest. Suspicions pass by on their own: they count as alive. */
export const hashOf = (hash: number, incarnation: number, status: Member.Status): number => {
  const h = Identities.mix(Identities.mix(hash, incarnation % 4294967296), Math.floor(incarnation / 4294967296))
  return Identities.mix(h, Member.isActive(status) ? 0 : Member.rankOf(status))
}

export const hash = (self: Members, row: number): number =>
  hashOf(Identities.hash(self.identities, self.record[row] ?? 0), incarnation(self, row), status(self, row))

/** The second hash of an entry, from its first. */
export const highOf = (hash: number): number => Identities.mix(hash, 0x5bd1e995) & 0x1fffff

/** Adds the entry's part to the hashes of all, or takes it out again. */
const count = (self: Members, row: number, sign: 1 | -1): void => {
  const own = hash(self, row)
  self.sum = (self.sum + sign * own) >>> 0
  self.high = (self.high + sign * highOf(own)) & 0x1fffff
}

/** How long an entry has had its status, in milliseconds. */
export const age = (self: Members, row: number, now: number): number =>
  Math.max(0, now - self.base - (self.since[row] ?? 0) * 100)

export const member = (self: Members, row: number): Member.Member => {
  const known = identity(self, row)
  return {
    id: known.id,
    bootId: known.bootId,
    startedAt: known.startedAt,
    address: known.address,
    meta: known.meta,
    incarnation: incarnation(self, row),
    status: status(self, row)
  }
}

export const forEach = (self: Members, f: (row: number) => void): void => {
  let left = self.size
  for (let row = 0; left > 0 && row < self.record.length; row++) {
    if (self.record[row] === 0) continue
    left--
    f(row)
  }
}

/** A new active row takes a random place: before the cursor it waits for the next round, and so it does when one that
 * was probed has gone. Otherwise a round could have more probes than there ever were members (M3). */
const activate = (self: Members, row: number, random: Prng.Prng): void => {
  const waits = self.made > self.cursor
  const place = waits ? self.cursor : Prng.below(random, self.active + 1)
  const { order } = self
  if (waits || place < self.cursor) {
    order[self.active] = order[self.cursor] ?? 0
    order[self.cursor] = order[place] ?? 0
    order[place] = row
    self.cursor++
  } else {
    order[self.active] = order[place] ?? 0
    order[place] = row
  }
  self.active++
}

/** Keeps both halves of the order intact, so that nobody is skipped in this round. */
const deactivate = (self: Members, row: number): void => {
  const { order } = self
  let place = order.subarray(0, self.active).indexOf(row)
  if (place < 0) return
  if (place < self.cursor) {
    self.cursor--
    order[place] = order[self.cursor] ?? 0
    place = self.cursor
  }
  self.active--
  order[place] = order[self.active] ?? 0
}

export interface Entry {
  readonly identity: Member.Identity
  readonly incarnation: number
  readonly status: Member.Status
  /** When it took this status (monotonic ms). */
  readonly since: number
  /** The name's row, where the caller knows it. */
  readonly row?: number | undefined
}

const isSame = (self: Members, row: number, identity: Member.Identity): boolean => {
  const record = self.record[row] ?? 0
  return record !== 0 && Identities.same(Identities.identity(self.identities, record), identity)
}

/** Inserts or replaces the entry of a name and returns its row. */
export const put = (self: Members, entry: Entry, random: Prng.Prng): number => {
  const unchanged = entry.row !== undefined && isSame(self, entry.row, entry.identity)
  const record = unchanged ? self.record[entry.row] ?? 0 : Identities.retain(self.identities, entry.identity)
  const row = entry.row ?? Identities.row(self.identities, entry.identity.id)
  grow(self, row)
  const rank = Member.rankOf(entry.status)
  self.version++
  self.journal?.push(row)
  const previous = self.record[row] ?? 0
  let wasActive = false
  if (previous !== 0) {
    const before = self.status[row] ?? 0
    wasActive = before < 2
    const i = incarnation(self, row)
    if (
      Identities.identity(self.identities, previous).bootId === entry.identity.bootId &&
      (entry.incarnation < i || (entry.incarnation === i && rank < before))
    ) throw new Error(`M1: ${entry.identity.id} would fall from ${before}(${i}) to ${rank}(${entry.incarnation})`)
    self.counts[before & 3] = (self.counts[before & 3] ?? 0) - 1
    count(self, row, -1)
    if (!unchanged) Identities.release(self.identities, previous)
  } else self.size++
  self.record[row] = record
  self.incarnation[row] = entry.incarnation
  self.since[row] = Math.max(0, Math.floor((entry.since - self.base) / 100))
  self.status[row] = rank
  self.counts[rank & 3] = (self.counts[rank & 3] ?? 0) + 1
  count(self, row, 1)
  if (rank < 2) {
    if (!wasActive) activate(self, row, random)
  } else if (wasActive) deactivate(self, row)
  return row
}

export const remove = (self: Members, row: number): void => {
  const record = self.record[row] ?? 0
  if (record === 0) return
  self.version++
  self.journal?.push(row)
  const before = self.status[row] ?? 0
  if (before < 2) deactivate(self, row)
  self.counts[before & 3] = (self.counts[before & 3] ?? 0) - 1
  count(self, row, -1)
  self.record[row] = 0
  self.size--
  Identities.release(self.identities, record)
}

/** The next member to probe: every active one once per round, in an order shuffled anew each round. */
export const nextProbe = (self: Members, random: Prng.Prng): number => {
  if (self.active === 0) return -1
  if (self.cursor >= self.active) {
    self.cursor = 0
    self.made = 0
  }
  // Shuffling lazily, one step of Fisher and Yates per probe.
  const { order } = self
  const place = self.cursor + Prng.below(random, self.active - self.cursor)
  const row = order[place] ?? 0
  order[place] = order[self.cursor] ?? 0
  order[self.cursor] = row
  self.cursor++
  self.made++
  return row
}

/** Up to `count` distinct random active rows that `accept` takes, appended to `into`. */
export const sample = (
  self: Members,
  random: Prng.Prng,
  options: { readonly count: number; readonly accept?: (row: number) => boolean; readonly into: Array<number> }
): void => {
  const { accept, count, into } = options
  const start = into.length
  const take = (row: number): void => {
    if (into.indexOf(row, start) < 0 && (accept === undefined || accept(row))) into.push(row)
  }
  if (self.active > 4 * count) {
    for (let tries = 4 * count; tries > 0 && into.length - start < count; tries--) {
      take(self.order[Prng.below(random, self.active)] ?? 0)
    }
    if (into.length - start >= count) return
  }
  // Few candidates: draw without replacement.
  const rest = self.order.slice(0, self.active)
  for (let left = rest.length; left > 0 && into.length - start < count; left--) {
    const place = Prng.below(random, left)
    take(rest[place] ?? 0)
    rest[place] = rest[left - 1] ?? 0
  }
}
