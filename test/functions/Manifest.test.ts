import { assert, describe, it } from "@effect/vitest"
import * as Exit from "effect/Exit"
import * as Schema from "effect/Schema"
import * as Manifest from "../../src/functions/Manifest.ts"

const name = Manifest.FunctionName.make("hello")
const draft: Manifest.Draft = {
  name,
  bundle: "a".repeat(64),
  size: 10,
  limits: Manifest.defaults,
  env: { B: "2", A: "1" }
}

const accepts = (schema: Schema.Decoder<unknown>, value: unknown): boolean =>
  Exit.isSuccess(Schema.decodeUnknownExit(schema)(value))

const refusal = (schema: Schema.Decoder<unknown>, value: unknown): string => {
  const exit = Schema.decodeUnknownExit(schema)(value)
  return Exit.isFailure(exit) ? String(exit.cause) : ""
}

describe("Manifest", () => {
  it("has one text for the same content, in whatever order it was written", () => {
    const { bundle, env, limits, size } = draft
    const other: Manifest.Draft = { env: { A: "1", B: "2" }, limits: { ...limits }, size, bundle, name }
    assert.isTrue("B" in env)
    assert.strictEqual(Manifest.canonical(other), Manifest.canonical(draft))
  })

  it("has another text as soon as anything of it differs", () => {
    const texts = new Set([
      draft,
      { ...draft, name: Manifest.FunctionName.make("hello2") },
      { ...draft, bundle: "b".repeat(64) },
      { ...draft, size: 11 },
      { ...draft, env: { A: "1" } },
      { ...draft, env: { A: "1", B: "3" } },
      { ...draft, limits: { ...Manifest.defaults, memoryMb: 256 } }
    ].map(Manifest.canonical))
    assert.strictEqual(texts.size, 7)
  })

  it("takes names that fit paths and host names, no others", () => {
    for (const good of ["a", "hello", "a1-b2", "x".repeat(63)]) {
      assert.isTrue(accepts(Manifest.FunctionName, good), good)
    }
    for (const bad of ["", "-a", "a-", "A", "a.b", "a/b", "..", "a b", "x".repeat(64), 1, null]) {
      assert.isFalse(accepts(Manifest.FunctionName, bad), String(bad))
    }
  })

  it("says which limit is wrong and what it may be", () => {
    assert.include(refusal(Manifest.Limits, { ...Manifest.defaults, memoryMb: 1 }), "from 16 to 16384")
    assert.include(refusal(Manifest.Limits, { ...Manifest.defaults, memoryMb: 1 }), "memoryMb")
    assert.isFalse(accepts(Manifest.Limits, { ...Manifest.defaults, timeoutMs: Number.NaN }))
    assert.isFalse(accepts(Manifest.Limits, { ...Manifest.defaults, concurrency: 1.5 }))
    assert.isTrue(accepts(Manifest.Limits, Manifest.withDefaults({ instances: 1 })))
  })

  it("bounds the environment", () => {
    assert.isTrue(accepts(Manifest.Environment, { A: "1", _b: "" }))
    assert.isFalse(accepts(Manifest.Environment, { "1A": "1" }))
    assert.isFalse(accepts(Manifest.Environment, { A: "a\0b" }))
    assert.isFalse(accepts(Manifest.Environment, { A: "x".repeat(16 * 1024) }))
    assert.isFalse(
      accepts(Manifest.Environment, Object.fromEntries(Array.from({ length: 65 }, (_, i) => [`A${i}`, ""])))
    )
  })
})
