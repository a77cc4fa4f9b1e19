/** What goes around every datagram: protocol range, cluster label and, with a key, what is needed to open it.
 *
 *   "SE" | kind u8 | min u4, max u4 | label hint u32be                                          kind 0: payload follows
 *   ... | key hint u16be | nonce 12 | ciphertext | tag 16                                       kind 1: AES-GCM
 *
 * PURE. Job: frames and recognises; the first 8 (kind 1: 10) bytes and the full label are authenticated with a sealed
 * payload, so neither can be exchanged. The payload is written in version `min` of its sender's range.
 * Boundary: no keys and no ciphers here (`membership/Sealing`). An envelope holds a payload, never another envelope, so
 * there is nothing to recurse into. The label hint tells clusters apart that share a network by mistake; it is no secret
 * and, without a key, no protection. Parsing is total and allocates nothing but views. Invariants: M6. */
import * as Result from "effect/Result"

/** The protocol versions that this release reads; it writes `min`. Each is 1 to 15. */
export const protocol: Range = { min: 1, max: 1 }

export interface Range {
  readonly min: number
  readonly max: number
}

export const nonceBytes = 12
export const tagBytes = 16
const headerBytes = 8
const sealedHeaderBytes = headerBytes + 2
/** Bytes around a payload in clear. */
export const clearOverhead = headerBytes
/** Bytes around a sealed payload. */
export const sealedOverhead = sealedHeaderBytes + nonceBytes + tagBytes
const maxLabelBytes = 255

/** A cluster's name as envelopes use it. */
export interface Label {
  readonly text: string
  readonly bytes: Uint8Array
  readonly hint: number
}

/** `text` is cut at 255 bytes of UTF-8. */
export const label = (text: string): Label => {
  const bytes = new TextEncoder().encode(text).slice(0, maxLabelBytes)
  return { text, bytes, hint: fnv(bytes) }
}

/** FNV-1a, 32 bits: spreads labels, protects nothing. */
const fnv = (bytes: Uint8Array): number => {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

export type Envelope = Clear | Sealed

export interface Clear {
  readonly _tag: "Clear"
  readonly payload: Uint8Array
}

/** All parts are views into the received bytes. */
export interface Sealed {
  readonly _tag: "Sealed"
  /** which key of a ring to try first */
  readonly key: number
  readonly header: Uint8Array
  readonly nonce: Uint8Array
  readonly ciphertext: Uint8Array
  readonly tag: Uint8Array
}

/** Why bytes are no envelope for us. */
export type Refusal = "not-ours" | "unknown-version" | "unknown-envelope" | "other-label" | "truncated" | "too-large"

const maxBytes = 65_535

/** Looks at the clear part only: nothing is decrypted or copied. */
export const parse = (bytes: Uint8Array, own: Label): Result.Result<Envelope, Refusal> => {
  if (bytes.length > maxBytes) return Result.fail("too-large")
  if (bytes.length < headerBytes || bytes[0] !== 0x53 || bytes[1] !== 0x45) return Result.fail("not-ours")
  const range = bytes[3] ?? 0
  const [min, max] = [range >> 4, range & 15]
  if (min < 1 || max < min || min > protocol.max || max < protocol.min) return Result.fail("unknown-version")
  if (read32(bytes, 4) !== own.hint) return Result.fail("other-label")
  const kind = bytes[2]
  if (kind === 0) return Result.succeed({ _tag: "Clear", payload: bytes.subarray(headerBytes) })
  if (kind !== 1) return Result.fail("unknown-envelope")
  if (bytes.length < sealedOverhead) return Result.fail("truncated")
  const text = sealedHeaderBytes + nonceBytes
  const tag = bytes.length - tagBytes
  return Result.succeed({
    _tag: "Sealed",
    key: ((bytes[headerBytes] ?? 0) << 8) | (bytes[headerBytes + 1] ?? 0),
    header: bytes.subarray(0, sealedHeaderBytes),
    nonce: bytes.subarray(sealedHeaderBytes, text),
    ciphertext: bytes.subarray(text, tag),
    tag: bytes.subarray(tag)
  })
}

const read32 = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0

/** Whether a payload begins like an envelope: the sender put one into another. */
export const isNested = (payload: Uint8Array): boolean => payload[0] === 0x53 && payload[1] === 0x45

const header = (own: Label, kind: number, length: number): Uint8Array => {
  const bytes = new Uint8Array(length)
  bytes[0] = 0x53
  bytes[1] = 0x45
  bytes[2] = kind
  bytes[3] = (protocol.min << 4) | protocol.max
  new DataView(bytes.buffer).setUint32(4, own.hint)
  return bytes
}

/** An envelope without protection. */
export const clear = (own: Label, payload: Uint8Array): Uint8Array => {
  const bytes = header(own, 0, headerBytes + payload.length)
  bytes.set(payload, headerBytes)
  return bytes
}

/** The first bytes on a stream, from both sides: an envelope around nothing. */
export const greeting = (own: Label): Uint8Array => header(own, 0, headerBytes)

/** Bytes of a greeting. */
export const greetingBytes = headerBytes

/** The first bytes of everything that is sealed with the key `key`. */
export const sealedHeader = (own: Label, key: number): Uint8Array => {
  const bytes = header(own, 1, sealedHeaderBytes)
  bytes[headerBytes] = key >> 8
  bytes[headerBytes + 1] = key & 0xff
  return bytes
}

/** What is authenticated beside the payload: the header as sent, then the label in full. */
export const additional = (own: Label, head: Uint8Array): Uint8Array => {
  const bytes = new Uint8Array(head.length + own.bytes.length)
  bytes.set(head)
  bytes.set(own.bytes, head.length)
  return bytes
}

/** Puts the parts of a sealed envelope one after the other. */
export const sealed = (parts: Omit<Sealed, "_tag" | "key">): Uint8Array => {
  const { ciphertext, header, nonce, tag } = parts
  const bytes = new Uint8Array(header.length + nonce.length + ciphertext.length + tag.length)
  let at = 0
  for (const part of [header, nonce, ciphertext, tag]) {
    bytes.set(part, at)
    at += part.length
  }
  return bytes
}
