/** Which ways to each peer work: only peers that did not answer a direct ping themselves have an entry.
 *
 * PURE. Boundary: seen by our own regular probes, for people to read; no rule of the protocol looks at it. An entry ends
 * with the next direct answer. Invariants: M5 (at most one entry per known member). */
import type * as Core from "./Core.ts"
import type * as Member from "./Member.ts"
import * as Members from "./Members.ts"

/** A peer whose last direct ping was not answered by itself. */
export interface Route {
  readonly id: Member.MemberId
  /** Probes in a row without a direct answer. */
  readonly failed: number
  /** A relay reached it. */
  readonly relayed: boolean
  /** A stream reached it: then only datagrams are lost. */
  readonly stream: boolean
  /** For so long, milliseconds. */
  readonly lasted: number
}

export interface Entry {
  failed: number
  relayed: boolean
  stream: boolean
  readonly since: number
}

/** Takes the outcome of a regular probe that has ended. */
export const note = (core: Core.Core, probe: Core.Probe): void => {
  if (!Members.has(core.table, probe.row)) return
  const { id } = Members.identity(core.table, probe.row)
  if (probe.direct || probe.late) {
    core.routes.delete(id)
    return
  }
  const known = core.routes.get(id)
  const entry = known ?? { failed: 0, relayed: false, stream: false, since: probe.sentAt }
  entry.failed++
  entry.relayed = probe.relayed
  entry.stream = probe.streamed
  if (known === undefined) core.routes.set(id, entry)
}

/** The peers in trouble, those that are suspect or alive. */
export const all = (core: Core.Core): ReadonlyArray<Route> => {
  const routes: Array<Route> = []
  for (const [id, { since, ...entry }] of core.routes) {
    const row = Members.find(core.table, id)
    if (row >= 0 && Members.isActive(core.table, row)) routes.push({ id, ...entry, lasted: core.now - since })
  }
  return routes
}

/** Forgets members that are gone. */
export const reap = (core: Core.Core): void => {
  for (const id of core.routes.keys()) {
    const row = Members.find(core.table, id)
    if (row < 0 || !Members.isActive(core.table, row)) core.routes.delete(id)
  }
}
