import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as StreamFrame from "../../src/wire/StreamFrame.ts"
import * as Messages from "./Messages.ts"

const frames = StreamFrame.make(Codec.binary)

const concat = (...chunks: ReadonlyArray<Uint8Array>): Uint8Array =>
  Uint8Array.from(chunks.flatMap((chunk) => Array.from(chunk)))

describe("StreamFrame", () => {
  it("gives back its messages, whatever the cuts", () => {
    const random = Prng.make(5)
    for (let i = 0; i < 100; i++) {
      const messages = Array.from({ length: Prng.below(random, 20) }, () => Messages.make(random))
      const bytes = concat(frames.encode(messages), frames.encode([{ _tag: "SyncEnd" }]), frames.end)
      const decoder = frames.decoder()
      const out: Array<Message.Message> = []
      for (let at = 0; at < bytes.length;) {
        const end = at + 1 + Prng.below(random, 300)
        assert.isUndefined(decoder.push(bytes.subarray(at, end), out))
        at = end
      }
      assert.deepStrictEqual(out, [...messages, { _tag: "SyncEnd" }])
      assert.isTrue(decoder.ended)
    }
  })

  it("splits what is larger than a frame", () => {
    const big: Message.Message = {
      _tag: "Broadcast",
      origin: Member.id("a"),
      bootId: 1,
      lane: 0,
      seq: 1,
      kind: "k",
      key: "",
      payload: new Uint8Array(60_000)
    }
    const out: Array<Message.Message> = []
    assert.isUndefined(frames.decoder().push(frames.encode(Array.from({ length: 20 }, () => big)), out))
    assert.strictEqual(out.length, 20)
  })

  it.prop("is total on arbitrary bytes", [Schema.Uint8Array], ([bytes]) => {
    frames.decoder().push(bytes, [])
  })

  it("is total on mutated streams, and a broken stream stays broken", () => {
    const random = Prng.make(6)
    for (let i = 0; i < 3000; i++) {
      const decoder = frames.decoder()
      const broken = decoder.push(Messages.mutate(random, frames.encode([Messages.make(random)])), [])
      if (broken !== undefined) assert.strictEqual(decoder.push(frames.encode([{ _tag: "Who" }]), []), broken)
    }
  })

  it("refuses a frame above the limit before buffering it", () => {
    const decoder = frames.decoder()
    assert.strictEqual(decoder.push(new Uint8Array([0xff, 0xff, 0xff, 0xff]), []), "frame-too-large")
    assert.strictEqual(frames.decoder().push(new Uint8Array([0, 0, 0, 0]), []), "frame-too-large")
    assert.strictEqual(frames.decoder().push(new Uint8Array([0, 0, 0, 1, 7]), []), "unknown-frame")
  })

  it("refuses frames after the end", () => {
    const decoder = frames.decoder()
    assert.strictEqual(decoder.push(concat(frames.end, frames.encode([])), []), "frame-after-end")
  })
})
