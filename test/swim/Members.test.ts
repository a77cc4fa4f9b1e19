import { assert, describe, it } from "@effect/vitest"
import * as Identities from "../../src/swim/Identities.ts"
import * as Member from "../../src/swim/Member.ts"
import * as Members from "../../src/swim/Members.ts"
import * as Prng from "../../src/swim/Prng.ts"
import { address, id } from "./Machine.ts"

const identity = (index: number, bootId = index): Member.Identity => ({
  id: id(index),
  bootId,
  startedAt: 5,
  address: address(index),
  meta: new Uint8Array(0)
})

const put = (
  table: Members.Members,
  random: Prng.Prng,
  index: number,
  status: Member.Status = "alive",
  incarnation = 0
): number => Members.put(table, { identity: identity(index), incarnation, status, since: 0 }, random)

describe("Members", () => {
  it("takes at most 24 bytes per entry", () => {
    const table = Members.make({ now: 0, capacity: 1000 })
    const columns = [table.record, table.incarnation, table.since, table.status, table.order]
    assert.isAtMost(columns.reduce((sum, column) => sum + column.byteLength, 0) / 1000, 24)
    assert.isAtMost(Members.bytesPerEntry, 24)
  })

  it("gives back what was put", () => {
    const table = Members.make({ now: 0 })
    const random = Prng.make(1)
    for (let i = 0; i < 100; i++) put(table, random, i, Member.statusOf(i), i)
    for (let i = 0; i < 100; i++) {
      const row = Members.find(table, id(i))
      assert.deepStrictEqual(Members.member(table, row), { ...identity(i), incarnation: i, status: Member.statusOf(i) })
    }
    assert.strictEqual(Members.find(table, id(1000)), -1)
    assert.deepStrictEqual(table.counts, [25, 25, 25, 25])
    assert.strictEqual(table.active, 50)
  })

  it("refuses as a defect to lower an entry (M1)", () => {
    const table = Members.make({ now: 0 })
    const random = Prng.make(1)
    put(table, random, 1, "dead", 3)
    assert.throws(() => put(table, random, 1, "suspect", 3), /M1/)
    assert.throws(() => put(table, random, 1, "left", 2), /M1/)
    put(table, random, 1, "left", 3)
    put(table, random, 1, "alive", 4)
    Members.put(table, { identity: identity(1, 77), incarnation: 0, status: "alive", since: 0 }, random)
  })

  it("probes every continuously active member at least once in 2N-1 periods, whatever comes and goes (M3)", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const random = Prng.make(seed)
      const table = Members.make({ now: 0 })
      const incarnations = new Map<number, number>()
      const waiting = new Map<number, number>()
      const change = (index: number, status: Member.Status): void => {
        const incarnation = (incarnations.get(index) ?? 0) + 1
        incarnations.set(index, incarnation)
        const row = put(table, random, index, status, incarnation)
        if (Member.isActive(status)) {
          if (!waiting.has(row)) waiting.set(row, 0)
        } else waiting.delete(row)
      }
      for (let i = 0; i < 20; i++) change(i, "alive")
      let largest = 20
      for (let period = 0; period < 2000; period++) {
        if (Prng.below(random, 3) === 0) change(Prng.below(random, 30), Prng.below(random, 2) === 0 ? "alive" : "dead")
        if (Prng.below(random, 50) === 0) {
          const row = Members.find(table, id(Prng.below(random, 30)))
          if (row >= 0) {
            Members.remove(table, row)
            waiting.delete(row)
          }
        }
        largest = Math.max(largest, table.active)
        const probed = Members.nextProbe(table, random)
        for (const [row, periods] of waiting) {
          waiting.set(row, row === probed ? 0 : periods + 1)
          if (periods >= 2 * largest - 1) assert.fail(`seed ${seed}: row ${row} waited ${periods} periods`)
        }
      }
    }
  })

  it("never makes a round longer than there were members at once, though the same ones go and come back (M3)", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const random = Prng.make(seed)
      const table = Members.make({ now: 0 })
      for (let i = 0; i < 6; i++) put(table, random, i)
      const waited = new Map<number, number>()
      for (let period = 0; period < 300; period++) {
        // Number 0 stays, one of the others is away for a moment.
        const index = 1 + Prng.below(random, 5)
        put(table, random, index, "dead", 2 * period + 1)
        put(table, random, index, "alive", 2 * period + 2)
        const probed = Members.nextProbe(table, random)
        const row = Members.find(table, id(0))
        const periods = (waited.get(row) ?? 0) + 1
        waited.set(row, row === probed ? 0 : periods)
        assert.isAtMost(periods, 11, `seed ${seed}`)
      }
    }
  })

  it("samples distinct active rows that are accepted", () => {
    const table = Members.make({ now: 0 })
    const random = Prng.make(3)
    for (let i = 0; i < 40; i++) put(table, random, i, i % 4 === 0 ? "dead" : "alive")
    for (const count of [1, 3, 20, 100]) {
      const into: Array<number> = []
      Members.sample(table, random, { count, accept: (row) => row % 2 === 1, into })
      assert.strictEqual(new Set(into).size, into.length)
      assert.strictEqual(into.length, Math.min(count, 20))
      assert.isTrue(into.every((row) => row % 2 === 1 && Members.isActive(table, row)))
    }
  })

  it("keeps a digest that depends on the entries only, suspicions aside", () => {
    const digest = (order: ReadonlyArray<number>, suspect: boolean): number => {
      const table = Members.make({ now: 0 })
      const random = Prng.make(order[0] ?? 0)
      for (const index of order) put(table, random, index)
      if (suspect) put(table, random, 1, "suspect")
      put(table, random, 9)
      Members.remove(table, Members.find(table, id(9)))
      return table.sum
    }
    assert.strictEqual(digest([1, 2, 3], false), digest([3, 1, 2], true))
    assert.notStrictEqual(digest([1, 2, 3], false), digest([1, 2, 4], false))
  })

  it("shares identities between tables and forgets them with the last entry", () => {
    const identities = Identities.make()
    const random = Prng.make(1)
    const a = Members.make({ now: 0, identities })
    const b = Members.make({ now: 0, identities })
    put(a, random, 1)
    put(b, random, 1)
    assert.strictEqual(identities.entries.length, 2)
    Members.remove(a, Members.find(a, id(1)))
    assert.isTrue(identities.rows.has(id(1)))
    Members.remove(b, Members.find(b, id(1)))
    assert.isFalse(identities.rows.has(id(1)))
    put(a, random, 2)
    assert.strictEqual(identities.records.length, 1)
  })
})
