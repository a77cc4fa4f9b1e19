/** Which reign this node obeys, when it claims one itself, and on what evidence.
 *
 * PURE. The witnesses of a master (its oldest others) hold a heartbeat with it. A witness that loses it tells the others;
 * at a majority the first eligible in rank claims the next epoch: it writes the epoch down, asks for support, and
 * announces. Where witnesses are missing, gossip's verdict (dead or left) stands in. A node that still hears its master
 * obeys no claim without a grant or a majority of witnesses, and tells its master instead.
 * Boundary: gossip decides who is alive; this module is stepped by `ClusterState` and returns outputs. Invariants: R1
 * and R2 (`obey` is the only place where the reign changes, and it only rises). */
import type { MemberId } from "../swim/Member.ts"
import type { Answer, Output, Support } from "./ClusterMessage.ts"
import * as Reign from "./Reign.ts"
import * as Role from "./Role.ts"
import type { Run } from "./RoutingTable.ts"
import * as Topology from "./Topology.ts"

export const beatInterval = 100
/** One rank's head start before the next may claim. */
export const rankDelay = 50
/** A node that woke later than this knows nothing about the time in between. */
export const lateness = 200
const supportTimeout = 300
const retryDelay = 150
const contestInterval = 1000
/** How long a reign of a member never seen is given the benefit of the doubt. */
const unknownGrace = 2000
const meetingGrace = 1000
/** A node that has joined waits this long for the reign to arrive before it looks for the first claim. */
const settleAfterContact = 200
export const joinTimeout = 3000
const joinJitter = 1000

/** Silence after which a master counts as lost, by the number of active members. */
export const lostAfter = (witnesses: number): number => beatInterval * (witnesses < 10 ? 8 : witnesses < 32 ? 5 : 3)

interface Watch {
  readonly target: Run
  lastBeat: number
  heard: boolean
  refused: boolean
  lost: boolean
}

type Basis = "vacant" | "departed" | "witnessed" | "meeting" | "renewal"

interface Claim {
  readonly reign: Reign.Reign
  readonly basis: Basis
  readonly asked: Set<MemberId>
  readonly answers: Map<MemberId, Support>
  phase: "persisting" | "asking"
  deadline: number
}

export interface Election {
  readonly self: Run
  /** The reign obeyed: what is known in R2. */
  reign: Reign.Reign | undefined
  reignSince: number
  /** the holder was seen alive since: its death is news, not an old view */
  holderSeen: boolean
  /** The highest epoch heard, claimed or found. */
  floor: number
  /** A higher reign that is not obeyed, because the master is still heard. */
  pending: Reign.Reign | undefined
  pendingSince: number
  contestAt: number
  witnesses: ReadonlyArray<MemberId>
  /** the witnesses by this node's own view, as of a revision of it */
  computed: { readonly revision: number; readonly ids: ReadonlyArray<MemberId> }
  /** the master itself named its witnesses */
  announced: boolean
  watch: Watch | undefined
  readonly verdicts: Set<MemberId>
  supported: { readonly epoch: number; readonly run: Run } | undefined
  claim: Claim | undefined
  claimAt: number | undefined
  basis: Basis | undefined
  /** a master whose state was built anew reigns by a new epoch, so that everybody registers and subscribes again */
  renewing: boolean
  notBefore: number
  contacted: boolean
  settleUntil: number
  nextBeat: number
  expected: number
  lateCount: number
  random: number
}

export const make = (options: {
  readonly self: Run
  readonly now: number
  readonly seed: number
  /** started with `--join`: no claim before the first contact or 3 s */
  readonly joining: boolean
  readonly floor: number
  readonly reign: Reign.Reign | undefined
  /** the state of this same run is built anew */
  readonly rebuilt?: boolean | undefined
}): Election => {
  const self: Election = {
    self: options.self,
    reign: options.reign,
    reignSince: Number.NEGATIVE_INFINITY,
    holderSeen: false,
    floor: Math.max(options.floor, options.reign?.epoch ?? 0),
    pending: undefined,
    pendingSince: 0,
    contestAt: 0,
    witnesses: [],
    computed: { revision: -1, ids: [] },
    announced: false,
    watch: undefined,
    verdicts: new Set(),
    supported: undefined,
    claim: undefined,
    claimAt: undefined,
    basis: undefined,
    renewing: options.rebuilt === true && Reign.isHeldBy(options.reign, options.self),
    notBefore: options.now,
    contacted: !options.joining,
    settleUntil: options.now,
    nextBeat: options.now,
    expected: Number.POSITIVE_INFINITY,
    lateCount: 0,
    random: options.seed >>> 0
  }
  if (options.joining) self.notBefore = options.now + joinTimeout + Math.floor(draw(self) * joinJitter)
  return self
}

/** The next number in [0, 1) of the state's own generator. */
export const draw = (self: { random: number }): number => {
  self.random = (self.random + 0x6d2b79f5) >>> 0
  let t = Math.imul(self.random ^ (self.random >>> 15), 1 | self.random)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const sameRun = (a: Run, b: Run): boolean => a.id === b.id && a.bootId === b.bootId

export const isMaster = (self: Election): boolean => Reign.isHeldBy(self.reign, self.self)

/** Whether this node has fresh evidence that the holder of its reign lives. */
export const hearsMaster = (self: Election, topology: Topology.Topology, now: number): boolean => {
  if (self.reign === undefined) return false
  if (isMaster(self)) return true
  const { watch } = self
  if (watch === undefined || !sameRun(watch.target, self.reign)) return Topology.isAlive(topology, self.reign)
  if (watch.lost || watch.refused || now - watch.lastBeat > lostAfter(topology.active.length)) return false
  return watch.heard || Topology.isAlive(topology, self.reign)
}

// ---- what is heard

export const see = (self: Election, epoch: number): void => {
  if (Number.isSafeInteger(epoch) && epoch < Reign.limit - 1) self.floor = Math.max(self.floor, epoch)
}

/** A reign heard from gossip (`from` undefined) or from a peer in person. */
export const hear = (
  self: Election,
  topology: Topology.Topology,
  reign: Reign.Reign,
  from: Run | undefined,
  now: number,
  out: Array<Output>
): void => {
  if (!Reign.isValid(reign)) return void out.push({ _tag: "Rejected", reason: "malformed reign" })
  see(self, reign.epoch)
  if (!Reign.isLower(self.reign, reign)) return
  if (Reign.isHeldBy(reign, self.self)) return obey(self, topology, reign, "found its own reign", now, out)
  const known = self.reign
  const supported = reign.kind !== "plain"
  if (isMaster(self)) {
    if (supported) return obey(self, topology, reign, "was succeeded", now, out)
    return suspend(self, reign, now)
  }
  if (known === undefined || supported) return obey(self, topology, reign, "heard a higher reign", now, out)
  if (sameRun(known, reign)) return obey(self, topology, reign, "its master renewed its reign", now, out)
  if (from !== undefined && sameRun(known, from)) return obey(self, topology, reign, "its master obeys it", now, out)
  if (!hearsMaster(self, topology, now)) return obey(self, topology, reign, "its master is silent", now, out)
  suspend(self, reign, now)
}

const suspend = (self: Election, reign: Reign.Reign, now: number): void => {
  if (!Reign.isLower(self.pending, reign)) return
  if (self.pending === undefined) self.pendingSince = now
  self.pending = reign
  self.contestAt = now
}

/** R1, R2: the only place where the reign changes. */
const obey = (
  self: Election,
  topology: Topology.Topology,
  reign: Reign.Reign,
  reason: string,
  now: number,
  out: Array<Output>
): void => {
  const former = self.reign
  const wasMaster = isMaster(self)
  self.reign = reign
  self.reignSince = now
  self.holderSeen = false
  self.renewing = false
  self.floor = Math.max(self.floor, reign.epoch)
  if (!Reign.isLower(reign, self.pending)) self.pending = undefined
  self.verdicts.clear()
  self.witnesses = []
  self.announced = false
  self.claim = undefined
  self.claimAt = undefined
  self.basis = undefined
  self.nextBeat = now
  if (self.watch !== undefined) {
    self.watch = undefined
    out.push({ _tag: "Watch", target: undefined, reign })
  }
  out.push(
    { _tag: "Persist", floor: self.floor, reign, claim: undefined },
    { _tag: "SetItem", reign },
    {
      _tag: "Log",
      message: isMaster(self) ? "became master" : "obeys a new reign",
      fields: {
        reason,
        epoch: reign.epoch,
        master: reign.id,
        kind: reign.kind,
        witnesses: reign.witnesses,
        former: former === undefined ? "none" : `${former.id} (${former.epoch})`
      }
    }
  )
  if (isMaster(self) || wasMaster) out.push({ _tag: "Announce", to: others(self, topology), reign })
}

const others = (self: Election, topology: Topology.Topology): Array<Run> =>
  topology.active.filter((node) => !sameRun(node, self.self)).map(({ bootId, id }) => ({ id, bootId }))

export const contacted = (self: Election, now: number): void => {
  if (self.contacted) return
  self.contacted = true
  self.notBefore = Math.min(self.notBefore, now)
  self.settleUntil = now + settleAfterContact
}

// ---- evidence

export const beat = (
  self: Election,
  topology: Topology.Topology,
  message: { readonly from: Run; readonly reign: Reign.Reign; readonly witnesses: ReadonlyArray<MemberId> },
  now: number,
  out: Array<Output>
): void => {
  if (Reign.isLower(self.reign, message.reign)) hear(self, topology, message.reign, message.from, now, out)
  if (self.reign === undefined || !Reign.equals(self.reign, message.reign) || !sameRun(self.reign, message.from)) {
    return void out.push({ _tag: "Rejected", reason: "beat of another reign" })
  }
  self.witnesses = message.witnesses
  self.announced = true
  const { watch } = self
  if (watch === undefined || !sameRun(watch.target, message.from)) return
  watch.lastBeat = now
  watch.heard = true
  watch.refused = false
  if (watch.lost) {
    watch.lost = false
    tell(self, topology, false, out)
  }
}

/** The heartbeat's connection ended; `refused` when nobody (or somebody else) listens at its address now. */
export const watchEnded = (self: Election, target: Run, refused: boolean): void => {
  if (self.watch !== undefined && sameRun(self.watch.target, target) && refused) self.watch.refused = true
}

export const verdict = (
  self: Election,
  topology: Topology.Topology,
  message: { readonly from: Run; readonly reign: Reign.Reign; readonly lost: boolean },
  now: number,
  out: Array<Output>
): void => {
  hear(self, topology, message.reign, undefined, now, out)
  if (!Reign.equals(self.reign, message.reign) || !Topology.isActive(topology, message.from)) {
    return void out.push({ _tag: "Rejected", reason: "verdict on another reign" })
  }
  if (message.lost) self.verdicts.add(message.from.id)
  else self.verdicts.delete(message.from.id)
}

const tell = (self: Election, topology: Topology.Topology, lost: boolean, out: Array<Output>): void => {
  const { reign } = self
  if (reign === undefined) return
  const to = others(self, topology).filter((run) => self.witnesses.includes(run.id) && run.id !== reign.id)
  if (to.length > 0) out.push({ _tag: "SendVerdict", to, reign, lost })
}

// ---- support

/** One supported claim per epoch; none while the own master is heard, unless it is the master that claims. */
export const support = (
  self: Election,
  topology: Topology.Topology,
  claim: Reign.Reign,
  now: number
): Extract<Answer, { readonly _tag: "Supported" }> => {
  const answer = (word: Support): Extract<Answer, { readonly _tag: "Supported" }> => ({
    _tag: "Supported",
    support: word,
    reign: self.reign
  })
  if (!Reign.isValid(claim) || !Reign.isLower(self.reign, claim)) return answer("refused")
  const { supported } = self
  if (supported !== undefined && claim.epoch <= supported.epoch) {
    return answer(claim.epoch === supported.epoch && sameRun(claim, supported.run) ? "supported" : "refused")
  }
  const renewal = self.reign !== undefined && sameRun(self.reign, claim)
  if (!renewal && hearsMaster(self, topology, now)) return answer("hearing")
  if (self.claim !== undefined && self.claim.reign.epoch === claim.epoch) return answer("refused")
  self.supported = { epoch: claim.epoch, run: { id: claim.id, bootId: claim.bootId } }
  see(self, claim.epoch)
  // whoever was supported gets the time to finish
  self.claim = undefined
  self.claimAt = undefined
  self.notBefore = Math.max(self.notBefore, now + supportTimeout)
  return answer("supported")
}

export const supportAnswered = (
  self: Election,
  topology: Topology.Topology,
  message: {
    readonly from: Run
    readonly epoch: number
    readonly support: Support
    readonly reign: Reign.Reign | undefined
  },
  now: number,
  out: Array<Output>
): void => {
  if (message.reign !== undefined) hear(self, topology, message.reign, message.from, now, out)
  const { claim } = self
  if (claim === undefined || claim.reign.epoch !== message.epoch || !claim.asked.has(message.from.id)) return
  claim.answers.set(message.from.id, message.support)
}

/** The epoch is on disk: now others may hear of the claim. */
export const persisted = (
  self: Election,
  topology: Topology.Topology,
  message: { readonly epoch: number; readonly ok: boolean },
  now: number,
  out: Array<Output>
): void => {
  const { claim } = self
  if (claim === undefined || claim.phase !== "persisting" || claim.reign.epoch !== message.epoch) return
  if (!message.ok) {
    out.push({ _tag: "Log", message: "could not write the epoch of its claim", fields: { epoch: message.epoch } })
    return abandon(self, now)
  }
  claim.phase = "asking"
  claim.deadline = now + supportTimeout
  const to = others(self, topology).filter((run) => self.reign === undefined || !sameRun(run, self.reign))
  for (const run of to) claim.asked.add(run.id)
  if (to.length > 0) out.push({ _tag: "AskSupport", to, claim: claim.reign })
}

const abandon = (self: Election, now: number): void => {
  self.claim = undefined
  self.claimAt = undefined
  self.notBefore = Math.max(self.notBefore, now + retryDelay + Math.floor(draw(self) * retryDelay))
}

// ---- the turn after every input

/** Draws the consequences of what was heard, and of the time that passed. */
export const settle = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  checkLateness(self, now)
  followWitnesses(self, topology, now, out)
  judgeWatch(self, topology, now, out)
  settlePending(self, topology, now, out)
  progressClaim(self, topology, now, out)
  considerClaim(self, topology, now, out)
  emitBeat(self, topology, now, out)
  self.expected = nextWake(self, topology, now)
}

/** A process that stood still has not listened: what it took for silence is no evidence. */
const checkLateness = (self: Election, now: number): void => {
  if (now - self.expected <= lateness) return
  self.lateCount++
  if (self.watch !== undefined) {
    self.watch.lastBeat = now
    self.watch.lost = false
    self.watch.refused = false
  }
  self.verdicts.clear()
  self.basis = undefined
  if (self.claim !== undefined) abandon(self, now)
}

const followWitnesses = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { reign } = self
  if (reign === undefined) return
  const present = Topology.isActive(topology, reign)
  if (present) self.holderSeen = true
  // who watched a master that is gone stays the measure for its succession
  const computed = present ? computeWitnesses(self, topology, reign.id) : self.witnesses
  if (!self.announced || isMaster(self)) self.witnesses = computed
  const watches = present && !isMaster(self) &&
    (self.witnesses.includes(self.self.id) || computed.includes(self.self.id))
  if (self.watch === undefined && watches) {
    const target = { id: reign.id, bootId: reign.bootId }
    self.watch = { target, lastBeat: now, heard: false, refused: false, lost: false }
    out.push({ _tag: "Watch", target, reign })
  } else if (self.watch !== undefined && !watches) {
    self.watch = undefined
    out.push({ _tag: "Watch", target: undefined, reign })
  }
}

const computeWitnesses = (
  self: Election,
  topology: Topology.Topology,
  master: MemberId
): ReadonlyArray<MemberId> => {
  if (self.computed.revision !== topology.revision) {
    const ids = Role.witnesses(topology.active, master).map((node) => node.id)
    self.computed = { revision: topology.revision, ids }
  }
  return self.computed.ids
}

const judgeWatch = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { watch } = self
  if (watch === undefined || watch.lost) return
  if (!watch.refused && now - watch.lastBeat <= lostAfter(topology.active.length)) return
  watch.lost = true
  tell(self, topology, true, out)
}

const settlePending = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { pending } = self
  if (pending === undefined) return
  if (!Reign.isLower(self.reign, pending)) {
    self.pending = undefined
    return
  }
  if (isMaster(self)) return // they meet, see `considerClaim`
  if (!hearsMaster(self, topology, now)) return obey(self, topology, pending, "its master is silent", now, out)
  if (self.reign !== undefined && now >= self.contestAt) {
    self.contestAt = now + contestInterval
    out.push({ _tag: "Contest", to: { id: self.reign.id, bootId: self.reign.bootId }, reign: pending })
  }
}

/** Two reigns meet: the one that more nodes hear goes on, so that a node that was cut off deposes nobody when it returns;
 * the older holder when they are equally many. */
const isOlder = (self: Election, topology: Topology.Topology): boolean => {
  const own = topology.nodes.get(self.self.id)
  const other = self.pending === undefined ? undefined : topology.nodes.get(self.pending.id)
  return own !== undefined && other !== undefined && Role.compareAge(own, other) < 0
}

const considerClaim = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const basis = self.claim === undefined ? claimBasis(self, topology, now) : undefined
  if (basis === undefined) {
    self.basis = undefined
    self.claimAt = undefined
    return
  }
  const rank = basis === "meeting" || basis === "renewal" ? 0 : successionRank(self, topology)
  if (rank < 0) {
    self.claimAt = undefined
    return
  }
  const earliest = Math.max(self.notBefore, basis === "vacant" ? self.settleUntil : 0)
  if (self.basis !== basis || self.claimAt === undefined) self.claimAt = Math.max(now, earliest) + rank * rankDelay
  self.basis = basis
  if (now < self.claimAt || now < earliest) return
  const epoch = 1 + Math.max(self.floor, self.pending?.epoch ?? 0, self.supported?.epoch ?? 0)
  const own = topology.nodes.get(self.self.id)
  if (own === undefined || epoch >= Reign.limit) return
  self.floor = epoch
  self.claimAt = undefined
  self.claim = {
    basis,
    reign: {
      epoch,
      id: self.self.id,
      bootId: self.self.bootId,
      startedAt: own.startedAt,
      predecessor: self.reign === undefined ? undefined : { epoch: self.reign.epoch, bootId: self.reign.bootId },
      kind: "plain",
      witnesses: 0
    },
    asked: new Set(),
    answers: new Map(),
    phase: "persisting",
    deadline: now + 10 * supportTimeout
  }
  out.push({ _tag: "Persist", floor: epoch, reign: self.reign, claim: epoch })
}

const claimBasis = (self: Election, topology: Topology.Topology, now: number): Basis | undefined => {
  const { reign } = self
  if (Topology.activeRun(topology, self.self)?.eligible !== true) return undefined
  if (reign === undefined) return "vacant"
  if (isMaster(self)) {
    const { pending } = self
    if (pending === undefined) return self.renewing ? "renewal" : undefined
    if (Topology.isActive(topology, pending)) return "meeting"
    return hasDeparted(topology, pending) || now - self.pendingSince >= meetingGrace ? "meeting" : undefined
  }
  if (!Topology.isActive(topology, reign)) {
    // a reign that is news beats a view in which its holder is dead: that view may be the older one
    return self.holderSeen || now - self.reignSince >= unknownGrace ? "departed" : undefined
  }
  return hasMajorityVerdict(self) ? "witnessed" : undefined
}

/** Known to be dead, left, or another run by now; not merely unknown. */
const hasDeparted = (topology: Topology.Topology, holder: Reign.Reign): boolean => {
  const node = topology.nodes.get(holder.id)
  if (node === undefined) return false
  if (node.bootId !== holder.bootId) return node.startedAt > holder.startedAt
  return node.member.status === "dead" || node.member.status === "left"
}

const hasMajorityVerdict = (self: Election): boolean => {
  const { announced, watch, witnesses } = self
  // a view that others have dropped out of is no measure: only the master's own list is
  if (!announced || watch === undefined || !watch.lost || witnesses.length === 0) return false
  // a single witness cannot tell its own silence from the master's
  if (witnesses.length === 1 && !watch.refused) return false
  let count = 0
  for (const id of witnesses) if (id === self.self.id || self.verdicts.has(id)) count++
  return count >= Role.majority(witnesses.length)
}

const successionRank = (self: Election, topology: Topology.Topology): number => {
  const { reign } = self
  return topology.active
    .filter((node) => node.eligible && (reign === undefined || !sameRun(node, reign)))
    .findIndex((node) => sameRun(node, self.self))
}

const progressClaim = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { claim } = self
  if (claim === undefined) return
  const witnesses = claim.phase === "asking" ? witnessesFor(self, claim) : 0
  if (witnesses > 0) return win(self, topology, claim, { kind: "witnessed", witnesses }, now, out)
  const answered = claim.phase === "asking" && claim.answers.size >= claim.asked.size
  if (!answered && now < claim.deadline) return
  const words = [...claim.answers.values()]
  const hearing = words.filter((word) => word === "hearing").length
  const supporting = 1 + words.filter((word) => word === "supported").length
  if (claim.phase === "asking" && claim.basis === "meeting" && self.pending !== undefined) {
    if (hearing > supporting || (hearing === supporting && !isOlder(self, topology))) {
      return obey(self, topology, self.pending, "most nodes hear another master", now, out)
    }
    const kind = 2 * supporting > 1 + claim.asked.size ? "witnessed" : "plain"
    return win(self, topology, claim, { kind, witnesses: Math.min(supporting - 1, 255) }, now, out)
  }
  if (claim.phase === "asking" && claim.basis !== "witnessed" && hearing === 0 && !words.includes("refused")) {
    return win(self, topology, claim, { kind: "plain", witnesses: 0 }, now, out)
  }
  out.push({
    _tag: "Log",
    message: "gave up a claim",
    fields: { epoch: claim.reign.epoch, basis: claim.basis, answers: words.join(" ") }
  })
  abandon(self, now)
}

/** How many witnesses of the lost master support the claim, if that is a majority of those it named itself. */
const witnessesFor = (self: Election, claim: Claim): number => {
  const { announced, witnesses } = self
  if (
    !announced || claim.basis === "meeting" || claim.basis === "renewal" ||
    (witnesses.length === 1 && claim.basis !== "witnessed")
  ) return 0
  let count = 0
  for (const id of witnesses) if (id === self.self.id || claim.answers.get(id) === "supported") count++
  return count >= Role.majority(witnesses.length) ? Math.min(count, 255) : 0
}

const win = (
  self: Election,
  topology: Topology.Topology,
  claim: Claim,
  evidence: { readonly kind: Reign.Kind; readonly witnesses: number },
  now: number,
  out: Array<Output>
): void => {
  if (!Reign.isLower(self.reign, claim.reign)) return abandon(self, now)
  const reason = {
    vacant: "there was no master",
    departed: "the master is gone",
    witnessed: "a majority of witnesses lost the master",
    meeting: "two reigns met",
    renewal: "its state was built anew"
  }[claim.basis]
  obey(self, topology, { ...claim.reign, ...evidence }, reason, now, out)
}

const emitBeat = (self: Election, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  if (!isMaster(self) || self.reign === undefined || now < self.nextBeat) return
  self.nextBeat = Math.max(self.nextBeat + beatInterval, now + beatInterval / 2)
  self.witnesses = computeWitnesses(self, topology, self.self.id)
  out.push({ _tag: "Beat", reign: self.reign, witnesses: self.witnesses })
}

/** When time alone may change something next. A witness wakes at every beat, to notice when it woke late. */
export const nextWake = (self: Election, topology: Topology.Topology, now: number): number => {
  let at = Number.POSITIVE_INFINITY
  const add = (candidate: number | undefined) => {
    if (candidate !== undefined && candidate > now) at = Math.min(at, candidate)
  }
  const { reign, watch } = self
  if (isMaster(self)) add(self.nextBeat)
  if (watch !== undefined) add(now + beatInterval)
  if (watch !== undefined && !watch.lost) add(watch.lastBeat + lostAfter(topology.active.length) + 1)
  add(self.claimAt)
  add(self.claim?.deadline)
  if (self.pending !== undefined) add(isMaster(self) ? self.pendingSince + meetingGrace : self.contestAt)
  if (reign !== undefined && self.claim === undefined && !Topology.isActive(topology, reign)) {
    add(self.reignSince + unknownGrace)
  }
  return at
}
