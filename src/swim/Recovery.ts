/** Finding the others: seeds for ever, the dead for `rejoinFor`, and an exchange with whoever came back.
 *
 * PURE. Boundary: whom to contact and when; exchanges themselves are `Sync`.
 * Rules: MEMBERSHIP 7 and 9. All retries back off with jitter, capped at one push-pull interval, and never stop. */
import * as Core from "./Core.ts"
import * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import * as Newcomers from "./Newcomers.ts"
import * as Params from "./Params.ts"
import * as Prng from "./Prng.ts"
import * as Rumor from "./Rumor.ts"
import * as Sync from "./Sync.ts"

const maxSeeds = 64
/** First exchanges at once while joining. */
const parallel = 3
/** The dead tried per round. */
const perRound = 3
const firstRetry = 200
/** Pace of exchanges while tables differ: soon in a small cluster, every 2 s in a large one. */
const hurry = (core: Core.Core): number => Math.min(2000, Math.max(200, 10 * Core.living(core)))

export const join = (core: Core.Core, addresses: ReadonlyArray<Member.Address>, limit = Infinity): void => {
  const seeds = core.seeds.slice()
  const until = core.now + limit
  for (const address of addresses) {
    if (Member.sameAddress(address, core.self.address)) continue
    const known = seeds.find((seed) => Member.sameAddress(seed.address, address))
    if (known !== undefined) known.until = Math.max(known.until, until)
    else if (seeds.length < maxSeeds) {
      seeds.push({ address, member: undefined, attempts: 0, nextAt: core.now, busy: false, until })
    }
  }
  for (const seed of seeds) seed.nextAt = core.now
  core.seeds = seeds
  if (core.status === "left") {
    core.status = "alive"
    core.leaving = undefined
    core.incarnation++
    Rumor.announce(core)
  } else if (!core.joined && seeds.length > 0) core.announced = false
  contact(core)
}

/** A seed that is a living member at its place needs nothing. */
const isSatisfied = (core: Core.Core, seed: Core.Seed): boolean => {
  if (seed.member === undefined) return false
  if (seed.member === core.self.id) return true
  const row = Members.find(core.table, seed.member)
  return row >= 0 && Members.isActive(core.table, row)
}

/** Contacts the seeds whose time has come and sets the timer for the next one. */
const contact = (core: Core.Core): void => {
  if (core.status === "left") return
  let busy = 0
  for (const seed of core.seeds) if (seed.busy) busy++
  let next = Infinity
  for (const [index, seed] of core.seeds.entries()) {
    if (seed.busy) continue
    if (core.now >= seed.until) continue
    if (seed.nextAt <= core.now) {
      if (isSatisfied(core, seed)) seed.nextAt = core.now + core.params.pushPullInterval
      else if (busy < parallel) {
        const purpose = core.announced ? "seed" : "join"
        if (Sync.open(core, { purpose, address: seed.address, argument: index }) !== undefined) {
          seed.busy = true
          busy++
          continue
        }
        seed.nextAt = core.now + firstRetry
      } else continue
    }
    next = Math.min(next, seed.nextAt)
  }
  if (next < Infinity) Core.timer(core, Math.max(1, next - core.now), Core.Kind.join, ++core.joinTimer)
}

export const onJoinTimer = (core: Core.Core, timer: number): void => {
  if (timer === core.joinTimer) contact(core)
}

const backoff = (core: Core.Core, attempts: number): number =>
  Prng.jitter(core.random, Math.min(core.params.pushPullInterval, firstRetry * 2 ** Math.min(20, attempts)), 0.5)

/** The outcome of an exchange that this side began. */
export const onOutcome = (core: Core.Core, stream: Core.Stream, error: string | undefined): void => {
  if (stream.purpose === "join" || stream.purpose === "seed") {
    const seed = core.seeds[stream.argument]
    if (seed === undefined) return
    seed.busy = false
    if (error === undefined) {
      seed.attempts = 0
      seed.member = stream.peer
      // It was ourselves under another address, or the first contact.
      if (stream.peer !== core.self.id) firstContact(core)
      seed.nextAt = core.now + core.params.pushPullInterval
    } else {
      seed.nextAt = core.now + backoff(core, seed.attempts++)
      Core.notify(core, { _tag: "JoinRetry", seed: seed.address, error })
    }
    contact(core)
  }
  if (error === undefined && !stream.equal && stream.changed > 0) schedulePushPull(core, hurry(core))
}

const firstContact = (core: Core.Core): void => {
  core.contacted++
  if (core.joined) return
  core.joined = true
  Core.notify(core, { _tag: "JoinDone", contacted: core.contacted })
}

/** A joiner has heard everything: it ranks behind all it has seen and says so. */
export const onJoinPulled = (core: Core.Core, stream: Core.Stream): void => {
  if (core.conflicted) return Sync.close(core, stream)
  if (!core.announced) {
    core.announced = true
    const newest = newestStart(core)
    if (newest >= core.self.startedAt) {
      core.self = { ...core.self, startedAt: newest + 1 }
      // Somebody may have pulled the earlier start from us.
      core.incarnation++
    }
    Rumor.announce(core)
    Newcomers.announce(core)
  }
  Sync.introduceSelf(core, stream)
}

const newestStart = (core: Core.Core): number => {
  let newest = 0
  Members.forEach(core.table, (row) => {
    newest = Math.max(newest, Members.identity(core.table, row).startedAt)
  })
  return newest
}

export const schedulePushPull = (core: Core.Core, within?: number): void => {
  const regular = Params.pushPullEvery(core.params, Core.living(core))
  const delay = Prng.jitter(core.random, Math.min(within ?? Infinity, regular), 0.25)
  if (within !== undefined && core.pushPullAt <= core.now + delay) return
  core.pushPullAt = core.now + delay
  Core.timer(core, delay, Core.Kind.pushPull, ++core.pushPullTimer)
}

const one: Array<number> = []

export const onPushPull = (core: Core.Core, timer: number): void => {
  if (timer !== core.pushPullTimer) return
  if (core.status === "alive") {
    one.length = 0
    Members.sample(core.table, core.random, {
      count: 1,
      accept: (row) => Members.status(core.table, row) === "alive",
      into: one
    })
    for (const row of one) {
      Sync.open(core, { purpose: "periodic", address: Members.identity(core.table, row).address, argument: 0 })
    }
  }
  core.pushPullAt = Infinity
  schedulePushPull(core)
}

/** A last exchange, so that at least one whole table knows of a leave. */
export const farewell = (core: Core.Core): void => {
  one.length = 0
  Members.sample(core.table, core.random, { count: 1, into: one })
  for (const row of one) {
    Sync.open(core, { purpose: "leave", address: Members.identity(core.table, row).address, argument: 0 })
  }
}

/** Soon after somebody came or went, each member compares tables once more. */
export const settle = (core: Core.Core): void => {
  core.settle = false
  if (core.params.settleInterval > 0) schedulePushPull(core, Math.max(core.params.settleInterval, hurry(core)))
}

/** Tables are compared at once with a member that was held dead; at most once a second. */
export const heal = (core: Core.Core): void => {
  const address = core.healed
  core.healed = undefined
  if (address === undefined || core.status === "left" || core.now - core.lastHeal < 1000) return
  core.lastHeal = core.now
  Sync.open(core, { purpose: "heal", address, argument: 0 })
}

/** How long news may be under way before a difference is one. */
const quiet = 1000
const repairEvery = 5000

/** A peer's table differs from ours though nothing has changed here lately: one of us has missed something. */
export const compare = (core: Core.Core, digest: number, row: number): void => {
  if (core.table.version !== core.changedTo) {
    core.changedTo = core.table.version
    core.changedAt = core.now
  }
  const { settleInterval } = core.params
  if (settleInterval === 0 || core.status === "left" || digest === Core.digest(core)) return
  const since = core.now - core.lastRepair
  if (since < settleInterval || (since < repairEvery && core.now - core.changedAt < quiet)) return
  if (!Members.isActive(core.table, row)) return
  core.lastRepair = core.now
  Sync.open(core, { purpose: "heal", address: Members.identity(core.table, row).address, argument: 0 })
}

/** After a death the dead are tried soon, then at growing intervals. */
export const scheduleDead = (core: Core.Core, fresh: boolean): void => {
  if (fresh) core.recoveryRound = 0
  const cap = core.params.pushPullInterval
  const delay = Math.min(cap, core.params.probeInterval * 2 ** Math.min(20, core.recoveryRound++))
  Core.timer(core, Prng.jitter(core.random, delay, 0.25), Core.Kind.recovery, ++core.recoveryTimer)
}

/** Tells a few of the dead what we hold of them: the living among them refute. */
export const onDead = (core: Core.Core, timer: number): void => {
  if (timer !== core.recoveryTimer) return
  if (core.status === "alive" && core.table.counts[2] > 0) {
    const chosen: Array<number> = []
    let seen = 0
    Members.forEach(core.table, (row) => {
      if (Members.status(core.table, row) !== "dead") return
      if (Members.age(core.table, row, core.now) > core.params.rejoinFor) return
      seen++
      if (chosen.length < perRound) chosen.push(row)
      else {
        const place = Prng.below(core.random, seen)
        if (place < perRound) chosen[place] = row
      }
    })
    for (const row of chosen) {
      const { address, id } = Members.identity(core.table, row)
      const { bootId, id: from } = core.self
      Core.send(core, address, [
        { _tag: "Ping", seq: Core.nextSeq(core), target: id, from, bootId, digest: Core.digest(core) },
        Rumor.stateOf(core, row)
      ])
    }
  }
  scheduleDead(core, false)
}

/** Forgets tombstones after their retention, and the oldest ones above the bound. */
export const reap = (core: Core.Core): void => {
  const { params, table } = core
  const tombstones: Array<number> = []
  Members.forEach(table, (row) => {
    if (Members.isActive(table, row)) return
    if (Members.age(table, row, core.now) >= params.tombstoneRetention) Members.remove(table, row)
    else tombstones.push(row)
  })
  if (tombstones.length > params.maxTombstones) {
    tombstones.sort((a, b) => Members.age(table, b, core.now) - Members.age(table, a, core.now) || a - b)
    for (const row of tombstones.slice(0, tombstones.length - params.maxTombstones)) Members.remove(table, row)
  }
  Core.timer(core, Math.min(60_000, params.tombstoneRetention / 4), Core.Kind.reap)
}
