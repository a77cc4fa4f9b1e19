import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Prng from "../../src/swim/Prng.ts"
import * as Envelope from "../../src/wire/Envelope.ts"
import * as Messages from "./Messages.ts"

const label = Envelope.label("shoal")
const payload = Uint8Array.of(1, 2, 3, 4, 5)

const parts = {
  header: Envelope.sealedHeader(label, 0xabcd),
  nonce: new Uint8Array(12).fill(7),
  ciphertext: Uint8Array.of(9, 8, 7),
  tag: new Uint8Array(16).fill(5)
}

const changed = (bytes: Uint8Array, at: number, value: number): Uint8Array => {
  const copy = bytes.slice()
  copy[at] = value
  return copy
}

describe("Envelope", () => {
  it("carries a payload in clear, 8 bytes around it", () => {
    const bytes = Envelope.clear(label, payload)
    assert.strictEqual(bytes.length, payload.length + Envelope.clearOverhead)
    assert.deepStrictEqual(Envelope.parse(bytes, label), Result.succeed({ _tag: "Clear" as const, payload }))
  })

  it("carries the parts of a sealed payload, 38 bytes around it", () => {
    const bytes = Envelope.sealed(parts)
    assert.strictEqual(bytes.length, 3 + Envelope.sealedOverhead)
    assert.strictEqual(Envelope.sealedOverhead, 38)
    assert.deepStrictEqual(
      Envelope.parse(bytes, label),
      Result.succeed({ _tag: "Sealed" as const, key: 0xabcd, ...parts })
    )
  })

  it("has a fixed layout", () => {
    assert.deepStrictEqual(
      [...Envelope.clear(label, Uint8Array.of(0xff))],
      [0x53, 0x45, 0, 0x11, 0xaf, 0xfb, 0xf8, 0x3e, 0xff]
    )
    assert.deepStrictEqual([...parts.header], [0x53, 0x45, 1, 0x11, 0xaf, 0xfb, 0xf8, 0x3e, 0xab, 0xcd])
  })

  it("tells why bytes are no envelope for this cluster", () => {
    const clear = Envelope.clear(label, payload)
    const sealed = Envelope.sealed(parts)
    const refused = (bytes: Uint8Array) => Envelope.parse(bytes, label)
    assert.deepStrictEqual(refused(new Uint8Array(0)), Result.fail("not-ours" as const))
    assert.deepStrictEqual(refused(clear.subarray(0, 7)), Result.fail("not-ours" as const))
    assert.deepStrictEqual(refused(changed(clear, 0, 0)), Result.fail("not-ours" as const))
    assert.deepStrictEqual(refused(changed(clear, 2, 2)), Result.fail("unknown-envelope" as const))
    assert.deepStrictEqual(refused(changed(clear, 3, 0x22)), Result.fail("unknown-version" as const))
    assert.deepStrictEqual(refused(changed(clear, 3, 0x00)), Result.fail("unknown-version" as const))
    assert.deepStrictEqual(refused(changed(clear, 3, 0x21)), Result.fail("unknown-version" as const))
    assert.deepStrictEqual(refused(changed(clear, 7, 0)), Result.fail("other-label" as const))
    assert.deepStrictEqual(refused(sealed.subarray(0, 37)), Result.fail("truncated" as const))
    assert.deepStrictEqual(refused(new Uint8Array(65_536)), Result.fail("too-large" as const))
  })

  it("reads a newer sender whose range reaches down to ours", () => {
    assert.isTrue(Result.isSuccess(Envelope.parse(changed(Envelope.clear(label, payload), 3, 0x1f), label)))
  })

  it("authenticates the header and the whole label, not only its hint", () => {
    const other = { ...Envelope.label("other"), hint: label.hint }
    assert.notDeepEqual(Envelope.additional(other, parts.header), Envelope.additional(label, parts.header))
    assert.deepStrictEqual(
      [...Envelope.additional(label, parts.header)],
      [...parts.header, ...new TextEncoder().encode("shoal")]
    )
  })

  it("sees an envelope inside an envelope", () => {
    assert.isTrue(Envelope.isNested(Envelope.clear(label, payload)))
    assert.isTrue(Envelope.isNested(Envelope.sealed(parts)))
    assert.isFalse(Envelope.isNested(payload))
  })

  it.prop("is total on arbitrary bytes", [Schema.Uint8Array], ([bytes]) => {
    Envelope.parse(bytes, label)
  })

  it("is total on mutated envelopes, and views nothing outside its input", () => {
    const random = Prng.make(11)
    for (let i = 0; i < 20_000; i++) {
      const bytes = Messages.mutate(random, i % 2 === 0 ? Envelope.sealed(parts) : Envelope.clear(label, payload))
      const parsed = Envelope.parse(bytes, label)
      if (Result.isFailure(parsed)) continue
      const envelope = parsed.success
      const held = envelope._tag === "Clear" ? [envelope.payload] : [envelope.ciphertext, envelope.nonce, envelope.tag]
      for (const view of held) assert.strictEqual(view.buffer, bytes.buffer)
    }
  })
})
