import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Store from "../../src/cluster/Store.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as NodeKeyring from "../../src/node/NodeKeyring.ts"

const secret = (fill: number) => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))

/** Opens the ring of a folder that outlives it. */
const open = (files: Map<string, Uint8Array>, ...fills: ReadonlyArray<number>) =>
  NodeKeyring.make(fills.map(secret)).pipe(
    Effect.provide(Layer.merge(NodeCipher.layer, Layer.sync(Store.Store, () => Store.makeMemory(files))))
  )

describe("The keyring of a node", () => {
  it.effect("is none without a key, and writes nothing then", () =>
    Effect.gen(function*() {
      const files = new Map<string, Uint8Array>()
      assert.isUndefined(yield* open(files))
      assert.strictEqual(files.size, 0)
    }))

  it.effect("is found again by the next run, also when that is given no key", () =>
    Effect.gen(function*() {
      const files = new Map<string, Uint8Array>()
      const first = (yield* open(files, 1)) ?? assert.fail("no ring")
      const { id } = yield* first.install(secret(2))
      yield* first.use(id)
      const again = (yield* open(files)) ?? assert.fail("no ring")
      assert.deepStrictEqual(yield* again.list, yield* first.list)
    }))

  it.effect("changes nothing when the disk refuses", () =>
    Effect.gen(function*() {
      const store = Store.makeMemory(new Map())
      let full = false
      const failing = Store.Store.of({
        ...store,
        replace: (path, bytes) =>
          full
            ? new Store.StoreError({ operation: "replace", path, reason: "Full", detail: "no space" })
            : store.replace(path, bytes)
      })
      const ring = yield* NodeKeyring.make([secret(1)]).pipe(
        Effect.provide(Layer.merge(NodeCipher.layer, Layer.succeed(Store.Store, failing)))
      )
      full = true
      if (ring === undefined) return assert.fail("no ring")
      const error = yield* Effect.flip(ring.install(secret(2)))
      assert.strictEqual(error.reason, "not-saved")
      assert.lengthOf(ring.ring.keys(), 1)
    }))

  it.effect("stops the start when its file is torn or altered, and names it", () =>
    Effect.gen(function*() {
      const files = new Map<string, Uint8Array>()
      yield* open(files, 1)
      const whole = files.get(NodeKeyring.path) ?? assert.fail("not written")
      const flipped = whole.slice()
      flipped[30] = (flipped[30] ?? 0) ^ 1
      for (const bytes of [whole.subarray(0, whole.length - 1), flipped, new Uint8Array(0), Store.seal(whole)]) {
        files.set(NodeKeyring.path, bytes)
        const exit = yield* Effect.exit(open(files, 1))
        assert.isTrue(Exit.isFailure(exit))
        const error = yield* Effect.flip(open(files, 1))
        assert.include(error.message, NodeKeyring.path)
      }
    }))
})
