import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Packet from "../../src/wire/Packet.ts"
import * as Messages from "./Messages.ts"

const packet = Packet.make(Codec.binary)

const decode = (
  bytes: Uint8Array
): { readonly messages: Array<Message.Message>; readonly refused: string | undefined } => {
  const messages: Array<Message.Message> = []
  return { messages, refused: packet.decode(bytes, messages) }
}

describe("Packet", () => {
  it("gives back its messages, and its size is the sum it was counted as", () => {
    const random = Prng.make(3)
    for (let i = 0; i < 300; i++) {
      const messages = Array.from({ length: Prng.below(random, 12) }, () => Messages.make(random))
      const bytes = packet.encode(messages)
      const counted = messages.reduce((sum, message) => sum + packet.sizeOf(message), packet.overhead)
      assert.strictEqual(bytes.length, counted)
      assert.deepStrictEqual(decode(bytes), { messages, refused: undefined })
    }
  })

  it.prop("is total on arbitrary bytes", [Schema.Uint8Array], ([bytes]) => {
    decode(bytes)
  })

  it("is total on mutated packets", () => {
    const random = Prng.make(4)
    for (let i = 0; i < 5000; i++) {
      const bytes = packet.encode([Messages.make(random), Messages.make(random)])
      decode(Messages.mutate(random, bytes))
      decode(bytes.subarray(0, Prng.below(random, bytes.length)))
    }
  })

  it("tells what it refuses", () => {
    const bytes = packet.encode([{ _tag: "Who" }])
    const changed = (at: number, value: number): Uint8Array => {
      const copy = bytes.slice()
      copy[at] = value
      return copy
    }
    assert.strictEqual(decode(new Uint8Array(0)).refused, "not-ours")
    assert.strictEqual(decode(changed(0, 0)).refused, "not-ours")
    assert.strictEqual(decode(changed(2, 9)).refused, "unknown-version")
    assert.strictEqual(decode(changed(3, 1)).refused, "unknown-flags")
    assert.strictEqual(decode(bytes.subarray(0, bytes.length - 1)).refused, "truncated")
    assert.strictEqual(decode(changed(5, 255)).refused, "truncated")
  })

  it("keeps the parts before a bad one", () => {
    const good = packet.encode([{ _tag: "Ack", seq: 7, digest: 1 }])
    const bytes = new Uint8Array([...good, 0, 2, 255, 255])
    assert.deepStrictEqual(decode(bytes), {
      messages: [{ _tag: "Ack", seq: 7, digest: 1 }],
      refused: "malformed-message"
    })
  })

  it("looks at a bounded number of parts", () => {
    const bytes = new Uint8Array(60_000)
    bytes.set(packet.encode([]))
    const who = packet.encode([{ _tag: "Who" }]).subarray(packet.overhead)
    let at = packet.overhead
    while (at + who.length <= bytes.length) {
      bytes.set(who, at)
      at += who.length
    }
    const { messages, refused } = decode(bytes.subarray(0, at))
    assert.strictEqual(refused, "too-many-parts")
    assert.isAtMost(messages.length, 1024)
  })

  it("encodes a message once", () => {
    let encoded = 0
    const counting = Packet.make({
      ...Codec.binary,
      encode: (message) => {
        encoded++
        return Codec.binary.encode(message)
      }
    })
    const message: Message.Message = { _tag: "Ack", seq: 1, digest: 1 }
    counting.sizeOf(message)
    counting.encode([message])
    counting.encode([message])
    assert.strictEqual(encoded, 1)
  })
})
