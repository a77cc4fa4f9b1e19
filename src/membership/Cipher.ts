/** The cryptography that the membership needs, as a synchronous service.
 *
 * Boundary: primitives only; which key seals what is decided by `Keyring` and `Sealing`. It is synchronous because
 * packets are opened inside a turn of the actor; the Node layer uses the system's OpenSSL. */
import * as Context from "effect/Context"

/** One AES-GCM key, imported once. */
export interface Aead {
  /** Encrypts and appends nothing: ciphertext and tag come back side by side. */
  readonly seal: (input: {
    readonly nonce: Uint8Array
    readonly additional: Uint8Array
    readonly plaintext: Uint8Array
  }) => { readonly ciphertext: Uint8Array; readonly tag: Uint8Array }
  /** undefined when anything was altered. */
  readonly open: (input: {
    readonly nonce: Uint8Array
    readonly additional: Uint8Array
    readonly ciphertext: Uint8Array
    readonly tag: Uint8Array
  }) => Uint8Array | undefined
}

export class Cipher extends Context.Service<Cipher, {
  /** AES-128, 192 or 256 in Galois counter mode, by the length of the key: 16, 24 or 32 bytes. */
  readonly aead: (key: Uint8Array) => Aead
  /** HKDF with SHA-256 and an empty salt. */
  readonly derive: (options: { readonly key: Uint8Array; readonly info: string; readonly bytes: number }) => Uint8Array
  /** Bytes that nobody can guess. */
  readonly random: (bytes: number) => Uint8Array
  /** Whether two secrets are equal, in a time that tells nothing about where they differ. */
  readonly equal: (a: Uint8Array, b: Uint8Array) => boolean
}>()("shoal/membership/Cipher") {}
