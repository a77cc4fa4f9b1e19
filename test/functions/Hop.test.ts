import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Hop from "../../src/functions/Hop.ts"

const request: Hop.Request = {
  callId: "c",
  version: "v",
  method: "POST",
  url: "/a?b",
  headers: [["a", "1"]],
  timeoutMs: 100,
  depth: 1,
  hops: 1,
  path: ["n1"],
  large: false
}
const told: Hop.Told = { start: "warm", node: "n2", queue: 0, init: 0, exec: 1.5 }
const bytes = (value: unknown) => new TextEncoder().encode(JSON.stringify(value))

describe("Hop", () => {
  it("reads back what it wrote", () => {
    assert.deepStrictEqual(Hop.decodeRequest(Hop.encodeRequest(request)), request)
    const head = { status: 201, headers: [["x", "y"]] }
    assert.deepStrictEqual(Hop.decodeReply(Hop.encodeReply(told, bytes(head))), { told, head })
  })

  it("gives large heads bytes of their own, as they are sent without a copy", () => {
    const large = Hop.encodeRequest({ ...request, url: `/${"ü".repeat(20_000)}` })
    const before = large.slice()
    Hop.encodeRequest({ ...request, url: `/${"x".repeat(50_000)}` })
    assert.deepStrictEqual(large, before)
    const reply = { status: 200, headers: [["a", "b".repeat(30_000)]] }
    assert.deepStrictEqual<unknown>(Hop.decodeReply(Hop.encodeReply(told, bytes(reply)))?.head, reply)
  })

  it("answers undefined for every head with a field that is missing, too long or of another type", () => {
    for (const field of Object.keys(request)) {
      assert.isUndefined(Hop.decodeRequest(bytes({ ...request, [field]: undefined })), field)
      assert.isUndefined(Hop.decodeRequest(bytes({ ...request, [field]: {} })), field)
    }
    assert.isUndefined(Hop.decodeRequest(bytes({ ...request, hops: -1 })))
    assert.isUndefined(Hop.decodeRequest(bytes({ ...request, url: "x".repeat(100_000) })))
    assert.isUndefined(Hop.decodeRequest(bytes({ ...request, path: Array(100).fill("n") })))
    assert.isUndefined(Hop.decodeRequest(bytes({ ...request, headers: [["a"]] })))
    for (const status of [99, 101, 600, 200.5, "200"]) {
      assert.isUndefined(Hop.decodeReplyHead(bytes({ status, headers: [] })))
    }
  })

  it.prop("never throws on arbitrary bytes", [Schema.Uint8Array], ([junk]) => {
    Hop.decodeRequest(junk)
    Hop.decodeReplyHead(junk)
    Hop.decodeReply(junk)
    Hop.decodeTrailer(junk)
  })

  it("takes a prefixed head out of data cut anywhere", () => {
    const head = bytes({ a: "b" })
    const data = Buffer.concat([Hop.prefixed(head), Buffer.from("rest")])
    for (let cut = 1; cut < data.length; cut++) {
      const reader = new Hop.PrefixReader()
      const first = reader.push(data.subarray(0, cut))
      const read = first === "more" ? reader.push(data.subarray(cut)) : first
      if (typeof read === "string") throw new Error(`${read} at ${cut}`)
      assert.deepStrictEqual(Buffer.from(read.head), Buffer.from(head))
      assert.isTrue("rest".startsWith(Buffer.from(read.rest).toString()))
    }
    assert.strictEqual(new Hop.PrefixReader().push(Uint8Array.of(255, 255, 255, 255)), "broken")
  })

  it("tells a refusal from a failure and from a lost connection", () => {
    assert.deepStrictEqual(Hop.readCode(Hop.refusedCode("busy")), { _tag: "Refused", refusal: "busy" })
    assert.deepStrictEqual(Hop.readCode(Hop.refusedCode("new kind")), { _tag: "Refused", refusal: "not-warm" })
    assert.deepStrictEqual(Hop.readCode(Hop.failedCode("timeout")), { _tag: "Failed", reason: "timeout" })
    assert.deepStrictEqual(Hop.readCode("lost"), { _tag: "Lost" })
  })

  it("reads the time a trailer tells, if it tells one", () => {
    assert.strictEqual(Hop.decodeTrailer(bytes({ execMs: 2.5 })), 2.5)
    assert.isUndefined(Hop.decodeTrailer(bytes({ execMs: "2" })))
    assert.isUndefined(Hop.decodeTrailer(new Uint8Array(0)))
  })
})
