import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Reign from "../../src/cluster/Reign.ts"
import * as ReignStore from "../../src/cluster/ReignStore.ts"
import * as Store from "../../src/cluster/Store.ts"
import * as Member from "../../src/swim/Member.ts"

const reign = (epoch: number): Reign.Reign => ({
  epoch,
  id: Member.id("a"),
  bootId: 1,
  startedAt: 1,
  predecessor: undefined,
  kind: "plain",
  witnesses: 0
})

const failing = Layer.succeed(
  Store.Store,
  Store.Store.of({
    read: () => Effect.succeedNone,
    replace: (path) => new Store.StoreError({ operation: "replace", path, reason: "Full", detail: "no space" }),
    append: () => Effect.void,
    remove: () => Effect.void,
    list: () => Effect.succeed([]),
    location: (path) => path
  })
)

describe("ReignStore", () => {
  it.effect("R2: gives back after a restart the highest floor and reign that were saved, in whatever order", () =>
    Effect.gen(function*() {
      const first = yield* ReignStore.make
      assert.deepStrictEqual(first.saved, ReignStore.none)
      const saves = [
        { floor: 5, reign: reign(4) },
        { floor: 3, reign: reign(3) },
        { floor: 4, reign: undefined }
      ]
      const done = yield* Effect.forEach(saves, first.save, { concurrency: "unbounded" })
      assert.deepStrictEqual(done, [true, true, true])
      const second = yield* ReignStore.make
      assert.deepStrictEqual(second.saved, { floor: 5, reign: reign(4) })
    }).pipe(Effect.provide(Store.layerMemory)))

  it.effect("ignores a file that is damaged", () =>
    Effect.gen(function*() {
      const store = yield* Store.Store
      yield* store.replace(ReignStore.path, ReignStore.toBytes({ floor: 9, reign: reign(9) }).subarray(0, 20))
      const again = yield* ReignStore.make
      assert.deepStrictEqual(again.saved, ReignStore.none)
      assert.isTrue(yield* again.save({ floor: 2, reign: undefined }))
      const bytes = yield* store.read(ReignStore.path)
      assert.deepStrictEqual(Option.map(bytes, ReignStore.fromBytes), Option.some({ floor: 2, reign: undefined }))
    }).pipe(Effect.provide(Store.layerMemory)))

  it.effect("says so when the disk does not take the epoch", () =>
    Effect.gen(function*() {
      const store = yield* ReignStore.make
      assert.isFalse(yield* store.save({ floor: 2, reign: undefined }))
    }).pipe(Effect.provide(failing)))
})
