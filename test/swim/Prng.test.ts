import { assert, describe, it } from "@effect/vitest"
import * as Prng from "../../src/swim/Prng.ts"

describe("Prng", () => {
  it("gives the same numbers for the same seed, others for another", () => {
    const numbers = (seed: number): Array<number> => {
      const random = Prng.make(seed)
      return Array.from({ length: 20 }, () => Prng.next(random))
    }
    assert.deepStrictEqual(numbers(7), numbers(7))
    assert.notDeepEqual(numbers(7), numbers(8))
    assert.notDeepEqual(numbers(1), numbers(1 + 2 ** 32))
  })

  it("spreads evenly", () => {
    const random = Prng.make(1)
    const counts = Array.from({ length: 10 }, () => 0)
    for (let i = 0; i < 100_000; i++) {
      const place = Prng.below(random, 10)
      counts[place] = (counts[place] ?? 0) + 1
    }
    for (const count of counts) assert.closeTo(count, 10_000, 500)
  })
})
