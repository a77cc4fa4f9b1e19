import { assert, describe, it } from "@effect/vitest"
import * as Registrations from "../../src/cluster/Registrations.ts"
import * as Member from "../../src/swim/Member.ts"

const run = (id: string) => ({ id: Member.id(id), bootId: 1 })
const master = run("m")

const versions = (entries: ReadonlyArray<{ readonly version: string }>): Array<string> => entries.map((e) => e.version)

describe("Registrations", () => {
  it("tells every change once, with a counter that grows, in one call at a time", () => {
    const own = Registrations.make(run("a"))
    assert.strictEqual(Registrations.change(own, "f", true, 0)?.counter, 1)
    assert.isUndefined(Registrations.change(own, "f", true, 0))
    assert.deepStrictEqual(versions(Registrations.take(own, master, 0)), ["f"])
    assert.strictEqual(Registrations.change(own, "g", true, 1)?.counter, 2)
    assert.deepStrictEqual(Registrations.take(own, master, 1), [])
    Registrations.answered(own, master, 1, 2)
    assert.deepStrictEqual(versions(Registrations.take(own, master, 2)), ["g"])
    Registrations.answered(own, master, 2, 3)
    assert.strictEqual(own.sendAt, Number.POSITIVE_INFINITY)
  })

  it("repeats what was not acknowledged, with growing pauses of at most a second", () => {
    const own = Registrations.make(run("a"))
    Registrations.change(own, "f", true, 0)
    let now = 0
    const pauses: Array<number> = []
    for (let i = 0; i < 6; i++) {
      assert.deepStrictEqual(versions(Registrations.take(own, master, now)), ["f"])
      Registrations.answered(own, master, undefined, now)
      pauses.push(own.sendAt - now)
      now = own.sendAt
    }
    assert.deepStrictEqual(pauses, [100, 200, 400, 800, 1000, 1000])
  })

  it("does not take a change for acknowledged that was made while the call was under way", () => {
    const own = Registrations.make(run("a"))
    Registrations.change(own, "f", true, 0)
    Registrations.take(own, master, 0)
    Registrations.change(own, "f", false, 1)
    Registrations.answered(own, master, 1, 2)
    assert.deepStrictEqual(Registrations.take(own, master, 2).map((e) => e.live), [false])
  })

  it("tells everything again on a new reign, withdrawals too, and ignores the answer of the former master", () => {
    const own = Registrations.make(run("a"))
    for (const version of ["f", "g"]) Registrations.change(own, version, true, 0)
    Registrations.change(own, "g", false, 0)
    Registrations.take(own, master, 0)
    Registrations.renew(own, 300)
    Registrations.answered(own, master, 1, 1)
    assert.deepStrictEqual(Registrations.take(own, run("new"), 299), [])
    assert.deepStrictEqual(versions(Registrations.take(own, run("new"), 300)), ["f", "g"])
  })

  it("tells everything again when the master counts differently, at most every 5 s", () => {
    const own = Registrations.make(run("a"))
    Registrations.change(own, "f", true, 0)
    Registrations.take(own, master, 0)
    Registrations.answered(own, master, 0, 1)
    assert.deepStrictEqual(versions(Registrations.take(own, master, 1)), ["f"])
    Registrations.answered(own, master, 0, 2)
    assert.deepStrictEqual(Registrations.take(own, master, 100), [])
  })

  it("sends at most a batch at once and keeps a bounded number of withdrawals", () => {
    const own = Registrations.make(run("a"))
    for (let i = 0; i < 3000; i++) Registrations.change(own, `f${i}`, true, 0)
    const seen = new Set<string>()
    for (let call = 0; call < 3; call++) {
      const entries = Registrations.take(own, master, call)
      assert.strictEqual(entries.length, Registrations.maxBatch)
      for (const entry of entries) seen.add(entry.version)
      Registrations.answered(own, master, seen.size, call)
    }
    assert.strictEqual(seen.size, 3000)
    for (let i = 0; i < 3000; i++) Registrations.change(own, `f${i}`, false, 10)
    for (let call = 0; call < 3; call++) {
      Registrations.take(own, master, 10 + call)
      Registrations.answered(own, master, 0, 10 + call)
    }
    assert.isAtMost(own.own.size, Registrations.maxWithdrawn)
  })
})
