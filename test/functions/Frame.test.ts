import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Frame from "../../src/functions/Frame.ts"

const Bytes = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })))
const Cuts = Schema.Array(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 40 })))

interface Seen {
  readonly type: Frame.Type
  readonly stream: number
  readonly payload: Array<number>
}

const collect = (chunks: ReadonlyArray<Uint8Array>) => {
  const decoder = new Frame.Decoder()
  const seen: Array<Seen> = []
  for (const chunk of chunks) {
    const broken = decoder.push(chunk, (type, stream, payload) => seen.push({ type, stream, payload: [...payload] }))
    if (broken !== undefined) return { seen, broken }
  }
  return { seen, broken: undefined }
}

const cut = (bytes: Uint8Array, sizes: ReadonlyArray<number>): Array<Uint8Array> => {
  const chunks: Array<Uint8Array> = []
  let at = 0
  for (let index = 0; at < bytes.length; index++) {
    const size = sizes.length === 0 ? bytes.length : sizes[index % sizes.length] ?? 1
    chunks.push(bytes.slice(at, at + size))
    at += size
  }
  return chunks
}

const join = (frames: ReadonlyArray<Uint8Array>): Uint8Array => new Uint8Array(frames.flatMap((frame) => [...frame]))

describe("Frame", () => {
  it.prop("gives back what was encoded, whatever the cuts", { payload: Bytes, cuts: Cuts }, ({ payload, cuts }) => {
    const first = Frame.encode(Frame.Head, 1, new Uint8Array(payload))
    const second = Frame.encode(Frame.Data, Frame.MaxStream, new Uint8Array(payload).reverse())
    const third = Frame.encode(Frame.End, 2 ** 32 + 7)
    const { broken, seen } = collect(cut(join([first, second, third]), cuts))
    assert.strictEqual(broken, undefined)
    assert.deepStrictEqual(seen, [
      { type: Frame.Head, stream: 1, payload: [...payload] },
      { type: Frame.Data, stream: Frame.MaxStream, payload: [...payload].reverse() },
      { type: Frame.End, stream: 2 ** 32 + 7, payload: [] }
    ])
  })

  it.prop("is total on arbitrary bytes", { junk: Bytes, cuts: Cuts }, ({ junk, cuts }) => {
    const { broken, seen } = collect(cut(new Uint8Array(junk), cuts))
    if (junk.length >= Frame.HeaderBytes && junk[0] !== Frame.Version) assert.strictEqual(broken, "frame-version")
    for (const frame of seen) assert.isAtMost(frame.payload.length, Frame.MaxPayload)
  })

  it("refuses an unknown version, an unknown type and a payload above the limit", () => {
    const frame = Frame.encode(Frame.Data, 1)
    assert.strictEqual(collect([Uint8Array.of(9, ...frame.subarray(1))]).broken, "frame-version")
    assert.strictEqual(collect([Uint8Array.of(Frame.Version, 0, ...frame.subarray(2))]).broken, "frame-type")
    assert.strictEqual(collect([Uint8Array.of(Frame.Version, 9, ...frame.subarray(2))]).broken, "frame-type")
    const large = new Uint8Array(Frame.HeaderBytes)
    Frame.writeHeader(large, 0, { type: Frame.Data, stream: 1, length: Frame.MaxPayload + 1 })
    assert.strictEqual(collect([large]).broken, "frame-size")
  })

  it("stops inside a chunk when told to", () => {
    const decoder = new Frame.Decoder()
    let seen = 0
    decoder.push(join([Frame.encode(Frame.Data, 1), Frame.encode(Frame.Data, 2)]), () => {
      seen++
      decoder.stop()
    })
    assert.strictEqual(seen, 1)
  })
})
