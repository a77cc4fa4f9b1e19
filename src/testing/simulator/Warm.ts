/** Members that all know each other from the start: tables are filled column by column instead of by messages.
 *
 * PURE. Boundary: writes the columns of `Members` as `put` would have left them. */
import * as Members from "../../swim/Members.ts"
import * as Params from "../../swim/Params.ts"
import * as Prng from "../../swim/Prng.ts"
import * as Recovery from "../../swim/Recovery.ts"
import type * as Swim from "../../swim/Swim.ts"

/** Makes every machine hold all the others alive; they share one store of identities and have not run yet. */
export const fill = (machines: ReadonlyArray<Swim.Swim>): void => {
  const [first] = machines
  if (first === undefined) return
  const { identities } = first.table
  const random = Prng.make(1)
  const all = Members.make({ now: first.now, identities, capacity: machines.length })
  const rows = machines.map(({ self: identity }) =>
    Members.put(all, { identity, incarnation: 0, status: "alive", since: first.now }, random)
  )
  for (const row of rows) {
    const entry = identities.entries[all.record[row] ?? 0]
    if (entry !== undefined) entry.references += machines.length
  }
  for (const [index, machine] of machines.entries()) {
    const { table } = machine
    table.record = all.record.slice()
    table.incarnation = all.incarnation.slice()
    table.since = all.since.slice()
    table.status = all.status.slice()
    table.order = all.order.slice()
    table.active = all.active
    table.size = all.size
    table.sum = all.sum
    table.high = all.high
    table.counts[0] = all.active
    Members.remove(table, rows[index] ?? 0)
    settle(machine)
  }
}

/** As after a long calm time, with exchanges spread over their interval. */
const settle = (machine: Swim.Swim): void => {
  machine.joined = true
  machine.changedTo = machine.table.version
  machine.changedAt = machine.now - 60_000
  machine.pushPullAt = Infinity
  const every = Params.pushPullEvery(machine.params, machine.table.active + 1)
  Recovery.schedulePushPull(machine, every * Prng.float(machine.random))
}
