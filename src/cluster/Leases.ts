/** Start leases at a function version's home: who may start it while nobody runs it.
 *
 * PURE. One holder at a time for 300 ms; the holder renews every 100 ms and its registration ends the lease; everybody
 * else is told whom to wait for. So a new function under load starts once, and twice only when a home is unreachable.
 * Boundary: which node is the home is decided by rendezvous in `Lookup`; a start without a lease is allowed when the
 * home does not answer. */
import type { Run } from "./RoutingTable.ts"

export const ttl = 300
/** Versions being started at the same time; beyond it everybody may start. */
export const maxLeases = 16_384

interface Lease {
  readonly holder: Run
  readonly until: number
}

export type Leases = Map<string, Lease>

export const make = (): Leases => new Map()

export type Answer = { readonly _tag: "Granted" } | { readonly _tag: "Wait"; readonly holder: Run }

const granted: Answer = { _tag: "Granted" }

const sameRun = (a: Run, b: Run): boolean => a.id === b.id && a.bootId === b.bootId

/** Asks for the lease; `counts` is whether a run is still alive here, a lease of one that is not is void. */
export const acquire = (
  self: Leases,
  version: string,
  asker: Run,
  now: number,
  counts: (run: Run) => boolean
): Answer => {
  const lease = self.get(version)
  if (lease !== undefined && lease.until > now && !sameRun(lease.holder, asker) && counts(lease.holder)) {
    return { _tag: "Wait", holder: lease.holder }
  }
  if (lease === undefined && self.size >= maxLeases) {
    expire(self, now)
    if (self.size >= maxLeases) return granted
  }
  self.set(version, { holder: asker, until: now + ttl })
  return granted
}

/** False when the lease has passed to somebody else: the start goes on, the next caller may find two. */
export const renew = (self: Leases, version: string, holder: Run, now: number): boolean => {
  const lease = self.get(version)
  if (lease !== undefined && lease.until > now && !sameRun(lease.holder, holder)) return false
  if (lease === undefined && self.size >= maxLeases) return false
  self.set(version, { holder, until: now + ttl })
  return true
}

/** Ended by the holder's registration, or because its start failed. */
export const end = (self: Leases, version: string, holder: Run): void => {
  const lease = self.get(version)
  if (lease !== undefined && sameRun(lease.holder, holder)) self.delete(version)
}

export const expire = (self: Leases, now: number): void => {
  for (const [version, lease] of self) if (lease.until <= now) self.delete(version)
}
