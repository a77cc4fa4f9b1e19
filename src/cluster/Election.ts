/** Which reign this node obeys, and the evidence of its master's life.
 *
 * PURE. The witnesses of a master (its oldest others) hold a heartbeat with it. A witness that loses it tells the State.others;
 * at a majority the first eligible in rank claims the next epoch: it writes the epoch down, asks for support, and
 * announces. Where witnesses are missing, gossip's verdict (dead or left) stands in. A node that still hears its master
 * obeys no claim without a grant or a majority of witnesses, and tells its master instead. A beat counts for more than
 * gossip's word that the master is dead, which a node that was cut off may have brought; it is denied within moments.
 * Boundary: gossip decides who is alive; this module is stepped by `ClusterState` and returns outputs. Invariants: R1
 * and R2 (`obey` is the only place where the reign changes, and it only rises). */
import type { MemberId } from "../swim/Member.ts"
import * as Claim from "./Claim.ts"
import type { Answer, Output, Support } from "./ClusterMessage.ts"
import type { ElectionState } from "./ElectionState.ts"
import * as State from "./ElectionState.ts"
import * as Reign from "./Reign.ts"
import * as Role from "./Role.ts"
import type { Run } from "./RoutingTable.ts"
import * as Topology from "./Topology.ts"

// ---- what is heard

export const see = (self: ElectionState, epoch: number): void => {
  if (Number.isSafeInteger(epoch) && epoch < Reign.limit - 1) self.floor = Math.max(self.floor, epoch)
}

/** A reign heard from gossip (`from` undefined) or from a peer in person. */
export const hear = (
  self: ElectionState,
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
  if (State.isMaster(self)) {
    if (supported) return obey(self, topology, reign, "was succeeded", now, out)
    return suspend(self, reign, now)
  }
  if (known === undefined || supported) return obey(self, topology, reign, "heard a higher reign", now, out)
  if (State.sameRun(known, reign)) return obey(self, topology, reign, "its master renewed its reign", now, out)
  if (from !== undefined && State.sameRun(known, from)) {
    return obey(self, topology, reign, "its master obeys it", now, out)
  }
  if (!State.hearsMaster(self, topology, now)) return obey(self, topology, reign, "its master is silent", now, out)
  suspend(self, reign, now)
}

const suspend = (self: ElectionState, reign: Reign.Reign, now: number): void => {
  if (!Reign.isLower(self.pending, reign)) return
  if (self.pending === undefined) self.pendingSince = now
  self.pending = reign
  self.contestAt = now
}

/** R1, R2: the only place where the reign changes. */
const obey = (
  self: ElectionState,
  topology: Topology.Topology,
  reign: Reign.Reign,
  reason: string,
  now: number,
  out: Array<Output>
): void => {
  const former = self.reign
  const wasMaster = State.isMaster(self)
  self.reign = reign
  self.reignSince = now
  self.holderSeen = false
  self.goneAt = undefined
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
  self.greetAt = now
  if (self.watch !== undefined) {
    self.watch = undefined
    out.push({ _tag: "Watch", target: undefined, reign })
  }
  out.push(
    { _tag: "Persist", floor: self.floor, reign, claim: undefined },
    { _tag: "SetItem", reign },
    {
      _tag: "Log",
      message: State.isMaster(self) ? "became master" : "obeys a new reign",
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
  if (State.isMaster(self) || wasMaster) out.push({ _tag: "Announce", to: State.others(self, topology), reign })
}

/** A reign by grant: this node's own when it was granted, or that which it granted. */
export const grant = (
  self: ElectionState,
  topology: Topology.Topology,
  reign: Reign.Reign,
  now: number,
  out: Array<Output>
): void => {
  if (Reign.isLower(self.reign, reign)) obey(self, topology, reign, "was handed over", now, out)
}

export const contacted = (self: ElectionState, now: number): void => {
  if (self.contacted) return
  self.contacted = true
  self.notBefore = Math.min(self.notBefore, now)
  self.settleUntil = now + State.settleAfterContact
}

// ---- evidence

export const beat = (
  self: ElectionState,
  topology: Topology.Topology,
  message: { readonly from: Run; readonly reign: Reign.Reign; readonly witnesses: ReadonlyArray<MemberId> },
  now: number,
  out: Array<Output>
): void => {
  if (Reign.isLower(self.reign, message.reign)) hear(self, topology, message.reign, message.from, now, out)
  if (
    self.reign === undefined || !Reign.equals(self.reign, message.reign) || !State.sameRun(self.reign, message.from)
  ) {
    return void out.push({ _tag: "Rejected", reason: "beat of another reign" })
  }
  self.witnesses = message.witnesses
  self.announced = true
  const { watch } = self
  if (watch === undefined || !State.sameRun(watch.target, message.from)) return
  watch.lastBeat = now
  watch.heard = true
  watch.refused = false
  if (watch.lost) {
    watch.lost = false
    tell(self, topology, false, out)
  }
  if (now < self.greetAt) return
  self.greetAt = now + State.greetInterval
  const to = fellows(self, topology, self.reign)
  if (to.length > 0) out.push({ _tag: "Greet", to, reign: self.reign })
}

/** The heartbeat's connection ended; `refused` when nobody (or somebody else) listens at its address now. */
export const watchEnded = (self: ElectionState, target: Run, refused: boolean): void => {
  if (self.watch !== undefined && State.sameRun(self.watch.target, target) && refused) self.watch.refused = true
}

export const verdict = (
  self: ElectionState,
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

/** The other witnesses of the master. */
const fellows = (self: ElectionState, topology: Topology.Topology, reign: Reign.Reign): Array<Run> =>
  State.others(self, topology).filter((run) => self.witnesses.includes(run.id) && run.id !== reign.id)

const tell = (self: ElectionState, topology: Topology.Topology, lost: boolean, out: Array<Output>): void => {
  const { reign } = self
  if (reign === undefined) return
  const to = fellows(self, topology, reign)
  if (to.length > 0) out.push({ _tag: "SendVerdict", to, reign, lost })
}

// ---- support

/** One supported claim per epoch; none while the own master is heard, unless it is the master that claims. */
export const support = (
  self: ElectionState,
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
    return answer(claim.epoch === supported.epoch && State.sameRun(claim, supported.run) ? "supported" : "refused")
  }
  const renewal = self.reign !== undefined && State.sameRun(self.reign, claim)
  if (!renewal && State.hearsMaster(self, topology, now)) return answer("hearing")
  if (self.claim?.reign.epoch === claim.epoch && !yields(self.claim, claim)) return answer("refused")
  self.supported = { epoch: claim.epoch, run: { id: claim.id, bootId: claim.bootId } }
  see(self, claim.epoch)
  // whoever was supported gets the time to finish
  self.claim = undefined
  self.claimAt = undefined
  self.notBefore = Math.max(self.notBefore, now + State.supportTimeout)
  return answer("supported")
}

/** Of those that claim the same epoch at once the older goes on, and the younger gives up before its claim is decided. Two
 * masters that meet have another measure. */
const yields = (own: State.Claim, other: Reign.Reign): boolean =>
  own.basis === "witnessed" && Role.compareAge(own.reign, other) > 0

export const supportAnswered = (
  self: ElectionState,
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

// ---- the turn after every input

/** Draws the consequences of what was heard, and of the time that passed. */
export const settle = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  checkLateness(self, now, out)
  followWitnesses(self, topology, now, out)
  judgeWatch(self, topology, now, out)
  settlePending(self, topology, now, out)
  const decision = Claim.progress(self, topology, now, out)
  if (decision !== undefined) decide(self, topology, decision, now, out)
  Claim.consider(self, topology, now, out)
  emitBeat(self, topology, now, out)
  self.expected = nextWake(self, topology, now)
}

const decide = (
  self: ElectionState,
  topology: Topology.Topology,
  { reason, reign }: Claim.Decision,
  now: number,
  out: Array<Output>
): void => Reign.isLower(self.reign, reign) ? obey(self, topology, reign, reason, now, out) : Claim.abandon(self, now)

/** A process that stood still has not listened: what it took for silence is no evidence. */
const checkLateness = (self: ElectionState, now: number, out: Array<Output>): void => {
  if (now - self.expected <= State.lateness) return
  out.push({ _tag: "Rejected", reason: "own evidence after a late wake-up" })
  if (self.watch !== undefined) {
    self.watch.lastBeat = now
    self.watch.lost = false
    self.watch.refused = false
  }
  self.verdicts.clear()
  self.basis = undefined
  if (self.claim !== undefined) Claim.abandon(self, now)
}

const followWitnesses = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { reign } = self
  if (reign === undefined) return
  const present = Topology.isActive(topology, reign)
  const heard = present || State.isHeardInPerson(self, topology, now)
  if (present) {
    self.holderSeen = true
    self.goneAt = undefined
  } else if (Topology.isSaidDead(topology, reign)) self.goneAt ??= now
  if (self.watch !== undefined && State.isLost(self.watch, topology, now)) self.goneAt = Number.NEGATIVE_INFINITY
  // who watched a master that is gone stays the measure for its succession
  const computed = present ? computeWitnesses(self, topology, reign.id) : self.witnesses
  if (!self.announced || State.isMaster(self)) self.witnesses = computed
  const watches = heard && !State.isMaster(self) &&
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
  self: ElectionState,
  topology: Topology.Topology,
  master: MemberId
): ReadonlyArray<MemberId> => {
  if (self.computed.revision !== topology.revision) {
    const ids = Role.witnesses(topology.trusted, master).map((node) => node.id)
    self.computed = { revision: topology.revision, ids }
  }
  return self.computed.ids
}

const judgeWatch = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { watch } = self
  if (watch === undefined || watch.lost) return
  if (!watch.refused && now - watch.lastBeat <= State.lostAfter(topology.active.length)) return
  watch.lost = true
  out.push({
    _tag: "Log",
    message: "lost the heartbeat of its master",
    fields: {
      master: watch.target.id,
      evidence: watch.refused ? "connection refused" : "silence",
      silentMs: Math.round(now - watch.lastBeat),
      witnesses: self.witnesses.length
    }
  })
  tell(self, topology, true, out)
}

const settlePending = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  const { pending } = self
  if (pending === undefined) return
  if (!Reign.isLower(self.reign, pending)) {
    self.pending = undefined
    return
  }
  if (State.isMaster(self)) return // they meet, see `Claim`
  if (!State.hearsMaster(self, topology, now)) return obey(self, topology, pending, "its master is silent", now, out)
  if (self.reign !== undefined && now >= self.contestAt) {
    self.contestAt = now + State.contestInterval
    out.push({ _tag: "Contest", to: { id: self.reign.id, bootId: self.reign.bootId }, reign: pending })
  }
}

const emitBeat = (self: ElectionState, topology: Topology.Topology, now: number, out: Array<Output>): void => {
  if (!State.isMaster(self) || self.reign === undefined || now < self.nextBeat) return
  self.nextBeat = Math.max(self.nextBeat + State.beatInterval, now + State.beatInterval / 2)
  self.witnesses = computeWitnesses(self, topology, self.self.id)
  out.push({ _tag: "Beat", reign: self.reign, witnesses: self.witnesses })
}

/** When time alone may change something next. A witness wakes at every beat, to notice when it woke late. */
export const nextWake = (self: ElectionState, topology: Topology.Topology, now: number): number => {
  let at = Number.POSITIVE_INFINITY
  const add = (candidate: number | undefined) => {
    if (candidate !== undefined && candidate > now) at = Math.min(at, candidate)
  }
  const { reign, watch } = self
  if (State.isMaster(self)) add(self.nextBeat)
  if (watch !== undefined) add(now + State.beatInterval)
  if (watch !== undefined && !watch.lost) add(watch.lastBeat + State.lostAfter(topology.active.length) + 1)
  add(self.claimAt)
  add(self.claim?.deadline)
  if (self.pending !== undefined) add(State.isMaster(self) ? self.pendingSince + State.meetingGrace : self.contestAt)
  if (reign !== undefined && self.claim === undefined && !Topology.isActive(topology, reign)) {
    add(self.reignSince + State.unknownGrace)
    add(State.mournedAt(self))
  }
  return at
}
