/** Dissemination: what becomes gossip, the tick, and eager forwarding of fresh news.
 *
 * PURE. Boundary: `Gossip` orders the queue, `Core` builds packets; here is when and to whom.
 * Invariants: M5 (an update is sent at most its transmit budget, eagerly or not). */
import * as Awareness from "./Awareness.ts"
import * as Core from "./Core.ts"
import * as Gossip from "./Gossip.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Prng from "./Prng.ts"

const targets: Array<number> = []

/** Sends below which an entry is forwarded eagerly: up to four rounds (after three, one rumour in forty misses somebody
 * among a thousand and waits for the tick), at least two sends kept for the tick. */
const eagerBelow = (core: Core.Core): number => {
  const fanout = core.params.gossipFanout
  const limit = Core.transmitLimit(core)
  return Math.max(1, Math.min(4 * fanout, limit - 2) - fanout + 1)
}

/** The tick runs only while there is something to say; its first moment is random, so that members do not beat as one. */
const wakeTick = (core: Core.Core): void => {
  if (core.tickSet) return
  core.tickSet = true
  Core.timer(core, Prng.float(core.random) * core.params.gossipInterval, Core.Kind.gossip)
}

const wakeEager = (core: Core.Core): void => {
  if (core.eagerSet || core.params.eagerDelay === 0) return
  core.eagerSet = true
  Core.timer(core, core.params.eagerDelay * (Awareness.isLossy(core.awareness) ? 5 : 1), Core.Kind.eager)
}

/** Queues news about a member; it replaces older news about the same one. */
export const update = (core: Core.Core, subject: string, message: Message.Message): void => {
  const size = core.sizeOf(message)
  const limit = core.params.datagramBudget - core.overhead
  if (!Gossip.add(core.updates, { key: subject, message, size, limit, now: core.now })) {
    return Core.reject(core, "oversized-update")
  }
  wakeTick(core)
  wakeEager(core)
}

/** One that fills a packet on its own would never find room beside a ping. */
const userLimit = (core: Core.Core): number => core.params.datagramBudget - core.overhead - 256

/** Whether a user's message is small enough to be carried. */
export const isSendable = (core: Core.Core, message: Message.Message): boolean =>
  core.sizeOf(message) <= userLimit(core)

export const broadcast = (
  core: Core.Core,
  queue: Gossip.Gossip,
  key: string,
  message: Message.Broadcast
): void => {
  const size = core.sizeOf(message)
  if (!Gossip.add(queue, { key, message, size, limit: userLimit(core), now: core.now })) {
    return Core.reject(core, "oversized-broadcast")
  }
  wakeTick(core)
  wakeEager(core)
}

/** Whom the last rounds told comes last: in a small cluster one member's sends then reach everybody. */
const remember = (core: Core.Core, row: number): void => {
  core.told.push(row)
  if (core.told.length > 24) core.told.shift()
}

const round = (core: Core.Core, below: number): number => {
  const { gossipFanout: count } = core.params
  const skip = Math.min(core.told.length, core.table.active - count)
  const from = core.told.length - Math.max(0, skip)
  targets.length = 0
  const accept = (row: number): boolean => core.told.indexOf(row, from) < 0
  Members.sample(core.table, core.random, { count, accept, into: targets })
  for (const row of targets) remember(core, row)
  let sent = 0
  for (const row of targets) {
    // What was fresh when the round began is fresh for all of it.
    if (Core.sendGossip(core, Members.identity(core.table, row).address, below + sent)) sent++
  }
  return sent
}

export const onTick = (core: Core.Core): void => {
  core.tickSet = false
  if (Gossip.length(core.updates) === 0 && Core.broadcastsQueued(core) === 0) return
  round(core, Infinity)
  if (core.table.active > 0 && isFresh(core)) wakeEager(core)
  core.tickSet = true
  Core.timer(core, core.params.gossipInterval, Core.Kind.gossip)
}

const isFresh = (core: Core.Core): boolean => {
  const below = eagerBelow(core)
  return Gossip.hasFresh(core.updates, below) || Gossip.hasFresh(core.broadcasts, below) ||
    Gossip.hasFresh(core.urgent, below)
}

export const onEager = (core: Core.Core): void => {
  core.eagerSet = false
  if (core.now >= core.eagerRefill) {
    core.eagerLeft = core.params.eagerBudget
    core.eagerRefill = core.now + core.params.gossipInterval
  }
  if (core.eagerLeft <= 0 || core.table.active === 0) return
  core.eagerLeft -= round(core, eagerBelow(core))
  if (isFresh(core) && core.eagerLeft > 0) wakeEager(core)
}
