/** What a claim about a member does: the only place where entries change.
 *
 * PURE. Boundary: takes claims from packets, exchanges and our own verdicts alike. Applying one updates the table,
 * queues it as gossip, tells the outside and starts or ends a suspicion.
 * Invariants: M1 (a claim at or below the known state changes nothing), M2 (only claims about others are taken as they
 * are; those about ourselves are refuted). */
import * as Awareness from "./Awareness.ts"
import * as Core from "./Core.ts"
import * as Flaps from "./Flaps.ts"
import * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Newcomers from "./Newcomers.ts"
import * as Params from "./Params.ts"
import * as Spread from "./Spread.ts"
import * as Suspicion from "./Suspicion.ts"

const day = 86_400_000

/** Where a claim comes from: the sender's address when it can be answered, and how it is passed on. */
export interface Source {
  readonly from?: Member.Address | undefined
  /** False while a joiner takes in a whole table: its peer has told everybody already. */
  readonly spread: boolean
  /** When the member took this status; only exchanges know. */
  readonly since?: number | undefined
  /** What introduced a living member is passed on as it came. */
  readonly message?: Message.Alive | undefined
}

export interface Claim {
  readonly id: Member.MemberId
  readonly bootId: Member.BootId
  readonly incarnation: number
}

/** An accusation of ourselves is answered to the accuser at once; a new one raises our incarnation. */
export const refute = (core: Core.Core, accused: number, from: Member.Address | undefined): void => {
  if (core.status === "left") return
  if (accused >= core.incarnation) {
    core.incarnation = accused + 1
    Awareness.apply(core.awareness, 1)
    Spread.update(core, core.self.id, Core.selfAlive(core))
  }
  if (from !== undefined) Core.reply(core, Core.selfAlive(core))
}

/** Our own news: a changed identity is a new incarnation. */
export const announce = (core: Core.Core): void => {
  Spread.update(core, core.self.id, Core.selfAlive(core))
}

/** Our start moves behind that of a run of our name that is over. */
const outrank = (core: Core.Core, other: Member.Member): void => {
  if (isFuture(core, other.startedAt)) return Core.reject(core, "start-in-the-future")
  core.self = { ...core.self, startedAt: other.startedAt + 1 }
  core.incarnation++
  if (core.announced) announce(core)
}

/** Our name under another run: an older living one elsewhere wins; a younger one is told about us. */
const otherSelf = (core: Core.Core, other: Member.Member, from: Member.Address | undefined): void => {
  const older = Member.compareRun(other, core.self) < 0
  if (!Member.isActive(other.status)) {
    // A later run of our name has died: we are passed by until our start is above its.
    if (older || core.status === "left") return
    outrank(core, other)
    if (from !== undefined) Core.reply(core, Core.selfAlive(core))
    return
  }
  if (Member.sameAddress(other.address, core.self.address)) {
    // Our own earlier run, not yet known to be over. Dated later than ours (a clock was set back) it would stay for ever.
    if (!older && core.status !== "left") outrank(core, other)
    if (from !== undefined) Core.reply(core, Core.selfAlive(core))
    return
  }
  if (older) return onRival(core, other, from)
  Core.send(core, other.address, [Core.selfAlive(core)])
}

/** An older run of our name is said to live elsewhere. Others may not know yet that it is over, so its own word counts:
 * it answers when told of us. Where its packets bear another address than its own it may never speak for itself; then
 * what the others say counts, once they have had the time to notice its death. */
const onRival = (core: Core.Core, other: Member.Member, from: Member.Address | undefined): void => {
  if (other.status !== "alive" || core.conflicted) return
  if (core.rival?.bootId !== other.bootId) core.rival = { bootId: other.bootId, since: core.now }
  const itself = from !== undefined && Member.sameAddress(from, other.address)
  if (!itself && core.now - core.rival.since < noticed(core.params, Core.living(core))) {
    if (Core.mayAnswer(core, other.address)) Core.send(core, other.address, [Core.selfAlive(core)])
    return
  }
  core.conflicted = true
  Core.notify(core, { _tag: "NameConflict", other })
}

/** Milliseconds within which a member's death is known to all. */
const noticed = (params: Params.Params, n: number): number =>
  10 * params.probeInterval + Params.suspicionMin(params, n) * params.suspicionBeta

const isFuture = (core: Core.Core, startedAt: number): boolean => startedAt > core.now + core.wallOffset + day

/** What another node has to hear about a member as we know it. */
export const stateOf = (core: Core.Core, row: number): Message.Message => {
  const { address, bootId, id, incarnation, meta, startedAt, status } = Members.member(core.table, row)
  switch (status) {
    case "alive":
      return { _tag: "Alive", id, bootId, startedAt, address, incarnation, meta }
    case "suspect":
      return { _tag: "Suspect", id, bootId, incarnation, from: core.self.id }
    case "dead":
      return { _tag: "Dead", id, bootId, incarnation, from: core.self.id }
    case "left":
      return { _tag: "Left", id, bootId, incarnation }
  }
}

const isFull = (core: Core.Core): boolean => core.table.size + 1 >= core.params.maxMembers

/** A run that is not the one in the table. True when it takes the name over. */
const replaces = (core: Core.Core, row: number, claim: Member.Member, source: Source): boolean => {
  const current = Members.member(core.table, row)
  const newer = Member.compareRun(claim, current) > 0
  if (!Member.isActive(claim.status)) return newer && !Member.isActive(current.status)
  const over = !Member.isActive(current.status) || Member.sameAddress(current.address, claim.address)
  if (newer && over) return true
  // The older run lives elsewhere, or the claim is about a run that is over: whoever lives there is told.
  if (current.status !== "suspect" && source.from !== undefined && Core.mayAnswer(core, claim.address)) {
    const known: Message.Message = current.status === "alive" ? stateOf(core, row) : state(core, row)
    Core.send(core, claim.address, [known])
  }
  return false
}

/** The whole entry as an exchange carries it. */
export const state = (core: Core.Core, row: number): Message.State => {
  const { address, bootId, id, incarnation, meta, startedAt, status } = Members.member(core.table, row)
  const age = Math.round(Members.age(core.table, row, core.now))
  return { _tag: "State", id, bootId, startedAt, address, incarnation, status, age, meta }
}

const put = (core: Core.Core, member: Member.Member, since: number | undefined, row?: number): number =>
  Members.put(core.table, {
    identity: member,
    incarnation: member.incarnation,
    status: member.status,
    since: since === undefined ? core.now : Math.min(core.now, since),
    row
  }, core.random)

/** A claim with the member's whole identity: it can introduce and replace. */
export const introduce = (core: Core.Core, member: Member.Member, source: Source): void => {
  if (member.id === core.self.id) return aboutSelf(core, member, source)
  const row = Members.find(core.table, member.id)
  if (row < 0) return insert(core, member, source)
  const known = Members.identity(core.table, row)
  if (known.bootId !== member.bootId) return run(core, row, member, source)
  if (member.status !== "alive") return claim(core, member, member.status, source)
  // Most of what arrives is known.
  if (Members.incarnation(core.table, row) >= member.incarnation) return
  if (isFuture(core, member.startedAt)) return Core.reject(core, "start-in-the-future", source.from)
  const status = Members.status(core.table, row)
  Suspicion.end(core, row)
  put(core, member, source.since, row)
  if (!Member.isActive(status)) {
    core.healed = member.address
    Core.notify(core, { _tag: "Joined", member })
  } else if (status === "suspect") Core.notify(core, { _tag: "Refuted", member })
  // An identity that says the same is still the one that was stored.
  if (Member.isActive(status) && Members.identity(core.table, row) !== known) {
    Core.notify(core, { _tag: "Updated", member })
  }
  pass(core, row, source)
}

/** Another run of a known name. */
const run = (core: Core.Core, row: number, member: Member.Member, source: Source): void => {
  if (isFuture(core, member.startedAt)) return Core.reject(core, "start-in-the-future", source.from)
  if (!replaces(core, row, member, source)) return
  const previous = Members.member(core.table, row)
  Suspicion.end(core, row)
  put(core, member, source.since, row)
  if (Member.isActive(member.status)) Core.notify(core, { _tag: "Replaced", member, previous })
  return pass(core, row, source)
}

const pass = (core: Core.Core, row: number, source: Source): void => {
  if (source.spread) Spread.update(core, Members.identity(core.table, row).id, source.message ?? stateOf(core, row))
}

const insert = (core: Core.Core, member: Member.Member, source: Source): void => {
  if (isFull(core)) return Core.reject(core, "table-full", source.from)
  if (isFuture(core, member.startedAt)) return Core.reject(core, "start-in-the-future", source.from)
  const row = put(core, member, source.since)
  if (!Member.isActive(member.status)) return
  core.settle = true
  Core.notify(core, { _tag: "Joined", member: { ...member, status: "alive" } })
  if (member.status === "suspect") {
    Suspicion.start(core, row, core.self.id)
    Core.notify(core, { _tag: "Suspected", member })
  }
  pass(core, row, source)
  Newcomers.greet(core, member, source.from)
}

const aboutSelf = (core: Core.Core, member: Member.Member, source: Source): void => {
  if (member.bootId !== core.self.bootId) return otherSelf(core, member, source.from)
  if (member.status !== "alive") return refute(core, member.incarnation, source.from)
  // Nobody but us raises our incarnation; if somebody seems to have, go above it.
  if (member.incarnation > core.incarnation) refute(core, member.incarnation, source.from)
}

/** A claim that a known member is suspect, dead or left. `accuser` is who says so. */
export const claim = (
  core: Core.Core,
  about: Claim,
  status: "suspect" | "dead" | "left",
  source: Source,
  accuser: Member.MemberId = core.self.id
): void => {
  if (about.id === core.self.id) {
    if (about.bootId === core.self.bootId) refute(core, about.incarnation, source.from)
    return
  }
  const row = Members.find(core.table, about.id)
  if (row < 0) return
  const current = Members.member(core.table, row)
  if (current.bootId !== about.bootId) return
  const next = { incarnation: about.incarnation, status }
  const order = Member.compareState(next, current)
  if (order === 0 && status === "suspect") {
    if (Suspicion.confirm(core, row, accuser) && source.spread) {
      Spread.update(core, about.id, { _tag: "Suspect", ...only(about), from: accuser })
    }
    return
  }
  if (order <= 0) return correct(core, row, order, source)
  const member: Member.Member = { ...current, incarnation: about.incarnation, status }
  put(core, member, source.since, row)
  if (status === "suspect") return suspected(core, row, member, source, accuser)
  Suspicion.end(core, row)
  if (status === "left") {
    if (current.status !== "left") Core.notify(core, { _tag: "Left", member })
  } else if (Member.isActive(current.status)) {
    Flaps.died(core, member.id)
    Core.notify(core, { _tag: "Failed", member })
  }
  if (source.spread) {
    Spread.update(
      core,
      about.id,
      status === "left" ? { _tag: "Left", ...only(about) } : { _tag: "Dead", ...only(about), from: accuser }
    )
  }
}

/** Whoever passes on what is long superseded has missed the news: it is told, once a second per peer. */
const correct = (core: Core.Core, row: number, order: number, source: Source): void => {
  if (order === 0 || source.from === undefined || !core.params.corrections) return
  if (Core.mayAnswer(core, source.from)) Core.reply(core, stateOf(core, row))
}

const only = ({ bootId, id, incarnation }: Claim): Claim => ({ id, bootId, incarnation })

const suspected = (
  core: Core.Core,
  row: number,
  member: Member.Member,
  source: Source,
  accuser: Member.MemberId
): void => {
  Suspicion.start(core, row, accuser)
  Core.notify(core, { _tag: "Suspected", member })
  if (source.spread) Spread.update(core, member.id, { _tag: "Suspect", ...only(member), from: accuser })
}
