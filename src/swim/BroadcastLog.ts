/** What was said lately, by origin: puts user broadcasts in order and keeps them for those who missed some.
 *
 * PURE. Boundary: knows numbers and bounds; when to ask whom is decided in `Broadcasts`. A lane is one origin, one run of
 * it and one priority: numbers count from 0 in each lane, and each lane is delivered in order.
 * Invariants: M5 (bytes, age and lanes are bounded; the oldest goes first). */
import type * as Member from "./Member.ts"
import type * as Message from "./Message.ts"

export interface Lane {
  readonly origin: Member.MemberId
  readonly bootId: number
  readonly lane: number
  /** The next number to deliver. */
  next: number
  /** One above the highest number heard of. */
  head: number
  /** Everything below may be gone from here. */
  low: number
  /** What is kept; `undefined` stands for one that a newer one has made pointless. */
  readonly entries: Map<number, Message.Broadcast | undefined>
  /** The newest number by kind and key. */
  readonly keys: Map<string, number>
  /** Since when `next` is missed, -1 = it is not. */
  stuckAt: number
  /** When a peer was asked, -1 = no question is open. */
  askedAt: number
  asks: number
  /** When its newest number was heard of. */
  newsAt: number
}

interface Kept {
  readonly lane: Lane
  readonly seq: number
  readonly size: number
  readonly at: number
}

export interface Log {
  readonly lanes: Map<string, Lane>
  /** Lanes with news, oldest first. */
  readonly recent: Array<Lane>
  readonly maxBytes: number
  readonly maxAge: number
  readonly maxLanes: number
  fifo: Array<Kept>
  first: number
  bytes: number
  /** Numbers given up: nobody had them any more. */
  missed: number
}

const maxRecent = 64
/** Costs of an entry beside its payload. */
const entryBytes = 64

export const make = (options: {
  readonly maxBytes: number
  readonly maxAge: number
  readonly maxLanes: number
}): Log => ({ ...options, lanes: new Map(), recent: [], fifo: [], first: 0, bytes: 0, missed: 0 })

const laneKey = (origin: string, bootId: number, lane: number): string => `${lane}\u0000${bootId}\u0000${origin}`

export interface Place {
  readonly origin: Member.MemberId
  readonly bootId: number
  readonly lane: number
}

export const find = (self: Log, at: Place): Lane | undefined => self.lanes.get(laneKey(at.origin, at.bootId, at.lane))

/** The lane, new if need be; nothing when there are too many. */
export const open = (self: Log, at: Place): Lane | undefined => {
  const key = laneKey(at.origin, at.bootId, at.lane)
  const known = self.lanes.get(key)
  if (known !== undefined) return known
  if (self.lanes.size >= self.maxLanes) return undefined
  const lane: Lane = {
    origin: at.origin,
    bootId: at.bootId,
    lane: at.lane,
    next: 0,
    head: 0,
    low: 0,
    entries: new Map(),
    keys: new Map(),
    stuckAt: -1,
    askedAt: -1,
    asks: 0,
    newsAt: -Infinity
  }
  self.lanes.set(key, lane)
  return lane
}

/** Takes notice of a number; the lane is then among the recent ones. */
export const hear = (self: Log, lane: Lane, seq: number, now: number): void => {
  if (seq < lane.head) return
  lane.head = seq + 1
  lane.newsAt = now
  const { recent } = self
  if (recent.at(-1) === lane) return
  const at = recent.indexOf(lane)
  if (at >= 0) recent.splice(at, 1)
  recent.push(lane)
  if (recent.length > maxRecent) recent.shift()
}

const keyOf = (message: Message.Broadcast): string => `${message.kind}\u0000${message.key}`

/** Keeps one. The number that its key makes pointless is returned, its own when it is pointless itself. */
export const keep = (self: Log, lane: Lane, message: Message.Broadcast, now: number): number => {
  let pointless = -1
  if (message.key !== "") {
    const key = keyOf(message)
    const other = lane.keys.get(key)
    if (other !== undefined) pointless = Math.min(other, message.seq)
    if (other === undefined || other < message.seq) lane.keys.set(key, message.seq)
  }
  put(self, lane, message.seq, pointless === message.seq ? undefined : message, now)
  if (pointless >= 0 && pointless !== message.seq) annul(lane, pointless)
  return pointless
}

/** Marks a number as one that nobody needs. */
export const skip = (self: Log, lane: Lane, seq: number, now: number): void => put(self, lane, seq, undefined, now)

/** Makes a kept one pointless. */
export const annul = (lane: Lane, seq: number): void => {
  if (lane.entries.has(seq)) lane.entries.set(seq, undefined)
}

const put = (self: Log, lane: Lane, seq: number, message: Message.Broadcast | undefined, now: number): void => {
  const size = entryBytes + (message === undefined ? 0 : message.payload.length + message.kind.length)
  lane.entries.set(seq, message)
  self.fifo.push({ lane, seq, size, at: now })
  self.bytes += size
  while (self.bytes > self.maxBytes && self.first < self.fifo.length - 1) evict(self)
}

/** The age of the oldest one kept. */
export const oldest = (self: Log, now: number): number => {
  const kept = self.fifo[self.first]
  return kept === undefined ? 0 : now - kept.at
}

const evict = (self: Log): void => {
  const kept = self.fifo[self.first]
  if (kept === undefined) return
  self.first++
  self.bytes -= kept.size
  const { lane, seq } = kept
  const message = lane.entries.get(seq)
  if (message !== undefined && message.key !== "" && lane.keys.get(keyOf(message)) === seq) {
    lane.keys.delete(keyOf(message))
  }
  lane.entries.delete(seq)
  if (seq >= lane.low) lane.low = seq + 1
  if (self.first < 1024 || self.first * 2 < self.fifo.length) return
  self.fifo = self.fifo.slice(self.first)
  self.first = 0
}

/** Forgets what is too old, and lanes of runs that are over. */
export const reap = (self: Log, now: number, isOver: (lane: Lane) => boolean): void => {
  while (self.first < self.fifo.length && oldest(self, now) > self.maxAge) evict(self)
  for (const [key, lane] of self.lanes) {
    if (lane.entries.size > 0 || now - lane.newsAt < 2 * self.maxAge || !isOver(lane)) continue
    self.lanes.delete(key)
    const at = self.recent.indexOf(lane)
    if (at >= 0) self.recent.splice(at, 1)
  }
}
