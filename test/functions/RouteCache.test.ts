import { assert, describe, it } from "@effect/vitest"
import * as RouteCache from "../../src/functions/RouteCache.ts"

const node = (id: string, bootId = 1) => ({ id, bootId })
const make = (capacity = 10) => RouteCache.make({ capacity, freshMs: 1000 })
const all = { load: () => 0, tried: [] }

describe("RouteCache", () => {
  it("chooses among the usable nodes the one with less to do", () => {
    const cache = make()
    RouteCache.set(cache, "v", [node("a"), node("b")], 0)
    const load = ({ id }: { readonly id: string }) => id === "a" ? 5 : 1
    for (let i = 0; i < 4; i++) assert.strictEqual(RouteCache.pick(cache, "v", { load, tried: [] })?.id, "b")
  })

  it("spreads calls over equally loaded nodes", () => {
    const cache = make()
    RouteCache.set(cache, "v", ["a", "b", "c"].map((id) => node(id)), 0)
    const picked = Array.from({ length: 30 }, () => RouteCache.pick(cache, "v", all)?.id)
    for (const id of ["a", "b", "c"]) assert.strictEqual(picked.filter((each) => each === id).length, 10)
  })

  it("leaves out nodes that were tried or cannot be used", () => {
    const cache = make()
    RouteCache.set(cache, "v", [node("a"), node("b"), node("c")], 0)
    const load = ({ id }: { readonly id: string }) => id === "b" ? -1 : 0
    assert.strictEqual(RouteCache.pick(cache, "v", { load, tried: ["a"] })?.id, "c")
    assert.isUndefined(RouteCache.pick(cache, "v", { load, tried: ["a", "c"] }))
    assert.isUndefined(RouteCache.pick(cache, "w", all))
  })

  it("forgets the node that was not warm, and the version with its last node", () => {
    const cache = make()
    RouteCache.set(cache, "v", [node("a"), node("b")], 0)
    RouteCache.forget(cache, "v", "a")
    assert.strictEqual(RouteCache.pick(cache, "v", all)?.id, "b")
    RouteCache.forget(cache, "v", "b")
    assert.strictEqual(RouteCache.size(cache), 0)
  })

  it("drops the version unused for longest when it is full", () => {
    const cache = make(2)
    RouteCache.set(cache, "old", [node("a")], 0)
    RouteCache.set(cache, "new", [node("a")], 0)
    RouteCache.pick(cache, "old", all)
    RouteCache.set(cache, "third", [node("a")], 0)
    assert.isUndefined(RouteCache.pick(cache, "new", all))
    assert.strictEqual(RouteCache.pick(cache, "old", all)?.id, "a")
  })

  it("asks for a fresh answer once per interval, while the old one is used", () => {
    const cache = make()
    RouteCache.set(cache, "v", [node("a")], 0)
    assert.isFalse(RouteCache.isStale(cache, "v", 999))
    assert.isTrue(RouteCache.isStale(cache, "v", 1000))
    assert.isFalse(RouteCache.isStale(cache, "v", 1001))
    assert.strictEqual(RouteCache.pick(cache, "v", all)?.id, "a")
  })

  it("keeps at most its number of nodes of one version", () => {
    const cache = make()
    RouteCache.set(cache, "v", Array.from({ length: 1000 }, (_, at) => node(`n${at}`)), 0)
    assert.strictEqual(cache.routes.get("v")?.nodes.length, RouteCache.maxNodes)
  })
})
