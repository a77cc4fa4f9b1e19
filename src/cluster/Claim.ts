/** A claim to a reign: when this node may make one, on what evidence, and how the answers decide it.
 *
 * PURE. The first eligible in rank claims when a majority of the witnesses that the master named itself have lost it, when
 * gossip holds it dead or left, when there never was one, or when two reigns meet. The epoch is written down before
 * anybody is asked.
 * A node that is about to leave makes none, unless it is master already.
 * Boundary: a claim that is decided is obeyed by `Election`, like every other reign. Invariants: R2 (a claim is above
 * every epoch heard, written or supported). */
import type { Output } from "./ClusterMessage.ts"
import type { Claim, ElectionState } from "./ElectionState.ts"
import * as State from "./ElectionState.ts"
import * as Reign from "./Reign.ts"
import * as Role from "./Role.ts"
import * as Topology from "./Topology.ts"

/** What became of a claim: the reign to obey now, this node's own or the other's. */
export interface Decision {
  readonly reign: Reign.Reign
  readonly reason: string
}

/** The epoch is on disk: now others may hear of the claim. */
export const persisted = (
  self: ElectionState,
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
  claim.deadline = now + State.supportTimeout
  const living = State.others(self, topology).filter((run) => !Reign.isHeldBy(self.reign, run))
  // where witnesses decide, the others need not be asked
  const to = claim.basis === "witnessed" ? living.filter((run) => self.witnesses.includes(run.id)) : living
  for (const run of to) claim.asked.add(run.id)
  if (to.length > 0) out.push({ _tag: "AskSupport", to, claim: claim.reign })
}

export const abandon = (self: ElectionState, now: number): void => {
  self.claim = undefined
  self.claimAt = undefined
  self.notBefore = Math.max(self.notBefore, now + State.retryDelay + Math.floor(State.draw(self) * State.retryDelay))
}

/** Two reigns meet: the one that more nodes hear goes on, so that a node that was cut off deposes nobody when it returns;
 * the older holder when they are equally many. */
const isOlder = (self: ElectionState, topology: Topology.Topology): boolean => {
  const own = topology.nodes.get(self.self.id)
  const other = self.pending === undefined ? undefined : topology.nodes.get(self.pending.id)
  return own !== undefined && other !== undefined && Role.compareAge(own, other) < 0
}

/** Makes a claim when its time has come. */
export const consider = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
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
  if (self.basis !== basis || self.claimAt === undefined) {
    self.claimAt = Math.max(now, earliest) + rank * State.rankDelay
  }
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
    deadline: now + 10 * State.supportTimeout
  }
  out.push({ _tag: "Persist", floor: epoch, reign: self.reign, claim: epoch })
}

const claimBasis = (self: ElectionState, topology: Topology.Topology, now: number): State.Basis | undefined => {
  const { reign } = self
  if (self.granted || (self.retiring && !State.isMaster(self))) return undefined
  if (Topology.activeRun(topology, self.self)?.eligible !== true) return undefined
  if (reign === undefined) return "vacant"
  if (State.isMaster(self)) {
    const { pending } = self
    if (pending === undefined) return self.renewing ? "renewal" : undefined
    if (Topology.isActive(topology, pending)) return "meeting"
    return hasDeparted(topology, pending) || now - self.pendingSince >= State.meetingGrace ? "meeting" : undefined
  }
  if (!Topology.isActive(topology, reign)) {
    if (State.hearsMaster(self, topology, now) || now < State.mournedAt(self)) return undefined
    // a reign that is news beats a view in which its holder is dead: that view may be the older one
    return self.holderSeen || now - self.reignSince >= State.unknownGrace ? "departed" : undefined
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

const hasMajorityVerdict = (self: ElectionState): boolean => {
  const { announced, watch, witnesses } = self
  // a view that others have dropped out of is no measure: only the master's own list is
  if (!announced || watch === undefined || !watch.lost || witnesses.length === 0) return false
  // a single witness cannot tell its own silence from the master's
  if (witnesses.length === 1 && !watch.refused) return false
  let count = 0
  for (const id of witnesses) if (id === self.self.id || self.verdicts.has(id)) count++
  return count >= Role.majority(witnesses.length)
}

const successionRank = (self: ElectionState, topology: Topology.Topology): number => {
  const { reign } = self
  return topology.trusted
    .filter((node) => node.eligible && (reign === undefined || !State.sameRun(node, reign)))
    .findIndex((node) => State.sameRun(node, self.self))
}

/** Judges the answers so far, and gives up a claim that cannot be decided in time. */
export const progress = (
  self: ElectionState,
  topology: Topology.Topology,
  now: number,
  out: Array<Output>
): Decision | undefined => {
  const { claim } = self
  if (claim === undefined) return undefined
  const witnesses = claim.phase === "asking" ? witnessesFor(self, claim) : 0
  if (witnesses > 0) return win(claim, { kind: "witnessed", witnesses })
  const answered = claim.phase === "asking" && claim.answers.size >= claim.asked.size
  if (!answered && now < claim.deadline) return undefined
  const words = [...claim.answers.values()]
  const hearing = words.filter((word) => word === "hearing").length
  const supporting = 1 + words.filter((word) => word === "supported").length
  if (claim.phase === "asking" && claim.basis === "meeting" && self.pending !== undefined) {
    if (hearing > supporting || (hearing === supporting && !isOlder(self, topology))) {
      return { reign: self.pending, reason: "most nodes hear another master" }
    }
    const kind = 2 * supporting > 1 + claim.asked.size ? "witnessed" : "plain"
    return win(claim, { kind, witnesses: Math.min(supporting - 1, 255) })
  }
  if (claim.phase === "asking" && claim.basis !== "witnessed" && hearing === 0 && !words.includes("refused")) {
    return win(claim, { kind: "plain", witnesses: 0 })
  }
  out.push({
    _tag: "Log",
    message: "gave up a claim",
    fields: { epoch: claim.reign.epoch, basis: claim.basis, answers: words.join(" ") }
  })
  abandon(self, now)
  return undefined
}

/** How many witnesses of the lost master support the claim, if that is a majority of those it named itself. */
const witnessesFor = (self: ElectionState, claim: Claim): number => {
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
  claim: Claim,
  evidence: { readonly kind: Reign.Kind; readonly witnesses: number }
): Decision => ({ reign: { ...claim.reign, ...evidence }, reason: reasons[claim.basis] })

const reasons: Readonly<Record<State.Basis, string>> = {
  vacant: "there was no master",
  departed: "the master is gone",
  witnessed: "a majority of witnesses lost the master",
  meeting: "two reigns met",
  renewal: "its state was built anew"
}
