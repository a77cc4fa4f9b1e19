import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as RoutingTable from "../../src/cluster/RoutingTable.ts"
import * as Member from "../../src/swim/Member.ts"

const Entries = Schema.Array(Schema.Struct({
  version: Schema.Literals(["f", "g"]),
  node: Schema.Literals(["a", "b"]),
  bootId: Schema.Literals([1, 2]),
  counter: Schema.Literals([1, 2, 3]),
  live: Schema.Boolean
}))
const toEntries = (list: typeof Entries.Type): Array<RoutingTable.Entry> =>
  list.map((entry) => ({ ...entry, node: Member.id(entry.node) }))

const tableOf = (...lists: ReadonlyArray<ReadonlyArray<RoutingTable.Entry>>): RoutingTable.RoutingTable => {
  const table = RoutingTable.make()
  for (const list of lists) RoutingTable.mergeAll(table, list)
  return table
}

const contents = (table: RoutingTable.RoutingTable): Array<string> =>
  RoutingTable.entries(table).map((e) => `${e.version} ${e.node} ${e.bootId} ${e.counter} ${e.live}`).sort()

const entry = (version: string, node: string, counter = 1, live = true, bootId = 1): RoutingTable.Entry => ({
  version,
  node: Member.id(node),
  bootId,
  counter,
  live
})

const all = () => true

describe("RoutingTable", () => {
  it.effect.prop("merging is commutative", [Entries, Entries], ([x, y]) =>
    Effect.sync(() => {
      const [a, b] = [toEntries(x), toEntries(y)]
      assert.deepStrictEqual(contents(tableOf(a, b)), contents(tableOf(b, a)))
    }))

  it.effect.prop("merging is associative", [Entries, Entries, Entries], ([x, y, z]) =>
    Effect.sync(() => {
      const [a, b, c] = [toEntries(x), toEntries(y), toEntries(z)]
      const left = tableOf(RoutingTable.entries(tableOf(a, b)), c)
      const right = tableOf(a, RoutingTable.entries(tableOf(b, c)))
      assert.deepStrictEqual(contents(left), contents(right))
    }))

  it.effect.prop("merging is idempotent and reports only what changed", [Entries], ([x]) =>
    Effect.sync(() => {
      const a = toEntries(x)
      const table = tableOf(a)
      const before = contents(table)
      assert.deepStrictEqual(RoutingTable.mergeAll(table, a), [])
      assert.deepStrictEqual(contents(table), before)
    }))

  it.effect.prop(
    "R5: the digest is equal exactly when the contents are",
    [Entries, Entries],
    ([x, y]) =>
      Effect.sync(() => {
        const [a, b] = [tableOf(toEntries(x)), tableOf(toEntries(y))]
        const equal = JSON.stringify(contents(a)) === JSON.stringify(contents(b))
        assert.strictEqual(
          JSON.stringify(RoutingTable.digest(a)) === JSON.stringify(RoutingTable.digest(b)),
          equal
        )
      })
  )

  it.effect.prop(
    "the index by version follows every merge and erasure",
    [Entries, Entries],
    ([x, y]) =>
      Effect.sync(() => {
        const table = tableOf(toEntries(x), toEntries(y))
        RoutingTable.erase(table, { id: Member.id("a"), bootId: 1 })
        for (const version of ["f", "g"]) {
          const expected = RoutingTable.entries(table).filter((e) => e.live && e.version === version)
            .map((e) => `${e.node} ${e.bootId}`).sort()
          const found = RoutingTable.nodes(table, version, all).map((run) => `${run.id} ${run.bootId}`).sort()
          assert.deepStrictEqual(found, expected)
        }
        assert.strictEqual(RoutingTable.digest(table).size, RoutingTable.entries(table).length)
      })
  )

  it("leaves out the runs that the reader does not see alive, without forgetting them", () => {
    const table = tableOf([entry("f", "a"), entry("f", "b")])
    const onlyB = (run: RoutingTable.Run) => run.id === "b"
    assert.deepStrictEqual(RoutingTable.nodes(table, "f", onlyB), [{ id: Member.id("b"), bootId: 1 }])
    assert.strictEqual(RoutingTable.count(table, onlyB), 1)
    assert.strictEqual(RoutingTable.nodes(table, "f", all).length, 2)
  })

  it("does not bring back a withdrawn entry when its registration arrives late", () => {
    const table = tableOf([entry("f", "a", 2, false)], [entry("f", "a", 1, true)])
    assert.deepStrictEqual(RoutingTable.nodes(table, "f", all), [])
  })

  it("refuses entries of a writer beyond its share", () => {
    const table = RoutingTable.make()
    for (let i = 0; i < RoutingTable.maxPerWriter; i++) RoutingTable.merge(table, entry(`f${i}`, "a", i + 1))
    assert.isFalse(RoutingTable.merge(table, entry("one more", "a", 1e6)))
    assert.isTrue(RoutingTable.merge(table, entry("f0", "a", 1e6, false)))
    assert.isTrue(RoutingTable.merge(table, entry("one more", "b")))
  })
})
