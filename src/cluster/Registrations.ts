/** What this node itself has told, or must still tell, the master: its own routing entries.
 *
 * PURE. This node is the one writer of these entries; its counter grows with every change. What the master has not
 * acknowledged is sent again, and everything is sent again on a new reign (with jitter, so that not all nodes do it at
 * once) or when the master's count of them differs.
 * Boundary: merging is `RoutingTable`'s, sending the shell's. */
import type { Entry, Run } from "./RoutingTable.ts"

/** Entries in one call to the master. */
export const maxBatch = 1000
/** Withdrawn entries that are still repeated on a new reign. */
export const maxWithdrawn = 1024
/** Everything is registered anew within this time after a new reign. */
export const renewWithin = 500
const firstRetry = 100
const lastRetry = 1000
const repairInterval = 5000

export interface Registrations {
  readonly run: Run
  counter: number
  readonly own: Map<string, Entry>
  readonly unsent: Set<string>
  inFlight: { readonly to: Run; readonly entries: ReadonlyArray<Entry> } | undefined
  sendAt: number
  retry: number
  live: number
  repairedAt: number
}

export const make = (run: Run): Registrations => ({
  run,
  counter: 0,
  own: new Map(),
  unsent: new Set(),
  inFlight: undefined,
  sendAt: Number.POSITIVE_INFINITY,
  retry: firstRetry,
  live: 0,
  repairedAt: Number.NEGATIVE_INFINITY
})

/** The same entries for a state that is built anew: who runs what outlives the control plane's own troubles. */
export const restore = (from: Registrations, now: number): Registrations => {
  const self = make(from.run)
  self.counter = from.counter
  for (const [version, entry] of from.own) {
    self.own.set(version, entry)
    if (entry.live) self.live++
  }
  renew(self, now)
  return self
}

/** The new entry, or undefined when nothing changed. */
export const change = (self: Registrations, version: string, live: boolean, now: number): Entry | undefined => {
  const known = self.own.get(version)
  if ((known?.live ?? false) === live) return undefined
  self.counter++
  const entry: Entry = { version, node: self.run.id, bootId: self.run.bootId, counter: self.counter, live }
  self.own.delete(version) // the newest last
  self.own.set(version, entry)
  self.live += live ? 1 : -1
  self.unsent.add(version)
  self.sendAt = Math.min(self.sendAt, now)
  forgetWithdrawn(self)
  return entry
}

const forgetWithdrawn = (self: Registrations): void => {
  let excess = self.own.size - self.live - maxWithdrawn
  if (excess <= 0) return
  for (const [version, entry] of self.own) {
    if (entry.live || self.unsent.has(version)) continue
    self.own.delete(version)
    if (--excess <= 0) return
  }
}

/** Tell everything again, at `at`. */
export const renew = (self: Registrations, at: number): void => {
  for (const version of self.own.keys()) self.unsent.add(version)
  self.inFlight = undefined
  self.retry = firstRetry
  self.sendAt = self.unsent.size > 0 ? at : Number.POSITIVE_INFINITY
}

/** What is not acknowledged goes to the next master at once. */
export const redirect = (self: Registrations, now: number): void => {
  self.inFlight = undefined
  self.retry = firstRetry
  self.sendAt = self.unsent.size > 0 ? now : Number.POSITIVE_INFINITY
}

/** The entries to send to `to` now; none while a call is under way or nothing is due. */
export const take = (self: Registrations, to: Run, now: number): ReadonlyArray<Entry> => {
  if (self.inFlight !== undefined || now < self.sendAt || self.unsent.size === 0) return []
  const entries: Array<Entry> = []
  for (const version of self.unsent) {
    const entry = self.own.get(version)
    if (entry === undefined) self.unsent.delete(version)
    else entries.push(entry)
    if (entries.length >= maxBatch) break
  }
  if (entries.length > 0) self.inFlight = { to, entries }
  self.sendAt = Number.POSITIVE_INFINITY
  return entries
}

/** How many live entries the master has acknowledged. */
export const acknowledged = (self: Registrations): number => self.unsent.size > 0 ? 0 : self.live

/** The answer to what was taken: `live` is how many live entries the master has of this run, undefined a failure. */
export const answered = (self: Registrations, to: Run, live: number | undefined, now: number): void => {
  const { inFlight } = self
  if (inFlight === undefined || inFlight.to.id !== to.id || inFlight.to.bootId !== to.bootId) return
  self.inFlight = undefined
  if (live === undefined) {
    self.sendAt = now + self.retry
    self.retry = Math.min(self.retry * 2, lastRetry)
    return
  }
  self.retry = firstRetry
  for (const entry of inFlight.entries) if (self.own.get(entry.version) === entry) self.unsent.delete(entry.version)
  forgetWithdrawn(self)
  if (self.unsent.size > 0) self.sendAt = now
  else if (live !== self.live && now - self.repairedAt >= repairInterval) {
    self.repairedAt = now
    renew(self, now)
  }
}
