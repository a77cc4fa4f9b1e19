import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Store from "../../src/cluster/Store.ts"
import * as SavedMembers from "../../src/node/SavedMembers.ts"
import * as Saved from "../../src/wire/Saved.ts"
import { Cluster } from "../membership/Cluster.ts"
import { alive } from "../swim/Machine.ts"

const bytes = Saved.encode({ savedAt: 1, states: [{ ...alive(1), _tag: "State", status: "alive", age: 5 }] })

const withFile = (file: Uint8Array | undefined) => {
  const files = new Map<string, Uint8Array>(file === undefined ? [] : [["membership/members", file]])
  return Effect.runSync(Effect.provideService(SavedMembers.load, Store.Store, Store.makeMemory(files)))
}

describe("SavedMembers", () => {
  it("gives back what was saved, and nothing where a file is missing, torn or something else", () => {
    assert.deepStrictEqual(withFile(Store.seal(bytes)), { bytes, living: true })
    assert.isUndefined(withFile(undefined))
    assert.isUndefined(withFile(Store.seal(bytes).subarray(0, 40)))
    assert.isUndefined(withFile(Store.seal(Uint8Array.of(1, 2, 3))))
  })

  it("saves every thirty seconds", () => {
    const cluster = new Cluster()
    const node = cluster.start("n1", "10.0.0.1")
    const files = new Map<string, Uint8Array>()
    cluster.world.fork(Effect.provideService(SavedMembers.keep(node.service), Store.Store, Store.makeMemory(files)))
    cluster.world.runFor(29_000)
    assert.strictEqual(files.size, 0)
    cluster.start("n2", "10.0.0.2", { join: ["10.0.0.1:7946"] })
    cluster.world.runFor(2000)
    assert.strictEqual(withFile(files.get("membership/members"))?.living, true)
  })
})
