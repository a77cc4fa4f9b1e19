import { assert, describe, it } from "@effect/vitest"
import * as Headers from "../../src/functions/Headers.ts"

describe("Headers", () => {
  it("keeps a connection's own headers from the function, also those that Connection lists", () => {
    const raw = [
      "Host",
      "h",
      "Connection",
      "close, X-Hop",
      "X-Hop",
      "1",
      "Keep-Alive",
      "5",
      "TE",
      "x",
      "A",
      "1",
      "A",
      "2"
    ]
    assert.deepStrictEqual(Headers.request(raw, "close, X-Hop"), [["host", "h"], ["a", "1"], ["a", "2"]])
  })

  it("lets nobody outside say what only the platform says", () => {
    const raw = ["X-Shoal-Hops", "7", "x-shoal-depth", "0", "X-Call-Id", "c", "X-Other", "1"]
    assert.deepStrictEqual(Headers.request(raw, undefined), [["x-other", "1"]])
  })

  it("takes a reply's length out and keeps repeated headers", () => {
    const into: Array<string> = []
    const pairs = [
      ["Content-Length", "12"],
      ["set-cookie", "a=1"],
      ["set-cookie", "b=2"],
      ["X-Shoal-Node", "forged"],
      ["Transfer-Encoding", "chunked"]
    ] as const
    assert.deepStrictEqual(Headers.reply(pairs, into), { length: 12 })
    assert.deepStrictEqual(into, ["set-cookie", "a=1", "set-cookie", "b=2"])
    assert.deepStrictEqual(Headers.reply([["content-length", "-1"]], []), { length: undefined })
  })

  it("keeps a sane call id and no other", () => {
    assert.strictEqual(Headers.callId("abc-1.2_3:4"), "abc-1.2_3:4")
    for (const sent of [undefined, "", "a b", "a\nb", "<x>", "x".repeat(129)]) assert.isUndefined(Headers.callId(sent))
  })

  it("reads a depth that is a number, and 0 for anything else", () => {
    assert.strictEqual(Headers.depth("3"), 3)
    assert.strictEqual(Headers.depth("0, 16,x"), 16)
    for (const sent of [undefined, "", "-1", "1e3", "x", "99999"]) assert.strictEqual(Headers.depth(sent), 0)
  })
})
