import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Role from "../../src/cluster/Role.ts"
import * as Member from "../../src/swim/Member.ts"

const node = (id: string, startedAt: number, eligible = true): Role.Ranked => ({
  id: Member.id(id),
  bootId: startedAt + 1,
  startedAt,
  eligible
})

const ids = (nodes: ReadonlyArray<Role.Ranked>): Array<string> => nodes.map((n) => n.id)

const five = [node("e", 5), node("a", 1), node("d", 4), node("c", 3), node("b", 2)]
const reignOf = (n: Role.Ranked) => ({ id: n.id, bootId: n.bootId })

const Members = Schema.Array(Schema.Struct({
  n: Schema.Literals([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
  startedAt: Schema.Literals([1, 2, 3, 4]),
  eligible: Schema.Boolean
}))
const toNodes = (list: typeof Members.Type): Array<Role.Ranked> => {
  const seen = new Map(list.map((m) => [m.n, node(`n${m.n}`, m.startedAt, m.eligible)]))
  return [...seen.values()]
}

describe("Role", () => {
  it("has min(n - 1, round(sqrt n)) replicas", () => {
    const table = [[0, 0], [1, 0], [2, 1], [3, 2], [4, 2], [5, 2], [6, 2], [7, 3], [10, 3], [13, 4], [100, 10]] as const
    for (const [n, k] of table) assert.strictEqual(Role.replicaCount(n), k, `of ${n}`)
  })

  it("ranks the eligible first, then the older, then the smaller id", () => {
    const members = [node("canary", 0, false), node("b", 1), node("a", 1), node("c", 0)]
    assert.deepStrictEqual(ids(members.toSorted(Role.compareRank)), ["c", "a", "b", "canary"])
  })

  it("makes the holder of the reign master whatever its rank, and the next in rank replicas", () => {
    const { master, replicas, workers } = Role.assign(five, reignOf(node("d", 4)))
    assert.strictEqual(master?.id, "d")
    assert.deepStrictEqual(ids(replicas), ["a", "b"])
    assert.deepStrictEqual(ids(workers), ["c", "e"])
  })

  it("knows no master while the holder's run is not among the members", () => {
    assert.isUndefined(Role.assign(five, { id: Member.id("a"), bootId: 999 }).master)
  })

  it.effect.prop(
    "does not depend on the order of the members",
    [Members, Schema.Literals([1, 2, 3])],
    ([list, by]) =>
      Effect.sync(() => {
        const members = toNodes(list)
        const turned = [...members.slice(by), ...members.slice(0, by)].reverse()
        const reign = members[0] === undefined ? undefined : reignOf(members[0])
        assert.deepStrictEqual(Role.assign(members, reign), Role.assign(turned, reign))
      })
  )

  it.effect.prop("gives every member exactly one role", [Members], ([list]) =>
    Effect.sync(() => {
      const members = toNodes(list)
      const reign = members[0] === undefined ? undefined : reignOf(members[0])
      const { master, replicas, workers } = Role.assign(members, reign)
      const all = [...(master === undefined ? [] : [master]), ...replicas, ...workers]
      assert.deepStrictEqual(ids(all).sort(), ids(members).sort())
    }))

  it.effect.prop("keeps master and replicas when a younger member joins", [Members], ([list]) =>
    Effect.sync(() => {
      const members = toNodes(list)
      const first = members.toSorted(Role.compareRank)[0]
      if (first === undefined) return
      const before = Role.assign(members, reignOf(first))
      const after = Role.assign([...members, node("young", 99, false)], reignOf(first))
      assert.deepStrictEqual(after.master, before.master)
      assert.deepStrictEqual(ids(after.replicas).slice(0, before.replicas.length), ids(before.replicas))
    }))

  it("takes the oldest others as witnesses, at least three where there are", () => {
    assert.deepStrictEqual(ids(Role.witnesses(five, Member.id("a"))), ["b", "c", "d"])
    assert.deepStrictEqual(ids(Role.witnesses(five.slice(0, 2), Member.id("a"))), ["e"])
    assert.deepStrictEqual(Role.majority(3), 2)
    assert.deepStrictEqual(Role.majority(4), 3)
  })

  it("grows at once and shrinks after 30 s of fewer members", () => {
    let size = Role.resize(Role.initialSize, 10, 0)
    assert.strictEqual(size.k, 3)
    size = Role.resize(size, 4, 1000)
    assert.strictEqual(size.k, 3)
    size = Role.resize(size, 4, 30_999)
    assert.strictEqual(size.k, 3)
    assert.strictEqual(Role.resize(size, 4, 31_000).k, 2)
    // members that came back in between start the time anew
    size = Role.resize(Role.resize(size, 10, 20_000), 4, 30_000)
    assert.strictEqual(Role.resize(size, 4, 31_000).k, 3)
  })
})
