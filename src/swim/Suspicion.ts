/** Suspicions: everyone who hears of one runs its own timer; confirmations shorten it, a refutation ends it.
 *
 * PURE. Boundary: what a claim means for the table is `Rumor`'s; here are the deadlines.
 * Rules (MEMBERSHIP 2 to 4): timeout = max(min, max - (max - min) * log(c + 1) / log(k + 1)) (Lifeguard, section IV);
 * nothing fires before `Drained`; one probe interval before it fires others are asked. */
import * as Awareness from "./Awareness.ts"
import * as Core from "./Core.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Params from "./Params.ts"

const timeout = (self: Core.Suspicion): number => {
  const confirmed = Math.min(self.needed, self.accusers.length - 1)
  if (self.needed === 0 || confirmed >= self.needed) return self.min
  const share = Math.log(confirmed + 1) / Math.log(self.needed + 1)
  return Math.max(self.min, self.max - (self.max - self.min) * share)
}

const fireAt = (core: Core.Core, self: Core.Suspicion): number =>
  core.params.askFirst && self.asked >= 0
    ? Math.max(self.deadline, self.asked + core.params.probeInterval)
    : self.deadline

/** Ours alone, while we are not well ourselves: nobody may have heard of it, and of our questions most may be lost. */
const isDoubtful = ({ awareness, self: { id } }: Core.Core, self: Core.Suspicion): boolean =>
  self.accusers.length === 1 && self.accusers[0] === id && (awareness.score > 0 || Awareness.isLossy(awareness))

const schedule = (core: Core.Core, self: Core.Suspicion): void => {
  const ask = core.params.askFirst && self.asked < 0
  const end = ask ? self.deadline - core.params.probeInterval : fireAt(core, self)
  const again = core.params.askFirst && !ask && isDoubtful(core, self)
  const at = again ? Math.min(end, core.now + core.params.probeInterval / 4) : end
  self.timer = ++core.generation
  Core.timer(core, Math.max(0, at - core.now), Core.Kind.suspicion, self.row, self.timer)
}

export const message = (core: Core.Core, self: Core.Suspicion): Message.Suspect => ({
  _tag: "Suspect",
  id: Members.identity(core.table, self.row).id,
  bootId: self.bootId,
  incarnation: self.incarnation,
  from: self.accusers[0] ?? core.self.id
})

/** Begins a suspicion in place of an older one of the same member. */
export const start = (core: Core.Core, row: number, accuser: Member.MemberId): void => {
  end(core, row)
  const n = Core.living(core)
  const min = Params.suspicionMin(core.params, n)
  const needed = Params.confirmations(core.params, n)
  const self: Core.Suspicion = {
    row,
    bootId: Members.identity(core.table, row).bootId,
    incarnation: Members.incarnation(core.table, row),
    start: core.now,
    min,
    max: needed === 0 ? min : min * core.params.suspicionBeta,
    needed,
    accusers: [accuser],
    deadline: 0,
    asked: -1,
    timer: 0,
    due: false
  }
  self.deadline = self.start + timeout(self)
  core.suspicions.set(row, self)
  schedule(core, self)
}

/** True when the accuser is new and still counts: its word is passed on. */
export const confirm = (core: Core.Core, row: number, accuser: Member.MemberId): boolean => {
  const self = core.suspicions.get(row)
  if (self === undefined || self.accusers.length > self.needed || self.accusers.includes(accuser)) return false
  self.accusers.push(accuser)
  self.deadline = self.start + timeout(self)
  if (!self.due) schedule(core, self)
  return true
}

export const end = (core: Core.Core, row: number): void => {
  core.suspicions.delete(row)
}

export interface Due {
  /** Asks the suspect and others before judging. */
  readonly ask: (self: Core.Suspicion) => void
}

/** A suspicion's timer: first ask, then judge once drained. */
export const onTimer = (core: Core.Core, row: number, timer: number, options: Due): void => {
  const self = core.suspicions.get(row)
  if (self === undefined || self.timer !== timer || self.due) return
  if (core.params.askFirst && (self.asked < 0 || core.now < fireAt(core, self))) {
    if (self.asked < 0) self.asked = core.now
    options.ask(self)
    return schedule(core, self)
  }
  self.due = true
  core.verdicts.push(self)
}

/** Moves every deadline of ours with the heap after a late wake-up. */
export const shift = (core: Core.Core, by: number): void => {
  for (const self of core.suspicions.values()) {
    self.start += by
    self.deadline += by
    if (self.asked >= 0) self.asked += by
  }
}
