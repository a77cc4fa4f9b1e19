import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Reign from "../../src/cluster/Reign.ts"
import * as Member from "../../src/swim/Member.ts"

const reign = (changes: Partial<Reign.Reign> = {}): Reign.Reign => ({
  epoch: 3,
  id: Member.id("node-1"),
  bootId: 77,
  startedAt: 1_700_000_000_000,
  predecessor: { epoch: 2, bootId: 5 },
  kind: "witnessed",
  witnesses: 2,
  ...changes
})

const small = Schema.Literals([0, 1, 2, 255, 65_536, 2 ** 32, 2 ** 48 - 1])
const AnyReign = Schema.Struct({
  epoch: Schema.Literals([1, 2, 256, 2 ** 32, 2 ** 48 - 1]),
  id: Schema.Literals(["a", "ab", "b", "n1", "n10", "ÿ", "名"]),
  bootId: small,
  startedAt: small,
  predecessor: Schema.UndefinedOr(Schema.Struct({ epoch: Schema.Literals([1, 7, 2 ** 40]), bootId: small })),
  kind: Schema.Literals(["granted", "witnessed", "plain"]),
  witnesses: Schema.Literals([0, 1, 3, 255])
})
const toReign = (value: typeof AnyReign.Type): Reign.Reign => ({ ...value, id: Member.id(value.id) })

const compareBytes = (a: Uint8Array, b: Uint8Array): number => {
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (a[i] ?? 0) - (b[i] ?? 0)
    if (difference !== 0) return difference
  }
  return a.length - b.length
}

describe("Reign", () => {
  it.effect.prop("R1: the bytes are ordered like the reigns", [AnyReign, AnyReign], ([x, y]) =>
    Effect.sync(() => {
      const a = toReign(x)
      const b = toReign(y)
      const expected = Math.sign(compareBytes(Reign.toBytes(a), Reign.toBytes(b)))
      assert.strictEqual(Math.sign(Reign.compare(a, b)), expected)
      assert.strictEqual(Reign.equals(a, b), expected === 0)
    }))

  it.effect.prop(
    "R1: the order is antisymmetric and transitive",
    [AnyReign, AnyReign, AnyReign],
    ([x, y, z]) =>
      Effect.sync(() => {
        const [a, b, c] = [toReign(x), toReign(y), toReign(z)]
        assert.strictEqual(Math.sign(Reign.compare(a, b)) + Math.sign(Reign.compare(b, a)), 0)
        if (Reign.compare(a, b) <= 0 && Reign.compare(b, c) <= 0) assert.isAtMost(Reign.compare(a, c), 0)
      })
  )

  it.effect.prop("comes back from its bytes, which fit into a gossip item", [AnyReign], ([x]) =>
    Effect.sync(() => {
      const bytes = Reign.toBytes(toReign(x))
      assert.isAtMost(bytes.length, Reign.maxBytes)
      assert.deepStrictEqual(Reign.fromBytes(bytes), toReign(x))
    }))

  it.effect.prop("reading is total over arbitrary bytes", [Schema.Uint8Array], ([bytes]) =>
    Effect.sync(() => {
      const read = Reign.fromBytes(bytes)
      if (read !== undefined) assert.deepStrictEqual(Reign.toBytes(read), bytes)
    }))

  it("fits into its item with the longest name, and not with a longer one", () => {
    assert.strictEqual(Reign.toBytes(reign({ id: Member.id("x".repeat(Reign.maxIdBytes)) })).length, Reign.maxBytes)
    assert.isFalse(Reign.isValid(reign({ id: Member.id("x".repeat(Reign.maxIdBytes + 1)) })))
  })

  const order: ReadonlyArray<readonly [string, Partial<Reign.Reign>, Partial<Reign.Reign>]> = [
    ["the higher epoch", { epoch: 4, kind: "plain" }, { epoch: 3, kind: "granted" }],
    ["granted before witnessed", { kind: "granted" }, { kind: "witnessed" }],
    ["witnessed before plain", { kind: "witnessed" }, { kind: "plain" }],
    ["the older holder", { startedAt: 1, id: Member.id("z") }, { startedAt: 2, id: Member.id("a") }],
    ["the smaller id", { id: Member.id("a") }, { id: Member.id("b") }],
    ["the shorter of two ids with one beginning", { id: Member.id("a") }, { id: Member.id("ab") }]
  ]
  for (const [name, higher, lower] of order) {
    it(`puts first: ${name}`, () => {
      assert.isTrue(Reign.isLower(reign(lower), reign(higher)))
      assert.isFalse(Reign.isLower(reign(higher), reign(lower)))
    })
  }

  const invalid: ReadonlyArray<readonly [string, Partial<Reign.Reign>]> = [
    ["an epoch of 2^48", { epoch: 2 ** 48 }],
    ["epoch 0", { epoch: 0 }],
    ["a fraction", { epoch: 1.5 }],
    ["a negative start", { startedAt: -1 }],
    ["not a number", { bootId: Number.NaN }],
    ["an empty name", { id: Member.id("") }],
    ["more witnesses than a byte holds", { witnesses: 256 }],
    ["a predecessor out of range", { predecessor: { epoch: 2 ** 48, bootId: 1 } }]
  ]
  for (const [name, changes] of invalid) {
    it(`is not valid with ${name}`, () => assert.isFalse(Reign.isValid(reign(changes))))
  }
})
