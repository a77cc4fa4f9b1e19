/** Random valid messages from a seed, for round trips and as the start of mutations. */
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"

const tags: ReadonlyArray<Message.Message["_tag"]> = [
  "Ping",
  "PingReq",
  "Ack",
  "Nack",
  "Alive",
  "Suspect",
  "Dead",
  "Left",
  "LeftAck",
  "Ask",
  "Who",
  "Item",
  "Broadcast",
  "SyncDigest",
  "SyncBuckets",
  "SyncWant",
  "State",
  "SyncEnd",
  "Skip",
  "Want",
  "Have",
  "Direct",
  "DirectAck"
]

const letters = "abcdefghijklmnopqrstuvwxyz0123456789-.äß漢"

export const make = (random: Prng.Prng): Message.Message => {
  const whole = (max: number): number => Math.floor(Prng.float(random) * max)
  const text = (max: number): string => {
    let out = ""
    for (let length = 1 + whole(max - 1); length > 0; length--) out += letters[whole(letters.length)] ?? "a"
    return out
  }
  const bytes = (max: number): Uint8Array => Uint8Array.from({ length: whole(max + 1) }, () => whole(256))
  const id = Member.id(text(40))
  const from = Member.id(text(40))
  const bootId = whole(2 ** 48)
  const incarnation = whole(2 ** (1 + whole(51)))
  const seq = whole(2 ** 32)
  const address = { host: `10.${whole(256)}.${whole(256)}.${whole(256)}`, port: 1 + whole(65_535) }
  const identity = { id, bootId, startedAt: whole(2 ** 45), address, incarnation, meta: bytes(512) }
  const lane = { origin: id, bootId, lane: whole(2) }
  const _tag = tags[whole(tags.length)] ?? "Who"
  switch (_tag) {
    case "Ping":
      return { _tag, seq, target: id, from, bootId, digest: whole(2 ** 32) }
    case "PingReq":
      return { _tag, seq, target: id, address, from, left: whole(10_000) }
    case "Ack":
      return { _tag, seq, digest: whole(2 ** 32) }
    case "Nack":
      return { _tag, seq }
    case "Alive":
      return { _tag, ...identity }
    case "State":
      return { _tag, ...identity, status: Member.statusOf(whole(4)), age: whole(2 ** 40) }
    case "Suspect":
    case "Dead":
    case "Ask":
      return { _tag, id, bootId, incarnation, from }
    case "Left":
      return { _tag, id, bootId, incarnation }
    case "LeftAck":
      return { _tag, bootId, from }
    case "Who":
    case "SyncEnd":
      return { _tag }
    case "Item":
      return { _tag, key: text(30), value: bytes(96) }
    case "Broadcast":
      return { _tag, ...lane, seq, kind: text(20), key: text(20), payload: bytes(300) }
    case "Skip":
      return { _tag, ...lane, seq, until: seq + 1 + whole(100) }
    case "Want":
      return { _tag, ...lane, from, low: seq, have: bytes(128) }
    case "Have":
      return { _tag, ...lane, from, low: whole(100), head: seq }
    case "Direct":
      return { _tag, from, bootId, to: id, toBoot: bootId, seq, base: whole(seq), kind: text(20), payload: bytes(300) }
    case "DirectAck":
      return { _tag, from, bootId, seq }
    case "SyncDigest":
      return { _tag, from, bootId, join: whole(2) === 1, count: whole(100_000), hash: whole(2 ** 53) }
    case "SyncBuckets":
      return { _tag, from, bootId, hashes: bytes(400) }
    case "SyncWant":
      return { _tag, buckets: bytes(128), count: whole(1024) }
  }
}

/** Flips, inserts, removes or repeats a few bytes. */
export const mutate = (random: Prng.Prng, bytes: Uint8Array): Uint8Array => {
  let out = Array.from(bytes)
  for (let times = 1 + Prng.below(random, 6); times > 0; times--) {
    const at = Prng.below(random, out.length + 1)
    switch (Prng.below(random, 5)) {
      case 0: {
        out[at] = Prng.below(random, 256)
        break
      }
      case 1: {
        out.splice(at, 0, Prng.below(random, 256))
        break
      }
      case 2: {
        out.splice(at, 1 + Prng.below(random, 4))
        break
      }
      case 3: {
        out = out.slice(0, at)
        break
      }
      default: {
        out = out.concat(out.slice(at, at + 16))
      }
    }
  }
  return Uint8Array.from(out)
}
