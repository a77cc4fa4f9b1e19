/** What gossip knows about one node: who it is (name, run of the process), where it is, and how it is.
 *
 * PURE. Boundary: values and their order only; the table that keeps them is `Members`.
 * Invariants: M1 (`compareState` is the strict order alive(i) < suspect(i) < dead(i) < left(i) < alive(i+1)). */
import type * as Brand from "effect/Brand"
import * as Schema from "effect/Schema"

export type MemberId = string & Brand.Brand<"MemberId">

/** One run of a process: random, 48 bits. A restart is a new one. */
export type BootId = number

/** Raised by its owner alone (M2), a safe integer: it never wraps. */
export type Incarnation = number

export type Status = "alive" | "suspect" | "dead" | "left"

/** On the wire the host is an IP literal; a host name appears only in seeds. */
export interface Address {
  readonly host: string
  readonly port: number
}

/** The part of a member that changes only with its own word. */
export interface Identity {
  readonly id: MemberId
  readonly bootId: BootId
  /** Hybrid start time in milliseconds since the epoch: rank follows from it. */
  readonly startedAt: number
  readonly address: Address
  /** Opaque to gossip, at most `maxMeta` bytes. */
  readonly meta: Uint8Array
}

export interface Member extends Identity {
  readonly incarnation: Incarnation
  readonly status: Status
}

export const maxMeta = 512
export const maxIdBytes = 128
export const maxHostBytes = 255
export const maxBootId = 2 ** 48 - 1

export const MemberIdSchema = Schema.String.pipe(Schema.brand("MemberId"))
export const StatusSchema = Schema.Literals(["alive", "suspect", "dead", "left"])

/** A name as the wire may carry it: 1 to `maxIdBytes` characters. */
export const id = (name: string): MemberId => name as MemberId

const ranks: Record<Status, number> = { alive: 0, suspect: 1, dead: 2, left: 3 }
const statuses: ReadonlyArray<Status> = ["alive", "suspect", "dead", "left"]

export const rankOf = (status: Status): number => ranks[status]

export const statusOf = (rank: number): Status => statuses[rank & 3] ?? "alive"

export interface State {
  readonly incarnation: Incarnation
  readonly status: Status
}

/** The order of M1, for two states of one (member, bootId): negative when `a` is lower. */
export const compareState = (a: State, b: State): number =>
  a.incarnation !== b.incarnation ? a.incarnation - b.incarnation : ranks[a.status] - ranks[b.status]

/** Which run of a name is the newer one: the later start, then the higher bootId. */
export const compareRun = (
  a: { readonly startedAt: number; readonly bootId: BootId },
  b: { readonly startedAt: number; readonly bootId: BootId }
): number => a.startedAt !== b.startedAt ? a.startedAt - b.startedAt : a.bootId - b.bootId

export const sameAddress = (a: Address, b: Address): boolean => a.port === b.port && a.host === b.host

export const sameBytes = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a === b) return true
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** Alive and suspect members are active: they are probed, gossiped to and counted. */
export const isActive = (status: Status): boolean => status === "alive" || status === "suspect"
