/** Packets into envelopes and out of them: in clear without a key, sealed with AES-GCM by the keyring.
 *
 * Job: seals with the ring's first key, opens with any, refuses with a reason: wrong label or version, unknown key,
 * forged, in clear although there is a key, nested, or seen before. Streams get the label in front; sealing them is the
 * transport's (TLS).
 * Boundary: bytes only. A nonce is 8 random bytes of this process and a counter, so none is used twice under one key.
 * What was opened once is not opened again by the same process (`Replays`); a recording that another process has not
 * seen gets through, and changes nothing since the core's states only grow (M1). */
import * as Result from "effect/Result"
import type { Message } from "../swim/Message.ts"
import * as Envelope from "../wire/Envelope.ts"
import type { Packet } from "../wire/Packet.ts"
import type { Decoder, StreamFrame } from "../wire/StreamFrame.ts"
import type { Cipher } from "./Cipher.ts"
import type { ClusterKey } from "./ClusterKey.ts"
import type { Ring } from "./Keyring.ts"
import * as Replays from "./Replays.ts"

export interface Sealing {
  /** Bytes around a payload. */
  readonly overhead: number
  readonly seal: (payload: Uint8Array) => Uint8Array
  /** The payload, or why it is refused. Nothing is allocated beyond the size of the input. */
  readonly open: (bytes: Uint8Array) => Result.Result<Uint8Array, string>
}

/** For clusters without a key. */
export const clear = (label: Envelope.Label): Sealing => ({
  overhead: Envelope.clearOverhead,
  seal: (payload) => Envelope.clear(label, payload),
  open: (bytes) => {
    const parsed = Envelope.parse(bytes, label)
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
    if (parsed.success._tag === "Sealed") return Result.fail("sealed-without-key")
    return unwrapped(parsed.success.payload)
  }
})

const unwrapped = (payload: Uint8Array): Result.Result<Uint8Array, string> =>
  Envelope.isNested(payload) ? Result.fail("nested") : Result.succeed(payload)

export interface Options {
  readonly label: Envelope.Label
  readonly ring: Ring
  readonly cipher: Cipher["Service"]
}

export const sealed = ({ cipher, label, ring }: Options): Sealing => {
  const nonces = new Nonces(cipher)
  const replays = Replays.make()
  let sealer: Sealer | undefined
  return {
    overhead: Envelope.sealedOverhead,
    seal: (payload) => {
      const key = ring.primary()
      if (sealer?.key !== key) sealer = makeSealer(label, key)
      const nonce = nonces.next()
      const { ciphertext, tag } = key.aead.seal({ nonce, additional: sealer.additional, plaintext: payload })
      return Envelope.sealed({ header: sealer.header, nonce, ciphertext, tag })
    },
    open: (bytes) => {
      const parsed = Envelope.parse(bytes, label)
      if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
      const envelope = parsed.success
      if (envelope._tag === "Clear") return Result.fail("not-sealed")
      if (nonces.isOwn(envelope.nonce)) return Result.fail("reflected")
      const additional = Envelope.additional(label, envelope.header)
      let known = false
      for (const key of ring.keys()) {
        if (key.hint !== envelope.key) continue
        known = true
        const payload = key.aead.open({ ...envelope, additional })
        if (payload === undefined) continue
        return Replays.isFresh(replays, envelope.nonce) ? unwrapped(payload) : Result.fail("replayed")
      }
      return Result.fail(known ? "forged" : "unknown-key")
    }
  }
}

/** A packet format within envelopes: sizes include what the envelope adds (M6). */
export const around = (packet: Packet, sealing: Sealing): Packet => ({
  overhead: packet.overhead + sealing.overhead,
  sizeOf: packet.sizeOf,
  encode: (messages) => sealing.seal(packet.encode(messages)),
  decode: (bytes, out) => {
    const opened = sealing.open(bytes)
    return Result.isFailure(opened) ? opened.failure : packet.decode(opened.success, out)
  }
})

/** A stream format behind the greeting of a cluster: nothing is read from another one. */
export const greeted = (framing: StreamFrame, label: Envelope.Label): StreamFrame => ({
  ...framing,
  decoder: () => new GreetedDecoder(framing.decoder(), label)
})

class GreetedDecoder implements Decoder {
  private readonly decoder: Decoder
  private readonly label: Envelope.Label
  private readonly greeting = new Uint8Array(Envelope.greetingBytes)
  private filled = 0
  private refused: string | undefined

  constructor(decoder: Decoder, label: Envelope.Label) {
    this.decoder = decoder
    this.label = label
  }

  get ended(): boolean {
    return this.decoder.ended
  }

  push(chunk: Uint8Array, out: Array<Message>): string | undefined {
    const missing = Math.min(this.greeting.length - this.filled, chunk.length)
    if (missing > 0) {
      this.greeting.set(chunk.subarray(0, missing), this.filled)
      this.filled += missing
      if (this.filled < this.greeting.length) return undefined
      const parsed = Envelope.parse(this.greeting, this.label)
      this.refused = Result.isFailure(parsed)
        ? parsed.failure
        : parsed.success._tag === "Clear"
        ? undefined
        : "unknown-envelope"
    }
    if (this.refused !== undefined) return this.refused
    return chunk.length === missing ? undefined : this.decoder.push(chunk.subarray(missing), out)
  }
}

interface Sealer {
  readonly key: ClusterKey
  readonly header: Uint8Array
  readonly additional: Uint8Array
}

const makeSealer = (label: Envelope.Label, key: ClusterKey): Sealer => {
  const header = Envelope.sealedHeader(label, key.hint)
  return { key, header, additional: Envelope.additional(label, header) }
}

const maxCounter = 0xffffffff

/** Numbers that are used once: a random prefix of this process, drawn anew when the counter is used up. */
class Nonces {
  private readonly cipher: Cipher["Service"]
  private prefix: Uint8Array
  private counter = 0

  constructor(cipher: Cipher["Service"]) {
    this.cipher = cipher
    this.prefix = cipher.random(Replays.senderBytes)
  }

  next(): Uint8Array {
    if (this.counter > maxCounter) {
      this.counter = 0
      this.prefix = this.cipher.random(Replays.senderBytes)
    }
    const nonce = new Uint8Array(Envelope.nonceBytes)
    nonce.set(this.prefix)
    new DataView(nonce.buffer).setUint32(Replays.senderBytes, this.counter++)
    return nonce
  }

  isOwn(nonce: Uint8Array): boolean {
    return this.prefix.every((byte, at) => byte === nonce[at])
  }
}
