/** What is still to be passed on: per subject the newest message, each with a count of how often it was sent.
 *
 * PURE. Boundary: chooses messages for a packet; whom to send it to is decided in `Spread`.
 * Order: fewest sent first, then largest (by classes of 16 bytes, oldest first within one). Insert and removal are
 * O(1), filling a packet is O(messages taken). Invariants: M5 (bounded in entries, bytes and age; what cannot ever fit
 * is refused when added). */
import type * as Message from "./Message.ts"

interface Entry {
  readonly key: string
  message: Message.Message
  size: number
  since: number
  sent: number
  prev: Entry | undefined
  next: Entry | undefined
}

const classes = 96
const words = classes / 32
const classOf = (size: number): number => Math.min(classes - 1, size >> 4)

interface Level {
  count: number
  readonly bits: Uint32Array
  readonly heads: Array<Entry | undefined>
  readonly tails: Array<Entry | undefined>
}

export interface Gossip {
  readonly levels: Array<Level>
  readonly byKey: Map<string, Entry>
  bytes: number
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxAge: number
  dropped: number
}

export const make = (options: {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxAge: number
}): Gossip => ({
  levels: [],
  byKey: new Map(),
  bytes: 0,
  maxEntries: options.maxEntries,
  maxBytes: options.maxBytes,
  maxAge: options.maxAge,
  dropped: 0
})

const level = (self: Gossip, sent: number): Level => {
  while (self.levels.length <= sent) {
    self.levels.push({ count: 0, bits: new Uint32Array(words), heads: [], tails: [] })
  }
  const found = self.levels[sent]
  if (found === undefined) throw new Error(`no level ${sent}`)
  return found
}

const link = (self: Gossip, entry: Entry): void => {
  const at = level(self, entry.sent)
  const cls = classOf(entry.size)
  const tail = at.tails[cls]
  entry.prev = tail
  entry.next = undefined
  if (tail === undefined) {
    at.heads[cls] = entry
    at.bits[cls >> 5] = (at.bits[cls >> 5] ?? 0) | (1 << (cls & 31))
  } else tail.next = entry
  at.tails[cls] = entry
  at.count++
}

const unlink = (self: Gossip, entry: Entry): void => {
  const at = level(self, entry.sent)
  const cls = classOf(entry.size)
  if (entry.prev === undefined) at.heads[cls] = entry.next
  else entry.prev.next = entry.next
  if (entry.next === undefined) at.tails[cls] = entry.prev
  else entry.next.prev = entry.prev
  entry.prev = undefined
  entry.next = undefined
  if (at.heads[cls] === undefined) at.bits[cls >> 5] = (at.bits[cls >> 5] ?? 0) & ~(1 << (cls & 31))
  at.count--
}

const drop = (self: Gossip, entry: Entry): void => {
  unlink(self, entry)
  self.byKey.delete(entry.key)
  self.bytes -= entry.size
}

export const remove = (self: Gossip, key: string): void => {
  const entry = self.byKey.get(key)
  if (entry !== undefined) drop(self, entry)
}

/** Replaces what was queued under the key. False when it is too large for any packet. */
export const add = (
  self: Gossip,
  options: {
    readonly key: string
    readonly message: Message.Message
    readonly size: number
    readonly limit: number
    readonly now: number
  }
): boolean => {
  const { key, limit, message, now, size } = options
  if (size > limit) return false
  const older = self.byKey.get(key)
  if (older !== undefined && self.bytes - older.size + size <= self.maxBytes) {
    unlink(self, older)
    self.bytes += size - older.size
    older.message = message
    older.size = size
    older.since = now
    older.sent = 0
    link(self, older)
    return true
  }
  if (older !== undefined) drop(self, older)
  while (self.byKey.size > 0 && (self.byKey.size >= self.maxEntries || self.bytes + size > self.maxBytes)) {
    if (!dropMostSent(self)) break
  }
  const entry: Entry = { key, message, size, since: now, sent: 0, prev: undefined, next: undefined }
  self.byKey.set(key, entry)
  self.bytes += size
  link(self, entry)
  return true
}

const dropMostSent = (self: Gossip): boolean => {
  for (let sent = self.levels.length - 1; sent >= 0; sent--) {
    const at = self.levels[sent]
    if (at === undefined || at.count === 0) continue
    for (const head of at.heads) {
      if (head === undefined) continue
      drop(self, head)
      self.dropped++
      return true
    }
  }
  return false
}

/** The highest class at or below `cls` with entries, or -1. */
const highest = (at: Level, cls: number): number => {
  for (let word = cls >> 5; word >= 0; word--) {
    let bits = at.bits[word] ?? 0
    if (word === cls >> 5 && (cls & 31) < 31) bits &= (2 << (cls & 31)) - 1
    if (bits !== 0) return word * 32 + 31 - Math.clz32(bits)
  }
  return -1
}

const taken: Array<Entry> = []

export interface Fill {
  readonly room: number
  /** Sends allowed per entry. */
  readonly limit: number
  /** Only entries sent fewer times than this. */
  readonly below: number
  readonly now: number
  readonly into: Array<Message.Message>
}

/** Appends messages that fit into `room` bytes, counts them as sent once and returns the bytes used. */
export const fill = (self: Gossip, options: Fill): number => {
  const { into, now, room } = options
  if (self.byKey.size === 0) return 0
  let left = room
  const levels = Math.min(self.levels.length, options.below)
  for (let sent = 0; sent < levels && left > 3; sent++) {
    const at = self.levels[sent]
    if (at === undefined) break
    let cls = classOf(left)
    while (at.count > 0 && left > 3) {
      cls = highest(at, Math.min(cls, classOf(left)))
      if (cls < 0) break
      const entry = fitting(at.heads[cls], left)
      if (entry === undefined) {
        cls--
        if (cls < 0) break
        continue
      }
      if (sent >= options.limit || now - entry.since > self.maxAge) {
        drop(self, entry)
        continue
      }
      unlink(self, entry)
      taken.push(entry)
      left -= entry.size
      into.push(entry.message)
    }
  }
  for (const entry of taken) {
    entry.sent++
    if (entry.sent >= options.limit) {
      self.byKey.delete(entry.key)
      self.bytes -= entry.size
    } else link(self, entry)
  }
  taken.length = 0
  return room - left
}

// Within one class sizes differ by less than 16 bytes; a few looks are enough.
const fitting = (head: Entry | undefined, room: number): Entry | undefined => {
  let entry = head
  for (let looks = 0; entry !== undefined && looks < 4; looks++, entry = entry.next) {
    if (entry.size <= room) return entry
  }
  return undefined
}

export const length = (self: Gossip): number => self.byKey.size

/** True when some entry was sent fewer than `below` times. */
export const hasFresh = (self: Gossip, below: number): boolean => {
  for (let sent = 0; sent < below && sent < self.levels.length; sent++) {
    if ((self.levels[sent]?.count ?? 0) > 0) return true
  }
  return false
}
