/** Who is master, replica or worker, from the members and the reign alone.
 *
 * PURE. Rank orders the members for succession: eligible first, then the older start, then the smaller id. The master
 * is whoever holds the obeyed reign, whatever its rank; the next k in rank are replicas, the rest workers.
 * Boundary: which reign is obeyed is decided in `Election`. Invariants: R3 (a restart is a later start). */
import type { BootId, MemberId } from "../swim/Member.ts"
import type { Role } from "./ClusterView.ts"
import type { Reign } from "./Reign.ts"

/** What rank needs to know of a member. */
export interface Ranked {
  readonly id: MemberId
  readonly bootId: BootId
  readonly startedAt: number
  readonly eligible: boolean
}

/** The older of two members first; age alone, without eligibility. */
export const compareAge = (
  a: { readonly startedAt: number; readonly id: string },
  b: { readonly startedAt: number; readonly id: string }
): number => a.startedAt - b.startedAt || (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)

/** Negative when `a` ranks before `b`. */
export const compareRank = (a: Ranked, b: Ranked): number =>
  Number(b.eligible) - Number(a.eligible) || compareAge(a, b) || a.bootId - b.bootId

/** How many replicas `n` active members have: min(n - 1, round(sqrt n)). */
export const replicaCount = (n: number): number => n < 1 ? 0 : Math.min(n - 1, Math.round(Math.sqrt(n)))

/** How many witnesses a master has: max(3, k), as far as there are others. */
export const witnessCount = (n: number): number => Math.max(0, Math.min(n - 1, Math.max(3, replicaCount(n))))

export interface Assignment<M extends Ranked> {
  /** The holder of the reign, if it is among the members. */
  readonly master: M | undefined
  /** In rank order. */
  readonly replicas: ReadonlyArray<M>
  readonly workers: ReadonlyArray<M>
}

/** `members` are the alive and suspect ones in any order; `k` is the number of replicas, if not by their count. */
export const assign = <M extends Ranked>(
  members: ReadonlyArray<M>,
  reign: Pick<Reign, "id" | "bootId"> | undefined,
  k: number = replicaCount(members.length)
): Assignment<M> => {
  const ranked = members.toSorted(compareRank)
  const at = reign === undefined ? -1 : ranked.findIndex((m) => m.id === reign.id && m.bootId === reign.bootId)
  const master = ranked[at]
  const others = at < 0 ? ranked : ranked.toSpliced(at, 1)
  return { master, replicas: others.slice(0, k), workers: others.slice(k) }
}

export const roleOf = <M extends Ranked>(self: Assignment<M>, id: MemberId): Role =>
  self.master?.id === id ? "master" : self.replicas.some((m) => m.id === id) ? "replica" : "worker"

/** The oldest others of a master in rank order: those who watch it. */
export const witnesses = <M extends Ranked>(members: ReadonlyArray<M>, master: MemberId): ReadonlyArray<M> =>
  members.filter((m) => m.id !== master).toSorted(compareRank).slice(0, witnessCount(members.length))

/** A majority of `n` witnesses. */
export const majority = (n: number): number => Math.floor(n / 2) + 1

/** Milliseconds that a smaller cluster must last before it has fewer replicas. */
export const shrinkAfter = 30_000

/** The number of replicas over time: it grows at once and shrinks after `shrinkAfter`. */
export interface Size {
  readonly k: number
  /** when the count first asked for fewer */
  readonly smallerSince: number | undefined
}

export const initialSize: Size = { k: 0, smallerSince: undefined }

export const resize = (self: Size, n: number, now: number): Size => {
  const target = replicaCount(n)
  if (target >= self.k) return { k: target, smallerSince: undefined }
  if (self.smallerSince === undefined) return { k: self.k, smallerSince: now }
  return now - self.smallerSince >= shrinkAfter ? { k: target, smallerSince: undefined } : self
}
