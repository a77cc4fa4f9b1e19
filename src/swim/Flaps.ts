/** Members that die and come back again and again.
 *
 * PURE. Boundary: counts; nothing in the protocol changes for such a member. Layers above ask (`health`) and may leave it
 * out of what they choose. Two deaths within two minutes, of whatever runs, put a name into quarantine for a minute; each
 * further death within two minutes of the end doubles that, up to an hour.
 * Invariants: M5 (at most one entry per dead or lately dead name, 4,096 in all). */
import type * as Core from "./Core.ts"
import type * as Member from "./Member.ts"

const window = 120_000
const first = 60_000
const longest = 3_600_000
const kept = 4096

export interface Flap {
  diedAt: number
  /** Length of the last quarantine, 0 = there was none. */
  length: number
  until: number
}

/** A name in quarantine, for so many more milliseconds. */
export interface Quarantined {
  readonly id: Member.MemberId
  readonly left: number
}

/** A death has become known. */
export const died = (core: Core.Core, id: Member.MemberId): void => {
  const { flaps, now } = core
  const known = flaps.get(id)
  flaps.delete(id) // the newest is last
  if (known === undefined || now - Math.max(known.diedAt, known.until) > window) {
    for (const [oldest] of flaps) {
      if (flaps.size < kept) break
      flaps.delete(oldest)
    }
    flaps.set(id, { diedAt: now, length: 0, until: -Infinity })
    return
  }
  known.diedAt = now
  known.length = known.length === 0 ? first : Math.min(longest, 2 * known.length)
  known.until = now + known.length
  flaps.set(id, known)
}

export const quarantined = (core: Core.Core): ReadonlyArray<Quarantined> => {
  const all: Array<Quarantined> = []
  for (const [id, { until }] of core.flaps) if (until > core.now) all.push({ id, left: until - core.now })
  return all
}

/** Forgets deaths that matter no more. */
export const reap = (core: Core.Core): void => {
  for (const [id, { diedAt, until }] of core.flaps) {
    if (core.now - Math.max(diedAt, until) > window) core.flaps.delete(id)
  }
}
