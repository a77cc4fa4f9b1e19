import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as NodeMeta from "../../src/cluster/NodeMeta.ts"

const meta: NodeMeta.NodeMeta = {
  http: "127.0.0.1:8080",
  rpc: "127.0.0.1:7000",
  data: "127.0.0.1:7001",
  release: "1.2.3",
  eligible: true,
  tags: { zone: "a" }
}

describe("NodeMeta", () => {
  it("comes back from its bytes", () => {
    const bytes = NodeMeta.encode(meta)
    assert.isDefined(bytes)
    assert.deepStrictEqual(NodeMeta.decode(bytes ?? new Uint8Array(0)), meta)
  })

  it("is refused when its tags do not fit into a member's metadata", () => {
    assert.isUndefined(NodeMeta.encode({ ...meta, tags: { long: "x".repeat(NodeMeta.maxBytes) } }))
  })

  it("is unknown for a member that has none or another program's", () => {
    assert.isUndefined(NodeMeta.decode(new Uint8Array(0)))
    assert.isUndefined(NodeMeta.decode(new TextEncoder().encode("{\"role\":\"db\"}")))
  })

  it.effect.prop(
    "reading is total over arbitrary bytes",
    [Schema.Uint8Array],
    ([bytes]) => Effect.sync(() => void NodeMeta.decode(bytes))
  )
})
