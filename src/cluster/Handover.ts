/** The planned change of master, both sides: who may accept writes at each step, and what every message does.
 *
 * PURE. Immutable: `step(state, event, context)` gives the next state and outputs as data. The old master prepares the
 * target while it serves on (`Prepare`, `Ready`), writes down the epoch it is going to grant, closes, lets the writes in
 * flight finish, has the target load the rest (`Seal`, `Ready`), and commits (`Commit`, `Accepted`). Every message may be
 * lost, doubled, late or out of order: the old master repeats its last one, the target answers it again.
 * Boundary: loading, draining and the reign belong to others; `ClusterState` feeds this module and carries out.
 * Invariants: H1. Before `Commit` is sent the old master may abort and go on; afterwards it accepts nothing under this
 * reign unless the target, which keeps its word, refused, and claims a higher one only when the target is gone. The
 * target accepts nothing before `Commit`, and obeys no `Commit` of an attempt that it once let go. */
import type { Context, Event, Outcome, Output } from "./HandoverEvent.ts"
import type { Message, Need } from "./HandoverMessage.ts"
import * as Reign from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"

export interface Params {
  /** milliseconds until an unanswered message is repeated */
  readonly resend: number
  /** for the target to load everything while the old master serves on */
  readonly prepareWithin: number
  /** for the writes in flight to finish and the target to load the rest, while new writes wait */
  readonly sealWithin: number
  /** a target that hears nothing of its old master for so long lets the attempt go */
  readonly silence: number
}

export const defaults: Params = { resend: 100, prepareWithin: 10_000, sealWithin: 500, silence: 2000 }

// ---- states

/** The old master prepares the target and serves on. */
export interface Preparing {
  readonly _tag: "Preparing"
  readonly target: Run
  readonly attempt: number
  readonly reign: Reign.Reign
  readonly need: Need
  /** the target is ready and the epoch of the grant is being written down */
  readonly reserving: boolean
  readonly deadline: number
  readonly resendAt: number
}

/** The old master is closed but may still abort; `need` is known when the writes in flight have finished. */
export interface Sealing {
  readonly _tag: "Sealing"
  readonly target: Run
  readonly attempt: number
  readonly reign: Reign.Reign
  readonly epoch: number
  readonly need: Need | undefined
  readonly deadline: number
  readonly resendAt: number
}

/** `Commit` was sent: closed until the target answers, refuses or is gone. */
export interface Committing {
  readonly _tag: "Committing"
  readonly target: Run
  readonly attempt: number
  readonly reign: Reign.Reign
  readonly grant: Reign.Reign
  readonly resendAt: number
}

/** The target is gone after `Commit`: closed until this node reigns anew, by a claim above the grant, or obeys another. */
export interface Reclaiming {
  readonly _tag: "Reclaiming"
  readonly attempt: number
  readonly reign: Reign.Reign
  readonly grant: Reign.Reign
}

/** The target loads and follows. */
export interface Following {
  readonly _tag: "Following"
  readonly from: Run
  readonly attempt: number
  readonly reign: Reign.Reign
  readonly phase: "loading" | "loaded" | "sealing" | "sealed"
  readonly deadline: number
}

export type Phase = { readonly _tag: "Idle" } | Preparing | Sealing | Committing | Reclaiming | Following

export interface Handover {
  readonly self: Run
  readonly params: Params
  readonly phase: Phase
  /** the number of this node's last own attempt */
  readonly attempts: number
  /** as target: attempts of this reign up to this one are over; the last one by its success, or not */
  readonly over: { readonly reign: Reign.Reign; readonly attempt: number; readonly accepted: boolean } | undefined
}

export const make = (self: Run, params: Params = defaults): Handover => ({
  self,
  params,
  phase: { _tag: "Idle" },
  attempts: 0,
  over: undefined
})

/** After a defect: a grant that is out stays out, what could be aborted is. */
export const restore = (former: Handover): Handover => {
  const { phase } = former
  if (phase._tag === "Committing" || phase._tag === "Reclaiming") return former
  const over = phase._tag === "Following"
    ? { reign: phase.reign, attempt: phase.attempt, accepted: false }
    : former.over
  return { ...former, phase: { _tag: "Idle" }, over }
}

// ---- what others ask

/** Whether a master may let writes begin. */
export const isOpen = ({ phase }: Handover): boolean =>
  phase._tag !== "Sealing" && phase._tag !== "Committing" && phase._tag !== "Reclaiming"

/** Whether this node follows its master in order to succeed it. */
export const isFollowing = ({ phase }: Handover): boolean => phase._tag === "Following"

/** A grant is out: this master makes no claim of its own. */
export const hasGranted = ({ phase }: Handover): boolean => phase._tag === "Committing"

export const nextWake = ({ phase }: Handover): number => {
  switch (phase._tag) {
    case "Idle":
    case "Reclaiming":
      return Number.POSITIVE_INFINITY
    case "Preparing":
    case "Sealing":
      return Math.min(phase.deadline, phase.resendAt)
    case "Committing":
      return phase.resendAt
    case "Following":
      return phase.deadline
  }
}

// ---- the machine

export const step = (self: Handover, event: Event, context: Context, out: Array<Output>): Handover => {
  const settled = settle(self, context, out)
  switch (event._tag) {
    case "Start":
      return start(settled, event, context, out)
    case "Cancel":
      return settled.phase._tag === "Following"
        ? letGo(settled, settled.phase, event.reason, out)
        : abort(settled, event.reason, out)
    case "Received":
      return receive(settled, event, context, out)
    case "Loaded":
      return loaded(settled, event, out)
    case "LoadFailed":
      return settled.phase._tag === "Following" && settled.phase.attempt === event.attempt
        ? letGo(settled, settled.phase, event.reason, out)
        : settled
    case "Reserved":
      return reserved(settled, event, context, out)
    case "Drained":
      return drained(settled, event, context, out)
    case "Gone":
      return gone(settled, event.run, out)
    case "Settle":
      return settled
  }
}

const sameRun = (a: Run, b: Run): boolean => a.id === b.id && a.bootId === b.bootId

const idle = (self: Handover): Handover => ({ ...self, phase: { _tag: "Idle" } })

/** The old master's side of whatever `from` says about this attempt. */
const isFrom = (phase: Preparing | Sealing | Committing, from: Run, message: Message): boolean =>
  sameRun(phase.target, from) && phase.attempt === message.attempt && Reign.equals(phase.reign, message.reign)

/** What the reign and the time alone decide. */
const settle = (self: Handover, context: Context, out: Array<Output>): Handover => {
  const { phase } = self
  if (phase._tag === "Idle") return self
  if (!Reign.equals(phase.reign, context.reign)) return superseded(self, context.reign, out)
  const { now } = context
  switch (phase._tag) {
    case "Preparing":
    case "Sealing":
      if (now >= phase.deadline) {
        return abort(self, phase._tag === "Preparing" ? "it did not get ready in time" : "sealing took too long", out)
      }
      return now >= phase.resendAt ? repeat(self, phase, now, out) : self
    case "Committing":
      return now >= phase.resendAt ? repeat(self, phase, now, out) : self
    case "Following":
      return now >= phase.deadline ? letGo(self, phase, "its old master fell silent", out) : self
    case "Reclaiming":
      return self
  }
}

/** Another reign is obeyed now: the attempt is over, by its success or by somebody else's claim. */
const superseded = (self: Handover, reign: Reign.Reign | undefined, out: Array<Output>): Handover => {
  const { phase } = self
  if (phase._tag === "Idle") return self
  if (phase._tag === "Following") {
    return { ...idle(self), over: { reign: phase.reign, attempt: phase.attempt, accepted: false } }
  }
  if (!isOpen(self)) out.push({ _tag: "Open" })
  if (phase._tag === "Preparing" || phase._tag === "Sealing") tellAbort(phase, "another reign began", out)
  const outcome: Outcome = (phase._tag === "Committing" || phase._tag === "Reclaiming") &&
      reign !== undefined && Reign.equals(reign, phase.grant)
    ? { _tag: "Done", reign }
    : { _tag: "Aborted", reason: "another reign began" }
  // of a reclaim the attempt's end was told already
  if (phase._tag !== "Reclaiming") out.push({ _tag: "Ended", attempt: phase.attempt, outcome })
  return idle(self)
}

// ---- the old master

const start = (
  self: Handover,
  { need, target }: Extract<Event, { readonly _tag: "Start" }>,
  { now, reign }: Context,
  out: Array<Output>
): Handover => {
  const attempt = self.attempts + 1
  const refuse = (reason: string): Handover => {
    out.push({ _tag: "Ended", attempt, outcome: { _tag: "Aborted", reason } })
    return { ...self, attempts: attempt }
  }
  if (self.phase._tag !== "Idle") return refuse("another handover is under way")
  if (reign === undefined || !Reign.isHeldBy(reign, self.self)) return refuse("this node is not the master")
  if (sameRun(target, self.self)) return refuse("it is the master already")
  const phase: Preparing = {
    _tag: "Preparing",
    target,
    attempt,
    reign,
    need,
    reserving: false,
    deadline: now + self.params.prepareWithin,
    resendAt: now
  }
  return repeat({ ...self, attempts: attempt }, phase, now, out)
}

/** Sends the phase's message (again). */
const repeat = (
  self: Handover,
  phase: Preparing | Sealing | Committing,
  now: number,
  out: Array<Output>
): Handover => {
  const message = messageOf(phase)
  if (message !== undefined) out.push({ _tag: "Send", to: phase.target, message })
  return { ...self, phase: { ...phase, resendAt: now + self.params.resend } }
}

const messageOf = (phase: Preparing | Sealing | Committing): Message | undefined => {
  const { attempt, reign } = phase
  if (phase._tag === "Committing") return { _tag: "Commit", reign, attempt, grant: phase.grant }
  if (phase._tag === "Preparing") return { _tag: "Prepare", reign, attempt, need: phase.need }
  return phase.need === undefined ? undefined : { _tag: "Seal", reign, attempt, need: phase.need }
}

const tellAbort = ({ attempt, reign, target }: Preparing | Sealing, reason: string, out: Array<Output>): void => {
  out.push({ _tag: "Send", to: target, message: { _tag: "Abort", reign, attempt, reason } })
}

/** Goes on as master. Only before `Commit`: no grant has left this node. */
const abort = (self: Handover, reason: string, out: Array<Output>): Handover => {
  const { phase } = self
  if (phase._tag !== "Preparing" && phase._tag !== "Sealing") return self
  tellAbort(phase, reason, out)
  if (phase._tag === "Sealing") out.push({ _tag: "Open" })
  out.push({ _tag: "Ended", attempt: phase.attempt, outcome: { _tag: "Aborted", reason } })
  return idle(self)
}

const reserved = (
  self: Handover,
  event: Extract<Event, { readonly _tag: "Reserved" }>,
  { now }: Context,
  out: Array<Output>
): Handover => {
  const { phase } = self
  if (phase._tag !== "Preparing" || !phase.reserving || phase.attempt !== event.attempt) return self
  if (!event.ok || event.epoch <= phase.reign.epoch || event.epoch >= Reign.limit) {
    return abort(self, "the epoch could not be written down", out)
  }
  out.push({ _tag: "Close", attempt: phase.attempt })
  const { attempt, reign, target } = phase
  return {
    ...self,
    phase: {
      _tag: "Sealing",
      target,
      attempt,
      reign,
      epoch: event.epoch,
      need: undefined,
      deadline: now + self.params.sealWithin,
      resendAt: Number.POSITIVE_INFINITY
    }
  }
}

const drained = (
  self: Handover,
  { attempt, need }: Extract<Event, { readonly _tag: "Drained" }>,
  { now }: Context,
  out: Array<Output>
): Handover => {
  const { phase } = self
  return phase._tag === "Sealing" && phase.attempt === attempt && phase.need === undefined
    ? repeat(self, { ...phase, need }, now, out)
    : self
}

/** The last point of return is behind: from here on only the target or its end decides. */
const commit = (self: Handover, phase: Sealing, context: Context, out: Array<Output>): Handover => {
  const startedAt = context.startOf(phase.target)
  if (startedAt === undefined) return abort(self, "it is no member any more", out)
  const { attempt, epoch, reign, target } = phase
  const grant: Reign.Reign = {
    epoch,
    id: target.id,
    bootId: target.bootId,
    startedAt,
    predecessor: { epoch: reign.epoch, bootId: reign.bootId },
    kind: "granted",
    witnesses: 0
  }
  return repeat(self, { _tag: "Committing", target, attempt, reign, grant, resendAt: 0 }, context.now, out)
}

const gone = (self: Handover, run: Run, out: Array<Output>): Handover => {
  const { phase } = self
  if (phase._tag === "Following") {
    return sameRun(phase.from, run) ? letGo(self, phase, "its old master is gone", out) : self
  }
  if (phase._tag === "Idle" || phase._tag === "Reclaiming" || !sameRun(phase.target, run)) return self
  if (phase._tag !== "Committing") return abort(self, "it is gone", out)
  const { attempt, grant, reign } = phase
  out.push(
    { _tag: "Ended", attempt, outcome: { _tag: "Aborted", reason: "it was gone before it answered" } },
    { _tag: "Reclaim", above: grant.epoch }
  )
  return { ...self, phase: { _tag: "Reclaiming", attempt, reign, grant } }
}

// ---- messages

const receive = (
  self: Handover,
  event: Extract<Event, { readonly _tag: "Received" }>,
  context: Context,
  out: Array<Output>
): Handover => {
  const { from, message } = event
  switch (message._tag) {
    case "Prepare":
      return prepare(self, from, message, context, out)
    case "Seal":
      return seal(self, from, message, context, out)
    case "Commit":
      return accept(self, from, message, context, out)
    case "Ready":
      return ready(self, from, message, context, out)
    case "Accepted": {
      const { phase } = self
      if (phase._tag !== "Committing" || !isFrom(phase, from, message)) return self
      out.push({ _tag: "Obey", reign: phase.grant })
      return self // ended when the grant is obeyed
    }
    case "Abort":
      return aborted(self, from, message, out)
  }
}

const ready = (
  self: Handover,
  from: Run,
  message: Extract<Message, { readonly _tag: "Ready" }>,
  context: Context,
  out: Array<Output>
): Handover => {
  const { phase } = self
  if (phase._tag === "Preparing" && isFrom(phase, from, message) && !message.sealed && !phase.reserving) {
    out.push({ _tag: "Reserve", attempt: phase.attempt })
    return { ...self, phase: { ...phase, reserving: true } }
  }
  return phase._tag === "Sealing" && isFrom(phase, from, message) && message.sealed && phase.need !== undefined
    ? commit(self, phase, context, out)
    : self
}

const aborted = (
  self: Handover,
  from: Run,
  message: Extract<Message, { readonly _tag: "Abort" }>,
  out: Array<Output>
): Handover => {
  const { phase } = self
  if (phase._tag === "Following") {
    return isOf(phase, from, message)
      ? { ...idle(self), over: { reign: phase.reign, attempt: phase.attempt, accepted: false } }
      : self
  }
  // it may have overtaken the message that began the attempt
  if (phase._tag === "Idle") return remember(self, message)
  if (phase._tag === "Reclaiming" || !isFrom(phase, from, message)) return self
  if (phase._tag !== "Preparing") out.push({ _tag: "Open" })
  const reason = `it refused: ${message.reason}`
  out.push({ _tag: "Ended", attempt: phase.attempt, outcome: { _tag: "Aborted", reason } })
  return idle(self)
}

// ---- the target

const isOf = (phase: Following, from: Run, message: Message): boolean =>
  sameRun(phase.from, from) && phase.attempt === message.attempt && Reign.equals(phase.reign, message.reign)

const isOver = ({ over }: Handover, message: Message): boolean =>
  over !== undefined && Reign.equals(over.reign, message.reign) && message.attempt <= over.attempt

/** This attempt will never be obeyed here, whatever of it is still under way. One that was obeyed is never refused:
 * the old master would go on. */
const refuse = (self: Handover, from: Run, message: Message, reason: string, out: Array<Output>): Handover => {
  const { attempt, reign } = message
  if (self.over?.accepted === true && self.over.attempt === attempt && Reign.equals(self.over.reign, reign)) {
    out.push({ _tag: "Send", to: from, message: { _tag: "Accepted", reign, attempt } })
    return self
  }
  out.push({ _tag: "Send", to: from, message: { _tag: "Abort", reign, attempt, reason } })
  return remember(self, message)
}

/** An attempt of a lower reign than that remembered is refused for its reign, and needs no remembering. */
const remember = (self: Handover, message: Message): Handover => {
  const { attempt, reign } = message
  const { over } = self
  return isOver(self, message) || (over !== undefined && Reign.isLower(reign, over.reign))
    ? self
    : { ...self, over: { reign, attempt, accepted: false } }
}

const letGo = (self: Handover, phase: Following, reason: string, out: Array<Output>): Handover => {
  const { attempt, from, reign } = phase
  out.push({ _tag: "Send", to: from, message: { _tag: "Abort", reign, attempt, reason } })
  return { ...idle(self), over: { reign, attempt, accepted: false } }
}

const answerReady = (phase: Following, out: Array<Output>): void => {
  const { attempt, from, reign } = phase
  const sealed = phase.phase === "sealed"
  out.push({ _tag: "Send", to: from, message: { _tag: "Ready", reign, attempt, sealed } })
}

const prepare = (
  self: Handover,
  from: Run,
  message: Extract<Message, { readonly _tag: "Prepare" }>,
  { now, reign }: Context,
  out: Array<Output>
): Handover => {
  const { phase } = self
  const { attempt, need } = message
  if (phase._tag === "Following" && isOf(phase, from, message)) {
    if (phase.phase === "loaded") answerReady(phase, out)
    return { ...self, phase: { ...phase, deadline: now + self.params.silence } }
  }
  if (isOver(self, message)) return refuse(self, from, message, "the attempt is over", out)
  if (!Reign.equals(message.reign, reign) || !Reign.isHeldBy(message.reign, from)) {
    return refuse(self, from, message, "it obeys another reign", out)
  }
  // a later attempt of the same master replaces the one before; its own attempts it makes only as master
  if (phase._tag !== "Idle" && phase._tag !== "Following") return refuse(self, from, message, "it is busy", out)
  if (phase._tag === "Following" && phase.attempt > attempt) {
    return refuse(self, from, message, "the attempt is over", out)
  }
  out.push({ _tag: "Load", from, attempt, sealed: false, need })
  const over = phase._tag === "Following" ? { reign: phase.reign, attempt: phase.attempt, accepted: false } : self.over
  return {
    ...self,
    over,
    phase: {
      _tag: "Following",
      from,
      attempt,
      reign: message.reign,
      phase: "loading",
      deadline: now + self.params.silence
    }
  }
}

const seal = (
  self: Handover,
  from: Run,
  message: Extract<Message, { readonly _tag: "Seal" }>,
  { now }: Context,
  out: Array<Output>
): Handover => {
  const { phase } = self
  if (phase._tag !== "Following" || !isOf(phase, from, message)) {
    return refuse(self, from, message, "it does not follow", out)
  }
  const deadline = now + self.params.silence
  if (phase.phase === "sealed") answerReady(phase, out)
  if (phase.phase === "sealed" || phase.phase === "sealing") return { ...self, phase: { ...phase, deadline } }
  out.push({ _tag: "Load", from, attempt: phase.attempt, sealed: true, need: message.need })
  return { ...self, phase: { ...phase, phase: "sealing", deadline } }
}

const loaded = (
  self: Handover,
  { attempt, sealed }: Extract<Event, { readonly _tag: "Loaded" }>,
  out: Array<Output>
): Handover => {
  const { phase } = self
  if (phase._tag !== "Following" || phase.attempt !== attempt) return self
  if (phase.phase !== (sealed ? "sealing" : "loading")) return self
  const next: Following = { ...phase, phase: sealed ? "sealed" : "loaded" }
  answerReady(next, out)
  return { ...self, phase: next }
}

const accept = (
  self: Handover,
  from: Run,
  message: Extract<Message, { readonly _tag: "Commit" }>,
  { reign }: Context,
  out: Array<Output>
): Handover => {
  const { attempt, grant } = message
  const answer = { _tag: "Send", to: from, message: { _tag: "Accepted", reign: message.reign, attempt } } as const
  if (Reign.equals(grant, reign)) {
    out.push(answer)
    return self
  }
  const { phase } = self
  if (phase._tag !== "Following" || !isOf(phase, from, message) || phase.phase !== "sealed") {
    return refuse(self, from, message, "it does not follow", out)
  }
  if (!Reign.isHeldBy(grant, self.self) || grant.kind !== "granted" || !Reign.isLower(phase.reign, grant)) {
    return letGo(self, phase, "the grant is not for it", out)
  }
  // the answer first: writes wait at the old master until it has it
  out.push(answer, { _tag: "Obey", reign: grant })
  return { ...idle(self), over: { reign: phase.reign, attempt, accepted: true } }
}
