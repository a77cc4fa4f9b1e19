/** What every layer of the store must do. */
import { assert, layer } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Store from "../../src/cluster/Store.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

/** Each test has files of its own. */
export const suiteWith = <E>(name: string, store: Layer.Layer<Store.Store, E>): void => {
  layer(store)(`${name} as a store`, (it) => {
    it.effect("reads what was put in place last, and nothing where nothing was", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        assert.isTrue(Option.isNone(yield* files.read("replace/none")))
        yield* files.replace("replace/a", bytes("one"))
        yield* files.replace("replace/a", bytes("two"))
        assert.deepStrictEqual(yield* files.read("replace/a"), Option.some(bytes("two")))
      }))

    it.effect("appends to what is there", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        yield* files.append("append/log", bytes("a"))
        yield* files.append("append/log", bytes("bc"))
        assert.deepStrictEqual(yield* files.read("append/log"), Option.some(bytes("abc")))
      }))

    it.effect("removes, twice if need be", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        yield* files.replace("remove/a", bytes("x"))
        yield* files.remove("remove/a")
        yield* files.remove("remove/a")
        yield* files.remove("remove/never/there")
        assert.isTrue(Option.isNone(yield* files.read("remove/a")))
      }))

    it.effect("lists by prefix, sorted", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        for (const path of ["list/b", "list/a/2", "list/a/1", "listing"]) yield* files.replace(path, bytes(path))
        assert.deepStrictEqual(yield* files.list("list/"), ["list/a/1", "list/a/2", "list/b"])
        assert.deepStrictEqual(yield* files.list("list/a"), ["list/a/1", "list/a/2"])
        assert.deepStrictEqual(yield* files.list("none"), [])
      }))

    it.effect("refuses paths that leave the folder or hide in it", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        for (
          const path of ["", "/etc/x", "../x", "a/../../x", "a//b", ".lock.1", "a/.b", "a\\b", "a\0", "x".repeat(300)]
        ) {
          const error = yield* Effect.flip(files.replace(path, bytes("x")))
          assert.strictEqual(error.reason, "Path", path)
          assert.strictEqual((yield* Effect.flip(files.read(path))).reason, "Path", path)
        }
      }))

    it.effect("refuses a file over the limit", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        const error = yield* Effect.flip(files.replace("large", new Uint8Array(Store.maxFileBytes + 1)))
        assert.strictEqual(error.reason, "TooLarge")
      }))

    it.effect("keeps one of two concurrent writes whole", () =>
      Effect.gen(function*() {
        const files = yield* Store.Store
        const texts = Array.from({ length: 20 }, (_, i) => String(i).repeat(5000))
        yield* Effect.forEach(texts, (text) => files.replace("race", bytes(text)), { concurrency: "unbounded" })
        const found = new TextDecoder().decode(Option.getOrThrow(yield* files.read("race")))
        assert.include(texts, found)
      }))
  })
}
