/** Interned identities: what a member says about itself is stored once and shared by every table of a process.
 *
 * PURE. Boundary: no status, no incarnation; those are columns of `Members`. A name has one row number while any table
 * holds one of its identities; rows and records are counted and reused. */
import * as Member from "./Member.ts"

interface Entry {
  readonly identity: Member.Identity
  readonly row: number
  readonly hash: number
  readonly name: number
  references: number
}

export interface Identities {
  readonly rows: Map<Member.MemberId, number>
  /** Records by row; mostly one, two while a restart spreads. */
  readonly records: Array<Array<number>>
  readonly entries: Array<Entry | undefined>
  readonly freeRows: Array<number>
  readonly freeEntries: Array<number>
}

// Record 0 means "none" in the tables.
export const make = (): Identities => ({
  rows: new Map(),
  records: [],
  entries: [undefined],
  freeRows: [],
  freeEntries: []
})

/** Of one name: whether both say the same. */
export const same = (a: Member.Identity, b: Member.Identity): boolean =>
  a === b || (a.bootId === b.bootId && a.startedAt === b.startedAt && Member.sameAddress(a.address, b.address) &&
    Member.sameBytes(a.meta, b.meta))

export const mix = (h: number, value: number): number => {
  h = Math.imul(h ^ (value | 0), 0x85ebca6b)
  h ^= h >>> 15
  h = Math.imul(h, 0xc2b2ae35)
  return (h ^ (h >>> 13)) >>> 0
}

/** FNV-1a with a finisher, over UTF-16 units. */
export const hashName = (name: string): number => {
  let h = 0x811c9dc5
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193)
  return mix(h, name.length)
}

/** Covers name, run and start time. */
export const hashIdentity = (identity: Member.Identity): number => {
  let h = mix(hashName(identity.id), identity.bootId % 4294967296)
  h = mix(h, Math.floor(identity.bootId / 4294967296))
  h = mix(h, identity.startedAt % 4294967296)
  return mix(h, Math.floor(identity.startedAt / 4294967296))
}

const rowFor = (self: Identities, id: Member.MemberId): number => {
  const known = self.rows.get(id)
  if (known !== undefined) return known
  const row = self.freeRows.pop() ?? self.records.length
  self.rows.set(id, row)
  self.records[row] = []
  return row
}

/** The record of this identity, counted once more. */
export const retain = (self: Identities, identity: Member.Identity): number => {
  const row = rowFor(self, identity.id)
  const records = self.records[row] ?? []
  for (const record of records) {
    const entry = self.entries[record]
    if (entry !== undefined && same(entry.identity, identity)) {
      entry.references++
      return record
    }
  }
  const record = self.freeEntries.pop() ?? self.entries.length
  const { address, bootId, id, meta, startedAt } = identity
  self.entries[record] = {
    identity: { id, bootId, startedAt, address: { host: address.host, port: address.port }, meta },
    row,
    hash: hashIdentity(identity),
    name: hashName(identity.id),
    references: 1
  }
  records.push(record)
  return record
}

export const release = (self: Identities, record: number): void => {
  const entry = self.entries[record]
  if (entry === undefined || --entry.references > 0) return
  self.entries[record] = undefined
  self.freeEntries.push(record)
  const records = self.records[entry.row]
  if (records === undefined) return
  records.splice(records.indexOf(record), 1)
  if (records.length > 0) return
  self.rows.delete(entry.identity.id)
  self.freeRows.push(entry.row)
}

/** -1 when no table holds the name. */
export const row = (self: Identities, id: Member.MemberId): number => self.rows.get(id) ?? -1

export const identity = (self: Identities, record: number): Member.Identity => {
  const entry = self.entries[record]
  if (entry === undefined) throw new Error(`no identity ${record}`)
  return entry.identity
}

export const nameHash = (self: Identities, record: number): number => self.entries[record]?.name ?? 0

export const hash = (self: Identities, record: number): number => self.entries[record]?.hash ?? 0
