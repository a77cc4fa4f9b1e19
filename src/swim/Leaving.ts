/** Leaving: our own `left` is told to a few members until they acknowledge it, to all by gossip.
 *
 * PURE. Boundary: the process may end after `LeaveDone`; a later `Join` makes the member alive again. */
import * as Core from "./Core.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import * as Spread from "./Spread.ts"

const told: Array<number> = []

export const start = (core: Core.Core): void => {
  if (core.leaving !== undefined) return
  if (core.status === "left") return Core.notify(core, { _tag: "LeaveDone", acknowledged: 0 })
  core.status = "left"
  core.leaving = {
    acks: new Set(),
    needed: Math.min(core.params.leaveAcks, core.table.active),
    until: core.now + core.params.leaveTimeout
  }
  Spread.update(core, core.self.id, Core.selfLeft(core))
  tell(core, core.table.active <= Core.smallCluster ? core.table.active : 0)
}

/** Tells as many as are still needed, twice over and at least `atLeast`, until the deadline. */
const tell = (core: Core.Core, atLeast: number): void => {
  const { leaving } = core
  if (leaving === undefined) return
  if (leaving.acks.size >= leaving.needed || core.now >= leaving.until) return finish(core, leaving)
  told.length = 0
  Members.sample(core.table, core.random, {
    count: Math.max(atLeast, 2 * (leaving.needed - leaving.acks.size)),
    accept: (row) => !leaving.acks.has(Members.identity(core.table, row).id),
    into: told
  })
  for (const row of told) Core.send(core, Members.identity(core.table, row).address, [Core.selfLeft(core)])
  const again = Math.min(core.params.probeTimeout / 2, 100, leaving.until - core.now)
  Core.timer(core, Math.max(1, again), Core.Kind.leave)
}

export const onTimer = (core: Core.Core): void => tell(core, 0)

export const onAck = (core: Core.Core, bootId: number, from: Member.MemberId): void => {
  const { leaving } = core
  if (leaving === undefined || bootId !== core.self.bootId || Members.find(core.table, from) < 0) return
  leaving.acks.add(from)
  if (leaving.acks.size >= leaving.needed) finish(core, leaving)
}

const finish = (core: Core.Core, leaving: Core.Leaving): void => {
  core.leaving = undefined
  Core.notify(core, { _tag: "LeaveDone", acknowledged: leaving.acks.size })
}
