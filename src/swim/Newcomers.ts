/** Several that join at the same moment find each other at once.
 *
 * PURE. Boundary: hints only, beside gossip and exchanges: a gossip round misses one in some hundred, which then waits for
 * the tick or an exchange. In a cluster of at most 64 members (and beside so many newcomers):
 * a newcomer tells everybody it has read of who it is; one that hears of another newcomer greets it; whoever lets
 * newcomers in tells the earlier ones of the later ones.
 * Invariants: M5 (a bounded number of greetings per join). Off where `settleInterval` is 0. */
import * as Core from "./Core.ts"
import * as Member from "./Member.ts"
import type * as Message from "./Message.ts"

const limit = Core.smallCluster

const tell = (core: Core.Core, to: Member.Address, message: Message.Message): void => {
  core.out.push({ _tag: "Send", to, messages: [message] })
}

/** We have just read a whole table and are part of the cluster from now on. */
export const announce = (core: Core.Core): void => {
  const { settleInterval } = core.params
  if (settleInterval === 0) return
  core.greetings = limit
  core.greetUntil = core.now + settleInterval
  Core.tellAll(core, Core.selfAlive(core))
}

/** We heard of somebody new from `from`. One that has spoken to us knows us. */
export const greet = (core: Core.Core, member: Member.Member, from: Member.Address | undefined): void => {
  if (core.greetings === 0 || core.now > core.greetUntil || member.status !== "alive") return
  if (from !== undefined && Member.sameAddress(from, member.address)) return
  core.greetings--
  tell(core, member.address, Core.selfAlive(core))
}

/** A newcomer has read our table and said who it is: those that read it shortly before have not seen it. */
export const letIn = (core: Core.Core, member: Message.State): void => {
  const { settleInterval } = core.params
  if (settleInterval === 0 || member.status !== "alive") return
  const { newcomers } = core
  while (newcomers.length > 0 && (newcomers[0]?.at ?? 0) < core.now - settleInterval) newcomers.shift()
  const { address, bootId, id, incarnation, meta, startedAt } = member
  const alive: Message.Alive = { _tag: "Alive", id, bootId, startedAt, address, incarnation, meta }
  for (const earlier of newcomers) if (!Member.sameAddress(earlier.address, address)) tell(core, earlier.address, alive)
  if (newcomers.length >= limit) newcomers.shift()
  newcomers.push({ address, at: core.now })
}
