import { assert, describe, it } from "@effect/vitest"
import { fuzz } from "./Fuzz.ts"
import { type Target, targets } from "./Targets.ts"

describe("Fuzzing", () => {
  for (const target of targets) {
    it(`${target.name}: 20,000 mutated inputs are taken or refused with a reason`, () => {
      const { cases, failure, outcomes } = fuzz(target, { count: 20_000, seed: 7 })
      assert.isUndefined(failure)
      assert.strictEqual(cases, 20_000)
      assert.isAbove(Object.keys(outcomes).length, 1)
    }, 60_000)
  }

  it("sees a decoder that throws, and says how to make it throw again", () => {
    const fragile: Target = {
      name: "fragile",
      make: () => ({
        corpus: [Uint8Array.of(1, 2, 3)],
        take: (bytes) => {
          if (bytes[1] === 0xff) throw new Error("it broke")
          return "taken"
        }
      })
    }
    const { cases, failure } = fuzz(fragile, { count: 20_000, seed: 3 })
    assert.include(failure, `seed 3, case ${cases - 1}, `)
  })

  it("sees a decoder that keeps what it was given", () => {
    const kept: Array<Uint8Array> = []
    const hoarder: Target = {
      name: "hoarder",
      make: () => ({
        corpus: [Uint8Array.of(1)],
        take: () => {
          kept.push(new Uint8Array(64 * 1024))
          return "taken"
        }
      })
    }
    assert.include(fuzz(hoarder, { count: 20_000, seed: 3 }).failure, "more in use")
  })
})
