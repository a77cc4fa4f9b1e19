/** The handover inside the control plane of one node: what `Handover` decides, in terms of members, reign and tables.
 *
 * PURE. It finds a target fit or says why not, watches whether the target's table and parts have what was asked for and
 * whether the last writes of a closed master have finished, and holds what asks to write until it is clear who reigns.
 * Boundary: `Handover` is the protocol, `Election` the only place where the reign changes; stepped by `ClusterState`.
 * Invariants: H1 (nothing that is held was acknowledged; nothing begins while closed). */
import type { MemberId } from "../swim/Member.ts"
import type { Answer, Input, Output, Refused } from "./ClusterMessage.ts"
import * as Election from "./Election.ts"
import * as ElectionState from "./ElectionState.ts"
import * as Handover from "./Handover.ts"
import type * as HandoverEvent from "./HandoverEvent.ts"
import type { Need } from "./HandoverMessage.ts"
import * as HandoverMessage from "./HandoverMessage.ts"
import * as Reign from "./Reign.ts"
import type * as Replica from "./Replica.ts"
import type { Run } from "./RoutingTable.ts"
import * as Topology from "./Topology.ts"

type Of<Tag extends Input["_tag"]> = Extract<Input, { readonly _tag: Tag }>
/** What waits while this master is closed. */
export type Held = Of<"WriteAsked" | "RegisterReceived">

export interface Succession {
  hand: Handover.Handover
  /** who waits for the end of this node's attempt */
  asked: { readonly attempt: number; readonly ask: number } | undefined
  /** as target: what is being loaded; `parts` when everything but the table is there */
  loading: { readonly attempt: number; readonly sealed: boolean; readonly need: Need; parts: boolean } | undefined
  /** as closed master: the marks of the parts when their last writes have finished */
  closing: { readonly attempt: number; marks: Need["marks"] | undefined } | undefined
  /** since when this closed master makes no write, and for how long it was so the last time: what a handover costs. A
   * write that arrives while another is made would wait for that one anyway. */
  closedAt: number | undefined
  closedFor: number
  readonly held: Array<Held>
  /** this node is about to leave: it takes nothing over any more */
  retiring: boolean
}

/** Requests that wait at most; more are refused as if another were master. */
const maxHeld = 10_000

export const make = (self: Run, former?: Succession): Succession => ({
  hand: former === undefined ? Handover.make(self) : Handover.restore(former.hand),
  asked: undefined,
  loading: undefined,
  closing: undefined,
  closedAt: undefined,
  closedFor: 0,
  held: [],
  retiring: former?.retiring ?? false
})

/** The parts of the state that this module reads and moves. */
export interface Parts {
  readonly succession: Succession
  readonly topology: Topology.Topology
  readonly election: ElectionState.ElectionState
  readonly replica: Replica.Replica
}

export const isOpen = (self: Succession): boolean => Handover.isOpen(self.hand)

/** Follows the master's table although it may be no replica. */
export const isFollowing = (self: Succession): boolean => Handover.isFollowing(self.hand)

const reply = (out: Array<Output>, ask: number, answer: Answer): void => void out.push({ _tag: "Reply", ask, answer })

/** Keeps a request until it is clear who reigns; false when too many wait. */
export const hold = (self: Succession, input: Held): boolean => self.held.length < maxHeld && self.held.push(input) > 0

/** What was held, once this node is open again or another reigns. */
export const release = (self: Succession): ReadonlyArray<Held> => isOpen(self) ? self.held.splice(0) : []

// ---- what is asked

/** Whether this member can take over, and if not, why. */
const fitness = ({ election, topology }: Parts, id: MemberId): Run | Refused => {
  const node = topology.nodes.get(id)
  if (id === election.self.id) return { reason: "already-master", detail: `${id} is the master already` }
  if (node === undefined) return { reason: "not-a-member", detail: `${id} is not a member of this cluster` }
  const { bootId, eligible, member, meta } = node
  if (member.status !== "alive") return { reason: "not-alive", detail: `${id} is ${member.status}` }
  if (meta === undefined) return { reason: "not-eligible", detail: `${id} takes part in the membership only` }
  if (!eligible) return { reason: "not-eligible", detail: `${id} is not eligible as master` }
  return { id, bootId }
}

const isRefused = (found: Run | Refused): found is Refused => "reason" in found

export const apply = (
  parts: Parts,
  input: Of<"HandoverAsked" | "HandoverReceived" | "HandoverLost" | "PartsClosed" | "PartsLoaded" | "Retiring">,
  out: Array<Output>
): void => {
  const { election, succession } = parts
  const { now } = input
  switch (input._tag) {
    case "HandoverAsked": {
      if (!ElectionState.isMaster(election)) {
        return reply(out, input.ask, { _tag: "NotMaster", reign: election.reign })
      }
      const target = fitness(parts, input.to)
      const refused = isRefused(target) ? target : succession.asked === undefined ? undefined : busy
      if (refused !== undefined || isRefused(target)) {
        return reply(out, input.ask, { _tag: "HandoverEnded", reign: undefined, closedMs: 0, refused })
      }
      succession.asked = { attempt: succession.hand.attempts + 1, ask: input.ask }
      const need = { sequence: parts.replica.sequence, marks: {} }
      return feed(parts, { _tag: "Start", target, need }, now, out)
    }
    case "HandoverReceived":
      return receive(parts, input, out)
    case "HandoverLost":
      return feed(parts, { _tag: "Gone", run: input.run }, now, out)
    case "PartsClosed":
      if (succession.closing?.attempt === input.attempt) succession.closing.marks = input.marks
      return
    case "PartsLoaded": {
      const { loading } = succession
      if (loading?.attempt !== input.attempt || loading.sealed !== input.sealed) return
      if (input.failure === undefined) loading.parts = true
      else feed(parts, { _tag: "LoadFailed", attempt: input.attempt, reason: input.failure }, now, out)
      return
    }
    case "Retiring":
      succession.retiring = true
      election.retiring = true
      return
  }
}

const busy: Refused = { reason: "busy", detail: "another handover is under way" }

const receive = (parts: Parts, { from, message, now }: Of<"HandoverReceived">, out: Array<Output>): void => {
  if (!HandoverMessage.isValid(message)) {
    return void out.push({ _tag: "Rejected", reason: "malformed handover" })
  }
  const refuses = message._tag === "Prepare" && parts.succession.retiring && !isFollowing(parts.succession)
  if (!refuses) return feed(parts, { _tag: "Received", from, message }, now, out)
  const { attempt, reign } = message
  out.push({
    _tag: "SendHandover",
    to: from,
    message: { _tag: "Abort", reign, attempt, reason: "it is about to leave" }
  })
}

/** This node stood still, or gave its word to another: what it held for true may not be. */
export const cancel = (parts: Parts, reason: string, now: number, out: Array<Output>): void => {
  const { _tag } = parts.succession.hand.phase
  if (_tag !== "Idle") feed(parts, { _tag: "Cancel", reason }, now, out)
}

// ---- the turn after every input

const settleEvent: HandoverEvent.Event = { _tag: "Settle" }

/** Follows time, reign and members. */
export const settle = (parts: Parts, now: number, out: Array<Output>): void => {
  const { succession, topology } = parts
  if (succession.hand.phase._tag === "Idle") return
  feed(parts, settleEvent, now, out)
  const { phase } = succession.hand
  const other = phase._tag === "Following" ? phase.from : "target" in phase ? phase.target : undefined
  if (other !== undefined && !Topology.isActive(topology, other)) feed(parts, { _tag: "Gone", run: other }, now, out)
  checkLoaded(parts, now, out)
  checkDrained(parts, now, out)
}

const checkLoaded = (parts: Parts, now: number, out: Array<Output>): void => {
  const { replica, succession } = parts
  const { loading } = succession
  if (loading === undefined || !loading.parts || replica.applied === undefined) return
  if (!isFollowing(succession) || !Reign.equals(replica.reign, parts.election.reign)) return
  if (replica.applied < loading.need.sequence) return
  succession.loading = undefined
  feed(parts, { _tag: "Loaded", attempt: loading.attempt, sealed: loading.sealed }, now, out)
}

const checkDrained = (parts: Parts, now: number, out: Array<Output>): void => {
  const { replica, succession } = parts
  const { closing } = succession
  if (closing?.marks === undefined || replica.buffer.size > 0 || replica.erased.length > 0) return
  succession.closing = undefined
  succession.closedAt = now
  const need = { sequence: replica.sequence, marks: closing.marks }
  feed(parts, { _tag: "Drained", attempt: closing.attempt, need }, now, out)
}

export const nextWake = (self: Succession): number => Handover.nextWake(self.hand)

// ---- carrying out

const feed = (parts: Parts, event: HandoverEvent.Event, now: number, out: Array<Output>): void => {
  const { election, succession, topology } = parts
  const outputs: Array<HandoverEvent.Output> = []
  const context: HandoverEvent.Context = {
    now,
    reign: election.reign,
    startOf: (run) => Topology.activeRun(topology, run)?.startedAt
  }
  const before = succession.hand.phase._tag
  succession.hand = Handover.step(succession.hand, event, context, outputs)
  election.granted = Handover.hasGranted(succession.hand)
  if (!isFollowing(succession)) succession.loading = undefined
  const after = succession.hand.phase._tag
  if (before !== after) {
    const { phase } = succession.hand
    const attempt = "attempt" in phase ? phase.attempt : succession.hand.attempts
    out.push({ _tag: "Log", message: "the handover went on", fields: { phase: after, former: before, attempt } })
  }
  for (const output of outputs) carryOut(parts, output, now, out)
}

const carryOut = (parts: Parts, output: HandoverEvent.Output, now: number, out: Array<Output>): void => {
  const { election, replica, succession, topology } = parts
  switch (output._tag) {
    case "Send":
      return void out.push({ _tag: "SendHandover", to: output.to, message: output.message })
    case "Load": {
      const { attempt, from, need, sealed } = output
      succession.loading = { attempt, sealed, need, parts: false }
      return void out.push({ _tag: "LoadParts", from, attempt, sealed, marks: need.marks })
    }
    case "Reserve": {
      const epoch = 1 + Math.max(election.floor, election.pending?.epoch ?? 0, election.supported?.epoch ?? 0)
      Election.see(election, epoch)
      return void out.push({ _tag: "Persist", floor: epoch, reign: election.reign, claim: epoch })
    }
    case "Close":
      succession.closing = { attempt: output.attempt, marks: undefined }
      if (replica.buffer.size > 0 || replica.erased.length > 0) replica.flushAt = now
      return void out.push({ _tag: "CloseParts", attempt: output.attempt })
    case "Open":
      succession.closing = undefined
      succession.closedFor = now - (succession.closedAt ?? now)
      succession.closedAt = undefined
      return
    case "Obey":
      Election.grant(election, topology, output.reign, now, out)
      return feed(parts, settleEvent, now, out)
    case "Reclaim":
      Election.see(election, output.above)
      election.renewing = true
      return
    case "Ended": {
      const { attempt, outcome } = output
      const done = outcome._tag === "Done" ? "done" : `aborted: ${outcome.reason}`
      out.push({
        _tag: "Log",
        message: "a handover ended",
        fields: { attempt, outcome: done, closedMs: Math.round(succession.closedFor) }
      })
      if (succession.asked?.attempt !== attempt) return
      const { ask } = succession.asked
      succession.asked = undefined
      return reply(out, ask, {
        _tag: "HandoverEnded",
        reign: outcome._tag === "Done" ? outcome.reign : undefined,
        closedMs: succession.closedFor,
        refused: outcome._tag === "Done" ? undefined : { reason: "aborted", detail: outcome.reason }
      })
    }
  }
}

/** The epoch of the grant, written or not. */
export const persisted = (parts: Parts, input: Of<"Persisted">, out: Array<Output>): void => {
  const { phase } = parts.succession.hand
  if (phase._tag !== "Preparing" || !phase.reserving) return
  const { epoch, now, ok } = input
  feed(parts, { _tag: "Reserved", attempt: phase.attempt, epoch, ok }, now, out)
}
