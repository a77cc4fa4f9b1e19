/** The state that the protocol's parts share, and how they speak: packets, replies, events, timers.
 *
 * PURE. Boundary: no rules of the protocol. Invariants: M6 (every datagram is put together here), M7. */
import * as Awareness from "./Awareness.ts"
import * as BroadcastLog from "./BroadcastLog.ts"
import type * as Direct from "./Direct.ts"
import type * as Flaps from "./Flaps.ts"
import * as Gossip from "./Gossip.ts"
import * as Identities from "./Identities.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Params from "./Params.ts"
import * as Prng from "./Prng.ts"
import type * as Routes from "./Routes.ts"
import type * as Signal from "./Signal.ts"
import * as Timers from "./Timers.ts"

/** What a timer means; `a` and `b` are its arguments. */
export const Kind = {
  probe: 0,
  probeTimeout: 1,
  nack: 2,
  relayEnd: 3,
  suspicion: 4,
  judge: 5,
  gossip: 6,
  eager: 7,
  pushPull: 8,
  recovery: 9,
  stream: 10,
  leave: 11,
  reap: 12,
  join: 13,
  extraEnd: 14,
  repair: 15,
  direct: 16
} as const

/** One ping that waits for its answer. */
export interface Probe {
  readonly seq: number
  readonly row: number
  readonly bootId: number
  readonly incarnation: number
  /** The regular probe of this interval, or an extra one that checks a suspicion. */
  readonly regular: boolean
  sentAt: number
  readonly interval: number
  readonly timeout: number
  acked: boolean
  /** Acknowledged within the timeout, hence by the target itself. */
  direct: boolean
  /** The target itself answered, but after the timeout. */
  late: boolean
  /** A relay, or a stream, reached the target. */
  relayed: boolean
  streamed: boolean
  readonly relays: Array<number>
  nacks: number
  stream: number
}

/** A ping made for somebody else. */
export interface Relay {
  readonly origin: Member.Address
  readonly originSeq: number
  acked: boolean
}

export interface Suspicion {
  readonly row: number
  readonly bootId: number
  readonly incarnation: number
  start: number
  readonly min: number
  readonly max: number
  readonly needed: number
  readonly accusers: Array<Member.MemberId>
  deadline: number
  /** When others were asked, -1 = not yet. */
  asked: number
  /** The number of the one timer that counts. */
  timer: number
  due: boolean
}

export interface Stream {
  readonly id: number
  readonly initiator: boolean
  readonly purpose: "join" | "seed" | "periodic" | "heal" | "leave" | "ping" | "accepted"
  readonly address: Member.Address
  /** The seed's or the probe's number. */
  readonly argument: number
  sent: boolean
  received: boolean
  equal: boolean
  /** A peer without anything takes it all without passing it on. */
  quiet: boolean
  opened: boolean
  /** The peer joins by this exchange. */
  joiner: boolean
  /** Who is at the other end, once it has said so. */
  peer: Member.MemberId | undefined
  /** Its outcome is known to whoever began it. */
  reported: boolean
  /** What the exchange has taught us. */
  changed: number
}

export interface Seed {
  readonly address: Member.Address
  /** Who answered there last. */
  member: Member.MemberId | undefined
  attempts: number
  nextAt: number
  busy: boolean
  /** When it is given up, `Infinity` = never. */
  until: number
}

export interface Health {
  readonly score: number
  readonly probeLoss: number
  readonly suspicions: number
  readonly updatesQueued: number
  readonly broadcastsQueued: number
  /** Broadcasts of others that were lost for good since the start. */
  readonly broadcastsMissed: number
  readonly alive: number
  readonly suspect: number
  readonly dead: number
  readonly left: number
}

export interface Core {
  readonly params: Params.Params
  readonly sizeOf: (message: Message.Message) => number
  readonly overhead: number
  readonly random: Prng.Prng
  readonly timers: Timers.Timers
  readonly table: Members.Members
  readonly updates: Gossip.Gossip
  readonly broadcasts: Gossip.Gossip
  readonly urgent: Gossip.Gossip
  readonly awareness: Awareness.Awareness
  now: number
  out: Array<Signal.Output>
  /** The earliest wake-up the outside knows of. */
  wake: number
  // ourselves
  self: Member.Identity
  incarnation: number
  status: "alive" | "left"
  /** Wall clock minus monotonic clock at the start: only to refuse absurd start times. */
  readonly wallOffset: number
  // probing
  seq: number
  readonly probes: Map<number, Probe>
  current: Probe | undefined
  readonly judging: Array<Probe>
  readonly relays: Map<number, Relay>
  readonly routes: Map<Member.MemberId, Routes.Entry>
  readonly flaps: Map<Member.MemberId, Flaps.Flap>
  // suspicion
  readonly suspicions: Map<number, Suspicion>
  readonly verdicts: Array<Suspicion>
  generation: number
  judgeSet: boolean
  // dissemination
  tickSet: boolean
  eagerSet: boolean
  eagerLeft: number
  eagerRefill: number
  /** Rows told by the last gossip rounds. */
  readonly told: Array<number>
  readonly items: Map<string, Message.Item>
  itemSum: number
  // user messages
  readonly log: BroadcastLog.Log
  repairSet: boolean
  answersLeft: number
  answersRefill: number
  readonly outboxes: Map<Member.MemberId, Direct.Outbox>
  readonly inboxes: Map<Member.MemberId, Direct.Inbox>
  directNext: number
  directSet: boolean
  // exchanges
  stream: number
  readonly streams: Map<number, Stream>
  pushPullTimer: number
  pushPullAt: number
  joinTimer: number
  // joining and recovery
  seeds: ReadonlyArray<Seed>
  joined: boolean
  announced: boolean
  /** An older node elsewhere bears our name: we do not announce ourselves. */
  conflicted: boolean
  /** An older run of our name that others take for alive, and since when we know. */
  rival: { readonly bootId: number; readonly since: number } | undefined
  contacted: number
  recoveryTimer: number
  recoveryRound: number
  readonly answered: Map<string, number>
  /** Somebody we held dead is back: its table and ours are compared next. */
  healed: Member.Address | undefined
  /** Newcomers that we, a newcomer ourselves, may still greet, and until when. */
  greetings: number
  greetUntil: number
  /** Whom we let in lately. */
  readonly newcomers: Array<{ readonly address: Member.Address; readonly at: number }>
  /** Somebody is new: an exchange soon makes sure that nobody misses it. */
  settle: boolean
  lastHeal: number
  /** When our table last changed, and the version it then had. */
  changedAt: number
  changedTo: number
  lastRepair: number
  // leaving
  leaving: Leaving | undefined
  // the reply that is being put together
  readonly reply: Array<Message.Message>
}

export interface Leaving {
  readonly acks: Set<Member.MemberId>
  readonly needed: number
  readonly until: number
}

export const make = (options: {
  readonly self: Member.Identity
  readonly params: Params.Params
  readonly seed: number
  readonly now: number
  readonly sizeOf: (message: Message.Message) => number
  readonly packetOverhead: number
  readonly identities?: Identities.Identities | undefined
  readonly capacity?: number | undefined
}): Core => {
  const { now, params } = options
  const random = Prng.make(options.seed)
  return {
    params,
    sizeOf: options.sizeOf,
    overhead: options.packetOverhead,
    random,
    timers: Timers.make(),
    table: Members.make({ now, identities: options.identities, capacity: options.capacity }),
    updates: Gossip.make({ maxEntries: params.maxMembers + 64, maxBytes: 64 * 1024 * 1024, maxAge: Infinity }),
    awareness: Awareness.make({ enabled: params.awareness, max: params.awarenessMax }),
    now,
    out: [],
    wake: Infinity,
    self: options.self,
    incarnation: 0,
    status: "alive",
    wallOffset: options.self.startedAt - now,
    seq: Prng.next(random),
    probes: new Map(),
    current: undefined,
    judging: [],
    relays: new Map(),
    routes: new Map(),
    flaps: new Map(),
    suspicions: new Map(),
    verdicts: [],
    generation: 0,
    judgeSet: false,
    tickSet: false,
    eagerSet: false,
    eagerRefill: 0,
    eagerLeft: params.eagerBudget,
    told: [],
    items: new Map(),
    itemSum: 0,
    ...speaking(params),
    stream: 0,
    streams: new Map(),
    pushPullTimer: 0,
    pushPullAt: Infinity,
    joinTimer: 0,
    ...joining(),
    changedAt: now,
    changedTo: 0,
    lastRepair: now,
    leaving: undefined,
    reply: []
  }
}

/** What users say. */
const speaking = (params: Params.Params) => {
  const { broadcastAge: maxAge, broadcastBytes: maxBytes, maxMembers } = params
  return {
    broadcasts: Gossip.make({ maxEntries: 1_000_000, maxBytes, maxAge }),
    urgent: Gossip.make({ maxEntries: 65_536, maxBytes: maxBytes / 4, maxAge }),
    log: BroadcastLog.make({ maxBytes, maxAge, maxLanes: 2 * maxMembers }),
    repairSet: false,
    answersLeft: 0,
    answersRefill: -Infinity,
    outboxes: new Map<Member.MemberId, Direct.Outbox>(),
    inboxes: new Map<Member.MemberId, Direct.Inbox>(),
    directNext: 0,
    directSet: false
  }
}

/** How we find others and they find us. */
const joining = (): Pick<
  Core,
  | "seeds"
  | "joined"
  | "announced"
  | "conflicted"
  | "rival"
  | "contacted"
  | "recoveryTimer"
  | "recoveryRound"
  | "answered"
  | "healed"
  | "greetings"
  | "greetUntil"
  | "newcomers"
  | "settle"
  | "lastHeal"
> => ({
  seeds: [],
  joined: false,
  announced: true,
  conflicted: false,
  rival: undefined,
  contacted: 0,
  recoveryTimer: 0,
  recoveryRound: 0,
  answered: new Map(),
  healed: undefined,
  greetings: 0,
  greetUntil: -Infinity,
  newcomers: [],
  settle: false,
  lastHeal: -Infinity
})

/** Active members and ourselves: the n of every formula. */
export const living = (core: Core): number => core.table.active + (core.status === "alive" ? 1 : 0)

export const timer = (core: Core, delay: number, kind: number, a = 0, b = 0): void =>
  Timers.set(core.timers, core.now + delay, kind, a, b)

export const notify = (core: Core, event: Signal.Event): void => {
  core.out.push({ _tag: "Notify", event })
}

export const reject = (core: Core, reason: string, from?: Member.Address): void => {
  core.out.push(from === undefined ? { _tag: "Rejected", reason } : { _tag: "Rejected", reason, from })
}

export const nextSeq = (core: Core): number => {
  core.seq = core.seq >= 0xffffffff ? 1 : core.seq + 1
  return core.seq
}

export const selfMember = (core: Core): Member.Member => ({
  id: core.self.id,
  bootId: core.self.bootId,
  startedAt: core.self.startedAt,
  address: core.self.address,
  meta: core.self.meta,
  incarnation: core.incarnation,
  status: core.status
})

export const selfAlive = (core: Core): Message.Alive => ({
  _tag: "Alive",
  id: core.self.id,
  bootId: core.self.bootId,
  startedAt: core.self.startedAt,
  address: core.self.address,
  incarnation: core.incarnation,
  meta: core.self.meta
})

export const selfLeft = (core: Core): Message.Left => ({
  _tag: "Left",
  id: core.self.id,
  bootId: core.self.bootId,
  incarnation: core.incarnation
})

export const selfHash = (core: Core): number =>
  Members.hashOf(Identities.hashIdentity(core.self), core.incarnation, core.status)

export const itemHash = (item: Message.Item): number => {
  let h = Identities.hashName(item.key)
  for (const byte of item.value) h = Identities.mix(h, byte)
  return h
}

/** Of everything we hold; equal at two members that hold the same. */
export const digest = (core: Core): number => (core.table.sum + selfHash(core) + core.itemSum) >>> 0

/** How often an update is sent; under loss fewer times, because twice as many relays cost the same packets. */
export const transmitLimit = (core: Core): number => {
  const lossy = Awareness.isLossy(core.awareness) && core.params.retransmit > 3 && living(core) > 300
  return Math.max(1, Params.transmitLimit(lossy ? { ...core.params, retransmit: 3 } : core.params, living(core)))
}

/** Fills the rest of a packet: a reserved share for user broadcasts, then updates, then what is left. */
const piggyback = (core: Core, messages: Array<Message.Message>, room: number, below: number): void => {
  const limit = transmitLimit(core)
  const fill = { limit, below, now: core.now, into: messages }
  const share = broadcastsQueued(core) > 0 ? Math.floor(room * core.params.broadcastShare) : 0
  let left = room
  if (share > 0) left -= user(core, { ...fill, room: share })
  left -= Gossip.fill(core.updates, { ...fill, room: left })
  if (share > 0) user(core, { ...fill, room: left })
}

/** Bytes of waiting broadcasts from which on each is sent fewer times: whoever misses one asks for it. */
const crowded = 64 * 1024
const crowdedLimit = 4

/** User broadcasts, the urgent ones first. */
const user = (core: Core, fill: Gossip.Fill): number => {
  const used = Gossip.fill(core.urgent, fill)
  const limit = core.broadcasts.bytes > crowded ? Math.min(crowdedLimit, fill.limit) : fill.limit
  return used + Gossip.fill(core.broadcasts, { ...fill, limit, room: fill.room - used })
}

export const broadcastsQueued = (core: Core): number => Gossip.length(core.broadcasts) + Gossip.length(core.urgent)

const room = (core: Core): number => core.params.datagramBudget - core.overhead

/** Sends messages in as few datagrams as the budget allows and fills the last one with gossip. */
export const send = (core: Core, to: Member.Address, messages: ReadonlyArray<Message.Message>): void => {
  let packet: Array<Message.Message> = []
  let left = room(core)
  for (const message of messages) {
    const size = core.sizeOf(message)
    if (size > room(core)) {
      reject(core, "oversized-message")
      continue
    }
    if (size > left) {
      core.out.push({ _tag: "Send", to, messages: packet })
      packet = []
      left = room(core)
    }
    packet.push(message)
    left -= size
  }
  piggyback(core, packet, left, Infinity)
  if (packet.length > 0) core.out.push({ _tag: "Send", to, messages: packet })
}

/** Up to so many members hear what matters at once from whoever knows it first: gossip misses one in some hundred, which
 * then waits for the tick. */
export const smallCluster = 64

/** Says it to everybody, when those are few. */
export const tellAll = (core: Core, message: Message.Message): void => {
  if (core.table.active > smallCluster) return
  Members.forEach(core.table, (row) => {
    if (!Members.isActive(core.table, row)) return
    core.out.push({ _tag: "Send", to: Members.identity(core.table, row).address, messages: [message] })
  })
}

/** A packet of gossip only; false when there was nothing to say. */
export const sendGossip = (core: Core, to: Member.Address, below: number): boolean => {
  const packet: Array<Message.Message> = []
  piggyback(core, packet, room(core), below)
  if (packet.length === 0) return false
  core.out.push({ _tag: "Send", to, messages: packet })
  return true
}

/** Adds to the one answer that the packet in hand gets. */
export const reply = (core: Core, message: Message.Message): void => {
  core.reply.push(message)
}

export const flushReply = (core: Core, to: Member.Address): void => {
  if (core.reply.length === 0) return
  const messages = core.reply.slice()
  core.reply.length = 0
  send(core, to, messages)
}

/** True at most once a second per peer: bounds what strangers and the dead can make us send. */
export const mayAnswer = (core: Core, to: Member.Address): boolean => {
  const key = `${to.host}:${to.port}`
  const last = core.answered.get(key)
  if (last !== undefined && core.now - last < 1000) return false
  if (last === undefined && core.answered.size >= 4096) {
    for (const oldest of core.answered.keys()) {
      core.answered.delete(oldest)
      break
    }
  }
  core.answered.delete(key)
  core.answered.set(key, core.now)
  return true
}

export const health = (core: Core): Health => ({
  score: core.awareness.score,
  probeLoss: Awareness.loss(core.awareness),
  suspicions: core.suspicions.size,
  updatesQueued: Gossip.length(core.updates),
  broadcastsQueued: broadcastsQueued(core),
  broadcastsMissed: core.log.missed,
  alive: core.table.counts[0],
  suspect: core.table.counts[1],
  dead: core.table.counts[2],
  left: core.table.counts[3]
})
