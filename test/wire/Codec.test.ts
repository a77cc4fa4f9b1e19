import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Messages from "./Messages.ts"

const alive: Message.Alive = {
  _tag: "Alive",
  id: Member.id("node-12"),
  bootId: 2 ** 47 + 123,
  startedAt: 1_700_000_000_000,
  address: { host: "127.0.0.1", port: 7946 },
  incarnation: 1,
  meta: new Uint8Array(0)
}

for (const codec of [Codec.binary, Codec.json]) {
  describe(`Codec.${codec.name}`, () => {
    it("gives back every kind of message", () => {
      const random = Prng.make(1)
      const seen = new Set<string>()
      for (let i = 0; i < 1000; i++) {
        const message = Messages.make(random)
        seen.add(message._tag)
        assert.deepStrictEqual(codec.decode(codec.encode(message)), Result.succeed(message))
      }
      assert.strictEqual(seen.size, 23)
    })

    it.prop("is total on arbitrary bytes", [Schema.Uint8Array], ([bytes]) => {
      codec.decode(bytes)
    })

    it("is total on truncated and mutated messages, and what it accepts is in range", () => {
      const random = Prng.make(2)
      for (let i = 0; i < 5000; i++) {
        const decoded = codec.decode(Messages.mutate(random, codec.encode(Messages.make(random))))
        if (Result.isFailure(decoded)) assert.include(["malformed-message", "out-of-range"], decoded.failure)
        else assert.isTrue(Result.isSuccess(codec.decode(codec.encode(decoded.success))))
      }
    })

    it("refuses values out of range", () => {
      const refused: ReadonlyArray<Message.Message> = [
        { ...alive, bootId: 2 ** 48 },
        { ...alive, bootId: -1 },
        { ...alive, incarnation: 0.5 },
        { ...alive, incarnation: Number.MAX_SAFE_INTEGER + 1 },
        { ...alive, startedAt: -5 },
        { ...alive, id: Member.id("") },
        { ...alive, id: Member.id("x".repeat(129)) },
        { ...alive, address: { host: "", port: 1 } },
        { ...alive, address: { host: "10.0.0.1", port: 0 } },
        { ...alive, address: { host: "10.0.0.1", port: 70_000 } },
        { ...alive, meta: new Uint8Array(513) },
        { _tag: "Ack", seq: 2 ** 32, digest: 0 },
        { _tag: "Item", key: "reign", value: new Uint8Array(97) },
        // An accusation this high could not be refuted with a safe integer.
        { _tag: "Dead", id: alive.id, bootId: 1, incarnation: Number.MAX_SAFE_INTEGER, from: alive.id }
      ]
      for (const message of refused) {
        assert.deepStrictEqual(codec.decode(codec.encode(message)), Result.fail("out-of-range"), message._tag)
      }
    })
  })
}

describe("Codec.binary", () => {
  it("keeps what it encoded apart from later encodings", () => {
    const first = Codec.binary.encode(alive)
    const copy = first.slice()
    for (let i = 0; i < 100; i++) Codec.binary.encode({ ...alive, incarnation: i })
    assert.deepStrictEqual(first, copy)
    assert.strictEqual(first.buffer.byteLength, first.length)
  })

  it("is small: a ping below 70 and an alive below 90 bytes", () => {
    const { bootId, id } = alive
    assert.isBelow(
      Codec.binary.encode({ _tag: "Ping", seq: 2 ** 31, target: id, from: id, bootId, digest: 2 ** 31 }).length,
      70
    )
    assert.isBelow(Codec.binary.encode(alive).length, 90)
  })
})
