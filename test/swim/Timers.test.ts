import { assert, describe, it } from "@effect/vitest"
import * as Prng from "../../src/swim/Prng.ts"
import * as Timers from "../../src/swim/Timers.ts"

const drain = (timers: Timers.Timers, now: number): Array<Timers.Timer> => {
  const fired: Array<Timers.Timer> = []
  for (let timer = Timers.due(timers, now); timer !== undefined; timer = Timers.due(timers, now)) fired.push(timer)
  return fired
}

describe("Timers", () => {
  it("fires in order of time, and of setting where times are equal", () => {
    const random = Prng.make(1)
    const timers = Timers.make()
    for (let i = 0; i < 2000; i++) Timers.set(timers, Prng.below(random, 100), 0, i)
    const fired = drain(timers, 1000)
    assert.strictEqual(fired.length, 2000)
    for (const [i, timer] of fired.entries()) {
      const previous = fired[i - 1]
      if (previous === undefined) continue
      assert.isTrue(previous.at < timer.at || (previous.at === timer.at && previous.order < timer.order))
    }
  })

  it("fires nothing before its time", () => {
    const timers = Timers.make()
    Timers.set(timers, 10, 1)
    Timers.set(timers, 20, 2)
    assert.deepStrictEqual(drain(timers, 9).length, 0)
    assert.deepStrictEqual(drain(timers, 10).map(({ kind }) => kind), [1])
    assert.strictEqual(Timers.first(timers), 20)
  })

  it("moves all deadlines at once", () => {
    const timers = Timers.make()
    for (const at of [5, 1, 3]) Timers.set(timers, at, at)
    Timers.shift(timers, 100)
    assert.strictEqual(Timers.first(timers), 101)
    assert.deepStrictEqual(drain(timers, 200).map(({ kind }) => kind), [1, 3, 5])
    assert.strictEqual(Timers.first(timers), Infinity)
  })
})
