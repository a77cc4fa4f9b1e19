/** A reign: who is master, since which claim, on what evidence. It fences: every control message carries one.
 *
 * PURE. Boundary: the order of reigns and their bytes; who may claim and who obeys is decided in `Election`.
 * Invariants: R1 (a total order: epoch, then granted before witnessed before plain, then the older holder, then the
 * smaller id, and the remaining fields so that two different reigns are never equal). `toBytes` is ordered like the
 * reigns themselves, because gossip keeps the higher of two items by comparing bytes. */
import * as Schema from "effect/Schema"
import type { BootId, MemberId } from "../swim/Member.ts"

export const maxBytes = 96
/** So that a reign always fits into its item, a member that wants to lead has a name of at most this many bytes. */
export const maxIdBytes = 63
/** Epochs, boot ids and start times are below this. */
export const limit = 2 ** 48

export type Kind = "granted" | "witnessed" | "plain"

export interface Reign {
  readonly epoch: number
  readonly id: MemberId
  readonly bootId: BootId
  /** The holder's start, milliseconds since the epoch. */
  readonly startedAt: number
  /** The reign it follows; undefined for the first. */
  readonly predecessor: { readonly epoch: number; readonly bootId: BootId } | undefined
  /** `granted` by the predecessor itself, `witnessed` by a majority of its witnesses, or `plain` (nobody to ask). */
  readonly kind: Kind
  /** How many witnesses supported the claim, at most 255. */
  readonly witnesses: number
}

/** The reign as it travels in control messages. Free of checks (they halve the codec's speed): see `isValid`. */
/* oxlint-disable effecttsgo/schema-number */
export const Wire = Schema.Struct({
  epoch: Schema.Number,
  id: Schema.String.pipe(Schema.brand("MemberId")),
  bootId: Schema.Number,
  startedAt: Schema.Number,
  predecessor: Schema.UndefinedOr(Schema.Struct({ epoch: Schema.Number, bootId: Schema.Number })),
  kind: Schema.Literals(["granted", "witnessed", "plain"]),
  witnesses: Schema.Number
})
/* oxlint-enable effecttsgo/schema-number */

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: false })
const kindRank: Readonly<Record<Kind, number>> = { plain: 0, witnessed: 1, granted: 2 }
const kinds: ReadonlyArray<Kind> = ["plain", "witnessed", "granted"]

const isCount = (n: number, below: number): boolean => Number.isInteger(n) && n >= 0 && n < below

/** Whether every field is within its range; a reign from the network that is not is refused. */
export const isValid = (self: Reign): boolean => {
  const idBytes = encoder.encode(self.id)
  return isCount(self.epoch, limit) && self.epoch > 0 && isCount(self.bootId, limit) &&
    isCount(self.startedAt, limit) &&
    isCount(self.witnesses, 256) && idBytes.length > 0 && idBytes.length <= maxIdBytes && !idBytes.includes(0) &&
    decoder.decode(idBytes) === self.id &&
    (self.predecessor === undefined ||
      (isCount(self.predecessor.epoch, limit) && self.predecessor.epoch > 0 && isCount(self.predecessor.bootId, limit)))
}

const put48 = (bytes: Uint8Array, offset: number, value: number): number => {
  let rest = value
  for (let i = 5; i >= 0; i--) {
    bytes[offset + i] = rest % 256
    rest = Math.floor(rest / 256)
  }
  return offset + 6
}

const get48 = (bytes: Uint8Array, offset: number): number => {
  let value = 0
  for (let i = 0; i < 6; i++) value = value * 256 + (bytes[offset + i] ?? 0)
  return value
}

/** At most `maxBytes`; the lexicographic order of the bytes is the order of the reigns. Older and smaller is greater,
 * so the start time and the id are complemented; the id ends with 0xff, which no complemented byte of it can be. */
export const toBytes = (self: Reign): Uint8Array => {
  const id = encoder.encode(self.id)
  const bytes = new Uint8Array(33 + id.length)
  let at = put48(bytes, 0, self.epoch)
  bytes[at++] = kindRank[self.kind]
  at = put48(bytes, at, limit - 1 - self.startedAt)
  for (const byte of id) bytes[at++] = 0xff - byte
  bytes[at++] = 0xff
  at = put48(bytes, at, self.bootId)
  bytes[at++] = self.witnesses
  at = put48(bytes, at, self.predecessor?.epoch ?? 0)
  put48(bytes, at, self.predecessor?.bootId ?? 0)
  return bytes
}

/** Total: bytes that are not a reign are undefined. */
export const fromBytes = (bytes: Uint8Array): Reign | undefined => {
  const end = bytes.indexOf(0xff, 13)
  if (end < 0 || bytes.length !== end + 20 || bytes.length > maxBytes) return undefined
  const kind = kinds[bytes[6] ?? 255]
  if (kind === undefined) return undefined
  const predecessor = get48(bytes, end + 8)
  const predecessorBoot = get48(bytes, end + 14)
  if (predecessor === 0 && predecessorBoot !== 0) return undefined
  const reign: Reign = {
    epoch: get48(bytes, 0),
    kind,
    startedAt: limit - 1 - get48(bytes, 7),
    id: decoder.decode(bytes.subarray(13, end).map((byte) => 0xff - byte)) as MemberId,
    bootId: get48(bytes, end + 1),
    witnesses: bytes[end + 7] ?? 0,
    predecessor: predecessor === 0 ? undefined : { epoch: predecessor, bootId: predecessorBoot }
  }
  return isValid(reign) ? reign : undefined
}

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

/** Positive when `a` is the higher reign. 0 only for the same reign. */
export const compare = (a: Reign, b: Reign): number =>
  a.epoch - b.epoch ||
  kindRank[a.kind] - kindRank[b.kind] ||
  b.startedAt - a.startedAt ||
  (a.id === b.id ? 0 : compareBytes(encoder.encode(b.id), encoder.encode(a.id))) ||
  a.bootId - b.bootId ||
  a.witnesses - b.witnesses ||
  (a.predecessor?.epoch ?? 0) - (b.predecessor?.epoch ?? 0) ||
  (a.predecessor?.bootId ?? 0) - (b.predecessor?.bootId ?? 0)

export const equals = (a: Reign | undefined, b: Reign | undefined): boolean =>
  a === b || (a !== undefined && b !== undefined && compare(a, b) === 0)

/** `a` is lower than `b`; no reign is lower than any. */
export const isLower = (a: Reign | undefined, b: Reign | undefined): boolean =>
  b !== undefined && (a === undefined || compare(a, b) < 0)

export const max = (a: Reign | undefined, b: Reign | undefined): Reign | undefined => isLower(a, b) ? b : a

/** Held by this run of this member. */
export const isHeldBy = (
  self: Reign | undefined,
  holder: { readonly id: MemberId; readonly bootId: BootId }
): boolean => self !== undefined && self.id === holder.id && self.bootId === holder.bootId
