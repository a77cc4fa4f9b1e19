import { assert, describe, it } from "@effect/vitest"
import * as Leases from "../../src/cluster/Leases.ts"
import * as Member from "../../src/swim/Member.ts"

const run = (id: string) => ({ id: Member.id(id), bootId: 1 })
const [a, b] = [run("a"), run("b")]
const alive = () => true

describe("Leases", () => {
  it("lets one node start a function and names it to all others", () => {
    const leases = Leases.make()
    assert.deepStrictEqual(Leases.acquire(leases, "f", a, 0, alive), { _tag: "Granted" })
    assert.deepStrictEqual(Leases.acquire(leases, "f", b, 1, alive), { _tag: "Wait", holder: a })
    assert.deepStrictEqual(Leases.acquire(leases, "f", a, 2, alive), { _tag: "Granted" })
    assert.deepStrictEqual(Leases.acquire(leases, "g", b, 3, alive), { _tag: "Granted" })
  })

  it("passes on when the holder did not renew for 300 ms", () => {
    const leases = Leases.make()
    Leases.acquire(leases, "f", a, 0, alive)
    assert.isTrue(Leases.renew(leases, "f", a, 200))
    assert.strictEqual(Leases.acquire(leases, "f", b, 499, alive)._tag, "Wait")
    assert.strictEqual(Leases.acquire(leases, "f", b, 500, alive)._tag, "Granted")
    assert.isFalse(Leases.renew(leases, "f", a, 510))
  })

  it("passes on at once when the holder ended it or is no longer a member", () => {
    const leases = Leases.make()
    Leases.acquire(leases, "f", a, 0, alive)
    Leases.end(leases, "f", b)
    assert.strictEqual(Leases.acquire(leases, "f", b, 1, alive)._tag, "Wait")
    Leases.end(leases, "f", a)
    assert.strictEqual(Leases.acquire(leases, "f", b, 1, alive)._tag, "Granted")
    assert.strictEqual(Leases.acquire(leases, "f", a, 2, (r) => r.id !== "b")._tag, "Granted")
  })

  it("stays bounded: beyond its capacity everybody may start", () => {
    const leases = Leases.make()
    for (let i = 0; i < Leases.maxLeases; i++) Leases.acquire(leases, `f${i}`, a, 0, alive)
    assert.strictEqual(Leases.acquire(leases, "one more", a, 1, alive)._tag, "Granted")
    assert.strictEqual(leases.size, Leases.maxLeases)
    Leases.acquire(leases, "later", a, 301, alive)
    assert.strictEqual(leases.size, 1)
  })
})
