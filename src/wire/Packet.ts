/** One datagram: a header and length-prefixed parts, each encoded on its own.
 *
 *   "SH" | version u8 | flags u8 | (length u16be | message)*
 *
 * PURE. Boundary: envelopes (label, checksum, encryption) go around a packet and are announced in `flags`; none is
 * defined yet, so any flag is refused. Because parts are encoded on their own, sizes add up exactly (M6) and an encoded
 * message is kept with its immutable object: passing an update on costs a copy.
 * Decoding is total and bounded: junk is a reason, never an exception. */
import * as Result from "effect/Result"
import type * as Message from "../swim/Message.ts"
import type * as Codec from "./Codec.ts"

export const version = 1
export const overhead = 4
const prefix = 2
/** More parts than this are not looked at. */
const maxParts = 1024

export interface Packet {
  /** Bytes around the parts. */
  readonly overhead: number
  /** Bytes of one part with its prefix. */
  readonly sizeOf: (message: Message.Message) => number
  readonly encode: (messages: ReadonlyArray<Message.Message>) => Uint8Array
  /** Appends what the bytes hold to `out`, up to the first bad part; a text says what was wrong. */
  readonly decode: (bytes: Uint8Array, out: Array<Message.Message>) => string | undefined
}

/** Lets a derived class put its private fields on any object. */
class Carrier {
  constructor(message: Message.Message) {
    return message
  }
}

/** The encoded form that a message carries, as a private field: nobody else sees it. A `WeakMap` from messages to bytes
 * costs the collector as much as all the rest of handling a packet. `owner` is the packet codec whose bytes they are. */
class Encoded extends Carrier {
  #owner: Packet
  #bytes: Uint8Array

  constructor(message: Message.Message, owner: Packet, bytes: Uint8Array) {
    super(message)
    this.#owner = owner
    this.#bytes = bytes
  }

  static keep(message: Message.Message, owner: Packet, bytes: Uint8Array): void {
    const carrier: object = message
    if (#owner in carrier) {
      carrier.#owner = owner
      carrier.#bytes = bytes
    } else new Encoded(message, owner, bytes)
  }

  static of(message: Message.Message, owner: Packet): Uint8Array | undefined {
    const carrier: object = message
    return #owner in carrier && carrier.#owner === owner ? carrier.#bytes : undefined
  }
}

export const make = (codec: Codec.Codec): Packet => {
  // What is passed on is passed on while its packet is handled: then it goes out in the bytes in which it came.
  const received: Received = { messages: [], parts: [] }
  const part = (message: Message.Message): Uint8Array => {
    const known = Encoded.of(message, self)
    if (known !== undefined) return known
    const came = received.messages.indexOf(message)
    const bytes = came < 0 ? codec.encode(message) : received.parts[came] ?? codec.encode(message)
    Encoded.keep(message, self, bytes)
    return bytes
  }
  const self: Packet = {
    overhead,
    sizeOf: (message) => prefix + part(message).length,
    encode: (messages) => encode(messages.map(part)),
    decode: (bytes, out) => {
      received.messages.length = 0
      received.parts.length = 0
      return decode(codec, bytes, { out, received })
    }
  }
  return self
}

const encode = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  let size = overhead
  for (const bytes of parts) size += prefix + bytes.length
  const packet = new Uint8Array(size)
  packet[0] = 0x53
  packet[1] = 0x48
  packet[2] = version
  packet[3] = 0
  let at = overhead
  for (const bytes of parts) {
    packet[at] = bytes.length >> 8
    packet[at + 1] = bytes.length & 0xff
    packet.set(bytes, at + prefix)
    at += prefix + bytes.length
  }
  return packet
}

const decode = (
  codec: Codec.Codec,
  bytes: Uint8Array,
  options: Pick<Parts, "out" | "received">
): string | undefined => {
  if (bytes.length < overhead || bytes[0] !== 0x53 || bytes[1] !== 0x48) return "not-ours"
  if (bytes[2] !== version) return "unknown-version"
  if (bytes[3] !== 0) return "unknown-flags"
  return parts(codec, bytes, { at: overhead, ...options })
}

interface Parts {
  readonly at: number
  readonly out: Array<Message.Message>
  readonly max?: number
  readonly received?: Received
}

/** The messages of the packet in hand that may be passed on, and their bytes. */
interface Received {
  readonly messages: Array<Message.Message>
  readonly parts: Array<Uint8Array>
}

const receivedKept = 64

/** What a member passes on as it came. */
const isPassedOn = ({ _tag }: Message.Message): boolean => _tag === "Alive" || _tag === "Broadcast"

/** The parts from `at` to the end, also used for stream frames. */
export const parts = (
  codec: Codec.Codec,
  bytes: Uint8Array,
  options: Parts
): string | undefined => {
  let at = options.at
  for (let count = 0; at < bytes.length; count++) {
    if (count >= (options.max ?? maxParts)) return "too-many-parts"
    if (at + prefix > bytes.length) return "truncated"
    const length = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)
    at += prefix
    if (at + length > bytes.length) return "truncated"
    const part = bytes.subarray(at, at + length)
    const decoded = codec.decode(part)
    if (Result.isFailure(decoded)) return decoded.failure
    const { received } = options
    if (received !== undefined && received.parts.length < receivedKept && isPassedOn(decoded.success)) {
      received.messages.push(decoded.success)
      received.parts.push(part)
    }
    options.out.push(decoded.success)
    at += length
  }
  return undefined
}
