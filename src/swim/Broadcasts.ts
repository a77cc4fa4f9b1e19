/** User broadcasts: numbered per origin, run and priority, delivered in order and once, passed on within their own queue,
 * and asked for where a number is missing.
 *
 * PURE. Boundary: payloads are opaque; kinds and schemas are the layers' above. What is kept is `BroadcastLog`'s.
 * Repair: a member that misses a number for longer than gossip takes asks a peer (`Want`, every second time the origin)
 * and gets what the peer has, then a `Have`. Heads travel with acknowledgements and exchanges, so that the loss of the
 * last one is noticed too. Whoever is a member while a broadcast is kept (`broadcastAge`) gets it.
 * Invariants: M5 (queue, log and answers are bounded: what does not fit is refused to the caller). */
import * as Log from "./BroadcastLog.ts"
import * as Core from "./Core.ts"
import * as Gossip from "./Gossip.ts"
import * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Prng from "./Prng.ts"
import * as Spread from "./Spread.ts"

/** Numbers that one question covers, one bit each. */
const window = 1024
/** A lane is not followed further ahead than this: what lies between is given up. */
const maxAhead = 65_536
/** Datagrams in one answer. */
const answerPackets = 12
/** Answers in one gossip interval. */
const answerBudget = 16
/** Lanes asked about at once. */
const askAtOnce = 4
/** Heads told with one acknowledgement. */
const headsPerAck = 6
/** Unanswered questions before a number may be given up. */
const patience = 8

const queueOf = (core: Core.Core, lane: number): Gossip.Gossip => lane === 0 ? core.broadcasts : core.urgent

/** A broadcast with a key takes the place of an older one with the same key. */
const queueKey = (message: Message.Broadcast): string =>
  message.key === ""
    ? `${message.seq}\u0000${message.bootId}\u0000${message.origin}`
    : `k\u0000${message.kind}\u0000${message.key}\u0000${message.bootId}\u0000${message.origin}`

export interface Publish {
  readonly kind: string
  readonly key: string
  readonly payload: Uint8Array
  /** Goes out before others, in an order of its own. */
  readonly urgent?: boolean | undefined
  /** Keys of older broadcasts of the same kind that are pointless now. */
  readonly invalidates?: ReadonlyArray<string> | undefined
}

/** Numbers, delivers and spreads one of our own; refused when it fits into no packet or the queue is full. */
export const publish = (core: Core.Core, options: Publish): void => {
  if (core.status === "left") return Core.reject(core, "left")
  const { bootId, id: origin } = core.self
  const at = { origin, bootId, lane: options.urgent === true ? 1 : 0 }
  const lane = Log.open(core.log, at)
  if (lane === undefined) return Core.reject(core, "broadcast-queue-full")
  const { key, kind, payload } = options
  const message: Message.Broadcast = { _tag: "Broadcast", ...at, seq: lane.next, kind, key, payload }
  if (!Spread.isSendable(core, message)) return Core.reject(core, "oversized-broadcast")
  if (isBusy(core, at.lane, payload.length)) return Core.reject(core, "broadcast-queue-full")
  for (const key of options.invalidates ?? []) invalidate(core, kind, key)
  Log.keep(core.log, lane, message, core.now)
  Log.hear(core.log, lane, message.seq, core.now)
  lane.next++
  // Alone there is nobody to tell; who joins within the broadcast's age asks for it.
  if (core.table.active > 0) Spread.broadcast(core, queueOf(core, at.lane), queueKey(message), message)
  Core.notify(core, { _tag: "Delivered", broadcast: message })
}

/** A quarter of the queue is left to what others say, and nothing is taken that pushes out what may still be asked for. */
const isBusy = (core: Core.Core, lane: number, size: number): boolean => {
  const { log } = core
  const queue = queueOf(core, lane)
  if (core.table.active > 0 && queue.bytes + size > 0.75 * queue.maxBytes) return true
  return log.bytes + size > 0.75 * log.maxBytes && core.table.active > 0 &&
    Log.oldest(log, core.now) < 25 * core.params.gossipInterval
}

const invalidate = (core: Core.Core, kind: string, key: string): void => {
  const { bootId, id: origin } = core.self
  for (const number of [0, 1]) {
    const lane = Log.find(core.log, { origin, bootId, lane: number })
    const seq = lane?.keys.get(`${kind}\u0000${key}`)
    const message = seq === undefined ? undefined : lane?.entries.get(seq)
    if (lane === undefined || message === undefined) continue
    Gossip.remove(queueOf(core, number), queueKey(message))
    Log.annul(lane, message.seq)
  }
}

export const receive = (core: Core.Core, message: Message.Broadcast): void => {
  if (message.origin === core.self.id) return
  const lane = Log.open(core.log, message)
  if (lane === undefined) return Core.reject(core, "too-many-origins")
  const { seq } = message
  if (seq < lane.next || lane.entries.has(seq)) return
  if (seq >= lane.next + maxAhead) giveUp(core, lane, seq - window)
  Log.hear(core.log, lane, seq, core.now)
  const pointless = Log.keep(core.log, lane, message, core.now)
  if (pointless !== seq) Spread.broadcast(core, queueOf(core, lane.lane), queueKey(message), message)
  deliver(core, lane)
}

/** Delivers what is next, and watches over what is missing. */
const deliver = (core: Core.Core, lane: Log.Lane): void => {
  const before = lane.next
  while (lane.entries.has(lane.next)) {
    const broadcast = lane.entries.get(lane.next++)
    if (broadcast !== undefined) Core.notify(core, { _tag: "Delivered", broadcast })
  }
  if (lane.next > before) {
    lane.stuckAt = -1
    lane.asks = 0
  }
  if (lane.next >= lane.head) return
  if (lane.stuckAt < 0) lane.stuckAt = core.now
  watch(core)
}

const watch = (core: Core.Core): void => {
  if (core.repairSet) return
  core.repairSet = true
  Core.timer(core, Math.max(1, core.params.gossipInterval / 8), Core.Kind.repair)
}

/** Nobody has what lies below `to` any more. */
const giveUp = (core: Core.Core, lane: Log.Lane, to: number): void => {
  let missed = 0
  for (let seq = lane.next; seq < to; seq++) {
    if (!lane.entries.has(seq)) missed++
    else {
      const broadcast = lane.entries.get(seq)
      if (broadcast !== undefined) Core.notify(core, { _tag: "Delivered", broadcast })
    }
    // Numbers from far ahead: nothing is held in between.
    if (missed > maxAhead) {
      missed = to - lane.next
      break
    }
  }
  lane.next = Math.max(lane.next, to)
  lane.head = Math.max(lane.head, lane.next)
  lane.stuckAt = -1
  lane.asks = 0
  if (missed === 0) return
  core.log.missed += missed
  Core.reject(core, "broadcasts-missed")
}

/** Asks about the lanes in which a number has been missing for longer than gossip takes. */
export const onRepair = (core: Core.Core): void => {
  core.repairSet = false
  let open = 0
  for (const lane of core.log.recent) {
    if (lane.next >= lane.head) continue
    open++
    if (open <= askAtOnce) mend(core, lane)
  }
  // One lane after the other comes first.
  const first = core.log.recent[0]
  if (open > askAtOnce && first !== undefined) {
    core.log.recent.shift()
    core.log.recent.push(first)
  }
  if (open > 0) watch(core)
}

const mend = (core: Core.Core, lane: Log.Lane): void => {
  const { broadcastAge, gossipInterval } = core.params
  const stuck = core.now - lane.stuckAt
  if (lane.stuckAt < 0 || stuck < gossipInterval / 2) return
  if (lane.askedAt >= 0 && core.now - lane.askedAt < gossipInterval * Math.min(5, 1 + lane.asks / 4)) return
  const origin = Members.find(core.table, lane.origin)
  const isThere = origin >= 0 && Members.isActive(core.table, origin) &&
    Members.identity(core.table, origin).bootId === lane.bootId
  const limit = isThere ? broadcastAge / 4 : gossipInterval * 10
  if (lane.asks >= patience && stuck > limit) {
    let to = lane.head
    for (const seq of lane.entries.keys()) if (seq >= lane.next && seq < to) to = seq
    giveUp(core, lane, to)
    return deliver(core, lane)
  }
  const row = isThere && lane.asks % 2 === 1 ? origin : somebody(core)
  if (row < 0) return
  lane.asks++
  lane.askedAt = core.now
  Core.send(core, Members.identity(core.table, row).address, [want(core, lane)])
}

const one: Array<number> = []

const somebody = (core: Core.Core): number => {
  one.length = 0
  Members.sample(core.table, core.random, {
    count: 1,
    accept: (row) => Members.status(core.table, row) === "alive",
    into: one
  })
  return one[0] ?? -1
}

const want = (core: Core.Core, lane: Log.Lane): Message.Want => {
  const have = new Uint8Array(Math.ceil(Math.min(window, lane.head - lane.next) / 8))
  for (const seq of lane.entries.keys()) {
    const bit = seq - lane.next
    if (bit >= 0 && bit < have.length * 8) have[bit >> 3] = (have[bit >> 3] ?? 0) | (1 << (bit & 7))
  }
  const { bootId, lane: number, origin } = lane
  return { _tag: "Want", from: core.self.id, origin, bootId, lane: number, low: lane.next, have }
}

const haveOf = (core: Core.Core, lane: Log.Lane): Message.Have => ({
  _tag: "Have",
  from: core.self.id,
  origin: lane.origin,
  bootId: lane.bootId,
  lane: lane.lane,
  low: lane.low,
  head: lane.head
})

/** Gives a member what it misses and we have; only members get answers, at the address they announce. */
export const onWant = (core: Core.Core, message: Message.Want): void => {
  const row = Members.find(core.table, message.from)
  if (row < 0 || !Members.isActive(core.table, row)) return Core.reject(core, "want-from-stranger")
  const lane = Log.find(core.log, message)
  if (lane === undefined) return
  if (core.now >= core.answersRefill) {
    core.answersLeft = answerBudget
    core.answersRefill = core.now + core.params.gossipInterval
  }
  if (core.answersLeft <= 0) return
  core.answersLeft--
  const answer: Array<Message.Message> = []
  let bytes = answerPackets * (core.params.datagramBudget - core.overhead)
  const until = Math.min(lane.head, message.low + message.have.length * 8)
  for (let seq = message.low; seq < until && bytes > 0; seq++) {
    const bit = seq - message.low
    if (((message.have[bit >> 3] ?? 0) & (1 << (bit & 7))) !== 0 || !lane.entries.has(seq)) continue
    const kept = lane.entries.get(seq) ?? skipFrom(lane, seq, until)
    answer.push(kept)
    bytes -= core.sizeOf(kept)
    if (kept._tag === "Skip") seq = kept.until - 1
  }
  answer.push(haveOf(core, lane))
  Core.send(core, Members.identity(core.table, row).address, answer)
}

/** As many as nobody needs any more in a row. */
const skipFrom = (lane: Log.Lane, seq: number, limit: number): Message.Skip => {
  let until = seq + 1
  while (until < limit && lane.entries.has(until) && lane.entries.get(until) === undefined) until++
  return { _tag: "Skip", origin: lane.origin, bootId: lane.bootId, lane: lane.lane, seq, until }
}

export const onSkip = (core: Core.Core, message: Message.Skip): void => {
  const lane = Log.find(core.log, message)
  if (lane === undefined || message.until > message.seq + window) return
  for (let seq = Math.max(message.seq, lane.next); seq < Math.min(message.until, lane.head); seq++) {
    if (!lane.entries.has(seq)) Log.skip(core.log, lane, seq, core.now)
  }
  deliver(core, lane)
}

/** A peer tells how far a lane goes. What the origin itself has no more, nobody needs to look for. */
export const onHave = (core: Core.Core, message: Message.Have): void => {
  if (message.origin === core.self.id) return
  const lane = Log.open(core.log, message)
  if (lane === undefined) return Core.reject(core, "too-many-origins")
  lane.askedAt = -1
  if (message.head > lane.next + maxAhead) giveUp(core, lane, message.head - window)
  if (message.head > 0) Log.hear(core.log, lane, message.head - 1, core.now)
  if (message.from === message.origin && message.low > lane.next) giveUp(core, lane, Math.min(message.low, lane.head))
  deliver(core, lane)
}

/** The heads of some lanes with news, for a member that has pinged us. */
export const heads = (core: Core.Core, count = headsPerAck): ReadonlyArray<Message.Have> => {
  const { recent } = core.log
  const told: Array<Message.Have> = []
  if (recent.length === 0) return told
  const start = recent.length <= count ? 0 : Prng.below(core.random, recent.length)
  for (let i = 0; i < Math.min(count, recent.length); i++) {
    const lane = recent[(start + i) % recent.length]
    if (lane !== undefined && core.now - lane.newsAt < core.params.broadcastAge / 2) told.push(haveOf(core, lane))
  }
  return told
}

/** Forgets what is too old to be asked for. */
export const reap = (core: Core.Core): void =>
  Log.reap(core.log, core.now, (lane) => {
    if (lane.origin === core.self.id) return lane.bootId !== core.self.bootId
    const row = Members.find(core.table, lane.origin)
    return row < 0 || !Member.isActive(Members.status(core.table, row)) ||
      Members.identity(core.table, row).bootId !== lane.bootId
  })
