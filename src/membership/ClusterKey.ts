/** The key of a cluster and everything that is derived from it.
 *
 * Job: reads a key from text without ever repeating it, and derives from it, each for one purpose, the key that seals
 * packets, the pre-shared key of streams, the token of the administration, and the name by which it can be spoken of.
 * Boundary: which keys a node holds is the `Keyring`'s business. The key itself is only in `Redacted` form here. */
import * as Base64 from "effect/encoding/Base64"
import * as Hex from "effect/encoding/Hex"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { nonceBytes, tagBytes } from "../wire/Envelope.ts"
import type { Aead, Cipher } from "./Cipher.ts"

/** 16, 24 or 32 random bytes. */
export type Secret = Redacted.Redacted<Uint8Array>

const lengths = new Set([16, 24, 32])

export interface ClusterKey {
  /** Fingerprint, 16 hexadecimal digits: names the key in lists, logs and handshakes, and tells nothing about it. */
  readonly id: string
  readonly bits: number
  /** first bytes of the fingerprint, in every sealed packet */
  readonly hint: number
  readonly secret: Secret
  /** seals packets; as strong as the key itself */
  readonly aead: Aead
  /** pre-shared key of TLS between nodes */
  readonly psk: Secret
  /** bearer token of the administration, base64url */
  readonly token: Redacted.Redacted<string>
}

const problem = "a cluster key is 16, 24 or 32 random bytes in base64; make one with `shoal key generate`"

/** Reads base64, with or without padding, also in its URL form. The failure does not contain the text. */
export const parse = (text: string): Result.Result<Secret, string> => {
  const plain = text.trim().replaceAll("-", "+").replaceAll("_", "/").replace(/=+$/, "")
  if (plain.length > 64) return Result.fail(problem)
  const decoded = Base64.decode(plain.padEnd(Math.ceil(plain.length / 4) * 4, "="))
  if (Result.isFailure(decoded)) return Result.fail(problem)
  return make(decoded.success)
}

/** A key from its bytes, which are copied. All zeroes are no key: they come from a mistake. */
export const make = (bytes: Uint8Array): Result.Result<Secret, string> =>
  lengths.has(bytes.length) && bytes.some((byte) => byte !== 0)
    ? Result.succeed(Redacted.make(bytes.slice(), { label: "cluster key" }))
    : Result.fail(problem)

/** The base64 of a key, for files and for the operator who asked for it. */
export const format = (secret: Secret): string => Base64.encode(Redacted.value(secret))

/** Whoever derives under another name gets unrelated bytes. */
const purposes = {
  id: "shoal/1 key id",
  packets: "shoal/1 packets",
  streams: "shoal/1 streams",
  wrapping: "shoal/1 wrapping",
  administration: "shoal/1 administration"
} as const

export const derive = (cipher: Cipher["Service"], secret: Secret): ClusterKey => {
  const key = Redacted.value(secret)
  const from = (info: string, bytes: number) => cipher.derive({ key, info, bytes })
  const id = from(purposes.id, 8)
  return {
    id: Hex.encode(id),
    bits: key.length * 8,
    hint: ((id[0] ?? 0) << 8) | (id[1] ?? 0),
    secret,
    aead: cipher.aead(from(purposes.packets, key.length)),
    psk: Redacted.make(from(purposes.streams, 32), { label: "stream key" }),
    token: Redacted.make(token(cipher, secret), { label: "token" })
  }
}

/** A new key as text that only a holder of `key` can read, for ways that are not encrypted otherwise. */
export const wrap = (cipher: Cipher["Service"], key: Secret, secret: Secret): string => {
  const nonce = cipher.random(nonceBytes)
  const { aead, id } = wrapper(cipher, key)
  const { ciphertext, tag } = aead.seal({ nonce, additional: utf8.encode(id), plaintext: Redacted.value(secret) })
  return Base64.encode(Uint8Array.of(...nonce, ...ciphertext, ...tag))
}

/** What `wrap` made; undefined when it was altered or wrapped with another key. */
export const unwrap = (cipher: Cipher["Service"], key: Secret, text: string): Secret | undefined => {
  const decoded = Base64.decode(text.slice(0, 256))
  if (Result.isFailure(decoded) || decoded.success.length < nonceBytes + tagBytes) return undefined
  const bytes = decoded.success
  const { aead, id } = wrapper(cipher, key)
  const opened = aead.open({
    nonce: bytes.subarray(0, nonceBytes),
    additional: utf8.encode(id),
    ciphertext: bytes.subarray(nonceBytes, bytes.length - tagBytes),
    tag: bytes.subarray(bytes.length - tagBytes)
  })
  return opened === undefined ? undefined : Result.getOrElse(make(opened), () => undefined)
}

const utf8 = new TextEncoder()

const wrapper = (cipher: Cipher["Service"], secret: Secret) => {
  const key = Redacted.value(secret)
  return {
    id: fingerprint(cipher, secret),
    aead: cipher.aead(cipher.derive({ key, info: purposes.wrapping, bytes: 32 }))
  }
}

/** The name of a key. */
export const fingerprint = (cipher: Cipher["Service"], secret: Secret): string =>
  Hex.encode(cipher.derive({ key: Redacted.value(secret), info: purposes.id, bytes: 8 }))

/** The token of the administration that belongs to a key. */
export const token = (cipher: Cipher["Service"], secret: Secret): string =>
  Base64.encode(cipher.derive({ key: Redacted.value(secret), info: purposes.administration, bytes: 32 }))
    .replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "")
