import { assert, describe, it } from "@effect/vitest"
import * as Rendezvous from "../../src/cluster/Rendezvous.ts"

const nodes = (n: number) => Array.from({ length: n }, (_, i) => ({ id: `n${i + 1}` }))
const keys = Array.from({ length: 4000 }, (_, i) => `function-${i}`)

describe("Rendezvous", () => {
  it("picks the same node whatever the order of the candidates", () => {
    for (const key of keys.slice(0, 100)) {
      assert.deepStrictEqual(Rendezvous.pick(key, nodes(5)), Rendezvous.pick(key, nodes(5).reverse()))
    }
    assert.isUndefined(Rendezvous.pick("f", []))
  })

  it("spreads keys evenly over a few short names", () => {
    const counts = new Map<string, number>()
    for (const key of keys) {
      const id = Rendezvous.pick(key, nodes(4))?.id ?? ""
      counts.set(id, (counts.get(id) ?? 0) + 1)
    }
    for (const count of counts.values()) assert.isBelow(Math.abs(count - 1000), 120)
  })

  it("moves only the keys of a node that went", () => {
    const before = nodes(5)
    const after = before.filter((node) => node.id !== "n3")
    for (const key of keys) {
      const home = Rendezvous.pick(key, before)
      if (home?.id !== "n3") assert.deepStrictEqual(Rendezvous.pick(key, after), home)
      else assert.deepStrictEqual(Rendezvous.pick(key, after), Rendezvous.order(key, before, 2)[1])
    }
  })
})
