/** The membership's cryptography on `node:crypto`: synchronous, with keys imported once.
 *
 * Boundary: no keys are kept here. WebCrypto would make every packet wait for a promise and costs ten times as much. */
import * as Layer from "effect/Layer"
import * as Crypto from "node:crypto"
import { type Aead, Cipher } from "../membership/Cipher.ts"
import { tagBytes } from "../wire/Envelope.ts"

const algorithms = { 16: "aes-128-gcm", 24: "aes-192-gcm", 32: "aes-256-gcm" } as const

const algorithmOf = (bytes: number): (typeof algorithms)[keyof typeof algorithms] => {
  if (bytes === 16 || bytes === 24 || bytes === 32) return algorithms[bytes]
  throw new RangeError("a key has 16, 24 or 32 bytes")
}

const options = { authTagLength: tagBytes }
const nothing = new Uint8Array(0)

const aead = (bytes: Uint8Array): Aead => {
  const algorithm = algorithmOf(bytes.length)
  const key = Crypto.createSecretKey(bytes)
  return {
    seal: ({ additional, nonce, plaintext }) => {
      const cipher = Crypto.createCipheriv(algorithm, key, nonce, options)
      cipher.setAAD(additional)
      const ciphertext = cipher.update(plaintext)
      cipher.final() // a stream mode: nothing is left
      return { ciphertext, tag: cipher.getAuthTag() }
    },
    open: ({ additional, ciphertext, nonce, tag }) => {
      if (tag.length !== tagBytes) return undefined
      const decipher = Crypto.createDecipheriv(algorithm, key, nonce, options)
      decipher.setAAD(additional)
      decipher.setAuthTag(tag)
      const plaintext = decipher.update(ciphertext)
      try {
        decipher.final()
        return plaintext
      } catch {
        return undefined // the only way that it tells of a tag that does not fit
      }
    }
  }
}

const cipher = Cipher.of({
  aead,
  derive: ({ bytes, info, key }) => new Uint8Array(Crypto.hkdfSync("sha256", key, nothing, info, bytes)),
  random: (bytes) => new Uint8Array(Crypto.randomBytes(bytes)),
  equal: (a, b) => a.length === b.length && Crypto.timingSafeEqual(a, b)
})

export const layer: Layer.Layer<Cipher> = Layer.succeed(Cipher, cipher)
