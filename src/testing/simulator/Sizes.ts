/** Exact sizes of encoded messages without encoding them.
 *
 * PURE. Boundary: knows how the binary codec lays out numbers and texts, not which fields a message has: the constant
 * part of each kind is measured once with the codec itself. Sizes of other codecs are always measured.
 * Invariants: M6 (the numbers must be exact: a run with real bytes compares each datagram). */
import type * as Message from "../../swim/Message.ts"
import * as Codec from "../../wire/Codec.ts"
import type * as Packet from "../../wire/Packet.ts"

type SizeOf = (message: Message.Message) => number

/** Bytes of a number that is not negative: a varint of twice the value, or a double. */
const number = (value: number): number =>
  value < 64
    ? 1
    : value < 8192
    ? 2
    : value < 1_048_576
    ? 3
    : value < 134_217_728
    ? 4
    : value < 17_179_869_184
    ? 5
    : value < 2_199_023_255_552
    ? 6
    : value < 281_474_976_710_656
    ? 7
    : 8

const prefix = (length: number): number => length < 128 ? 1 : length < 16_384 ? 2 : 3

const bytes = (value: { readonly length: number }): number => value.length + prefix(value.length)

const isAscii = (text: string): boolean => {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 127) return false
  return true
}

const ascii = new Map<string, boolean>()

/** Bytes of a text, or NaN where it is not one byte per character. */
const text = (value: string): number => {
  let plain = ascii.get(value)
  if (plain === undefined) {
    if (ascii.size > 100_000) ascii.clear()
    plain = isAscii(value)
    ascii.set(value, plain)
  }
  return plain ? bytes(value) : Number.NaN
}

/** An address is a part with a length of its own; a long one would need a longer length. */
const address = (value: { readonly host: string; readonly port: number }): number =>
  value.host.length > 64 ? Number.NaN : text(value.host) + number(value.port)

/** The part of a message's size that depends on its values; NaN when only the codec knows. */
const variable = (message: Message.Message): number => {
  switch (message._tag) {
    case "Ping":
      return number(message.seq) + text(message.target) + text(message.from) + number(message.bootId) +
        number(message.digest)
    case "PingReq":
      return number(message.seq) + text(message.target) + address(message.address) + text(message.from) +
        number(message.left)
    case "Ack":
      return number(message.seq) + number(message.digest)
    case "Nack":
      return number(message.seq)
    case "Alive":
      return text(message.id) + number(message.bootId) + number(message.startedAt) + address(message.address) +
        number(message.incarnation) + bytes(message.meta)
    case "State":
      return text(message.id) + number(message.bootId) + number(message.startedAt) + address(message.address) +
        number(message.incarnation) + text(message.status) + number(message.age) + bytes(message.meta)
    case "Suspect":
    case "Dead":
    case "Ask":
      return text(message.id) + number(message.bootId) + number(message.incarnation) + text(message.from)
    case "Left":
      return text(message.id) + number(message.bootId) + number(message.incarnation)
    case "Broadcast":
      return text(message.origin) + number(message.bootId) + number(message.seq) + text(message.kind) +
        text(message.key) + bytes(message.payload)
    default:
      return Number.NaN
  }
}

/** Sizes as the binary codec has them, prefix of the part included. */
const computed = (packet: Packet.Packet): SizeOf => {
  /** By kind. */
  const constants = new Map<string, number>()
  const partPrefix = packet.sizeOf({ _tag: "Who" }) - Codec.binary.encode({ _tag: "Who" }).length
  return (message) => {
    const part = variable(message)
    if (!(part >= 0)) return packet.sizeOf(message)
    let constant = constants.get(message._tag)
    if (constant === undefined) {
      const whole = packet.sizeOf(message) - partPrefix
      constant = whole - prefix(whole - prefix(whole)) - part
      constants.set(message._tag, constant)
    }
    const inner = constant + part
    return partPrefix + prefix(inner) + inner
  }
}

export const make = (codec: Codec.Codec, packet: Packet.Packet): SizeOf =>
  codec.name === Codec.binary.name ? computed(packet) : packet.sizeOf
