import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import * as Alarm from "../../src/membership/Alarm.ts"

const start = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const scope = yield* Effect.scope
  const rings: Array<number> = []
  const now = () => Alarm.monotonicMillis(clock)
  const alarm = Alarm.make({ clock, scope, ring: () => rings.push(now()) })
  return { alarm, rings, from: now() }
})

describe("Alarm", () => {
  it.effect("rings at the armed moment, never before it", () =>
    Effect.gen(function*() {
      const { alarm, from, rings } = yield* start
      yield* alarm.arm(from + 99.5)
      yield* TestClock.adjust("99 millis")
      assert.deepStrictEqual(rings, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(rings, [from + 100])
    }))

  it.effect("moves to an earlier moment and rings once", () =>
    Effect.gen(function*() {
      const { alarm, from, rings } = yield* start
      yield* alarm.arm(from + 1000)
      yield* alarm.arm(from + 10)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(rings, [from + 10])
    }))

  it.effect("keeps the earlier sleeper when a later moment is armed: the owner arms again", () =>
    Effect.gen(function*() {
      const { alarm, from, rings } = yield* start
      yield* alarm.arm(from + 10)
      yield* alarm.arm(from + 50)
      yield* TestClock.adjust("10 millis")
      assert.strictEqual(rings.length, 1)
      yield* alarm.arm(from + 50)
      yield* TestClock.adjust("40 millis")
      assert.strictEqual(rings.length, 2)
    }))

  it.effect("does not ring when nothing is armed", () =>
    Effect.gen(function*() {
      const { alarm, rings } = yield* start
      yield* alarm.arm(Infinity)
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(rings, [])
    }))
})
