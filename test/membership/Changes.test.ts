import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { type Change, Changes, type Delta } from "../../src/membership/Changes.ts"

const item = (n: number): Delta => ({ _tag: "ItemChanged", key: "k", value: Uint8Array.of(n) })

/** A source whose state is the number it last published. */
const source = (capacity: number) => {
  let state = 0
  const changes = new Changes({
    capacity,
    snapshot: () => ({ _tag: "Snapshot", members: [], items: [{ key: "k", value: Uint8Array.of(state) }] })
  })
  return {
    changes,
    publish: (n: number) => {
      state = n
      changes.publish(item(n))
    }
  }
}

const show = (change: Change): string =>
  change._tag === "Snapshot"
    ? `snapshot ${change.items[0]?.value[0]}`
    : change._tag === "ItemChanged"
    ? `${change.value[0]}`
    : change._tag

describe("Changes", () => {
  it.effect("begins with a snapshot and then gives every change", () =>
    Effect.gen(function*() {
      const { changes, publish } = source(16)
      publish(1)
      const seen: Array<string> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(changes.stream, (change) => Effect.sync(() => seen.push(show(change)))),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      publish(2)
      publish(3)
      yield* Effect.yieldNow
      changes.end(Cause.fail(Cause.Done()))
      yield* Fiber.join(reading)
      assert.deepStrictEqual(seen, ["snapshot 1", "2", "3"])
    }))

  it.effect("resynchronises a slow reader with a snapshot that holds what it missed", () =>
    Effect.gen(function*() {
      const { changes, publish } = source(2)
      const gate = yield* Queue.unbounded<void>()
      const seen: Array<string> = []
      const reading = yield* Effect.forkChild(
        Stream.runForEach(changes.stream, (change) =>
          Effect.sync(() => seen.push(show(change))).pipe(Effect.andThen(Queue.take(gate)))),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      for (let n = 1; n <= 5; n++) {
        publish(n)
      }
      for (let i = 0; i < 10; i++) {
        yield* Queue.offer(gate, undefined)
        yield* Effect.yieldNow
      }
      publish(6)
      for (let i = 0; i < 10; i++) {
        yield* Effect.yieldNow
      }
      assert.deepStrictEqual(seen, ["snapshot 0", "1", "2", "snapshot 5", "6"])
      assert.strictEqual(changes.resyncs, 1)
      yield* Fiber.interrupt(reading)
    }))

  it.effect("gives each reader its own pace", () =>
    Effect.gen(function*() {
      const { changes, publish } = source(1)
      const slow = yield* Effect.forkChild(Stream.runForEach(changes.stream, () => Effect.never), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      const seen: Array<string> = []
      const fast = yield* Effect.forkChild(
        Stream.runForEach(changes.stream, (change) => Effect.sync(() => seen.push(show(change)))),
        { startImmediately: true }
      )
      for (let n = 1; n <= 4; n++) {
        yield* Effect.yieldNow
        publish(n)
      }
      yield* Effect.yieldNow
      assert.deepStrictEqual(seen, ["snapshot 0", "1", "2", "3", "4"])
      yield* Fiber.interrupt(slow)
      yield* Fiber.interrupt(fast)
    }))

  it.effect("ends with the cause of a death, also for later readers", () =>
    Effect.gen(function*() {
      const { changes } = source(4)
      changes.end(Cause.die("gone"))
      const exit = yield* Effect.exit(Stream.runDrain(changes.stream))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    }))
})
