import { assert, describe, it } from "@effect/vitest"
import * as Link from "../../src/functions/Link.ts"
import * as Manifest from "../../src/functions/Manifest.ts"

const manifest: Link.Version = {
  name: Manifest.FunctionName.make("hello"),
  version: "1".repeat(64),
  bundle: "b".repeat(64),
  size: 1,
  limits: Manifest.defaults,
  env: { A: "1" },
  createdAt: 0
}
const body = new Uint8Array([1, 2, 3])

/** One of every kind; a kind that is missing here does not compile. */
const toControl: { readonly [Tag in Link.ToControl["_tag"]]: Link.ToControl & { readonly _tag: Tag } } = {
  Locate: { _tag: "Locate", id: 1, version: "v", lease: true },
  Resolve: { _tag: "Resolve", id: 2, name: "hello", ref: undefined },
  Bundle: { _tag: "Bundle", id: 3, digest: "b" },
  Started: { _tag: "Started", version: "v" },
  Stopped: { _tag: "Stopped", version: "v" },
  LeaseRenew: { _tag: "LeaseRenew", version: "v" },
  LeaseEnd: { _tag: "LeaseEnd", version: "v" },
  Admin: { _tag: "Admin", id: 4, method: "POST", path: "/system/functions", query: "", body, callId: "c" },
  Drained: { _tag: "Drained" }
}
const toGateway: { readonly [Tag in Link.ToGateway["_tag"]]: Link.ToGateway & { readonly _tag: Tag } } = {
  View: {
    _tag: "View",
    self: "a",
    bootId: 1,
    role: "master",
    epoch: 1,
    members: [{ id: "a", bootId: 1, status: "alive", data: "127.0.0.1:1" }]
  },
  Catalog: { _tag: "Catalog", functions: [{ name: "hello", aliases: { live: "v" }, manifests: [manifest] }] },
  Located: { _tag: "Located", id: 1, nodes: [{ id: "a", bootId: 1 }], lease: "none" },
  Resolved: { _tag: "Resolved", id: 2, manifest, unavailable: false },
  Bundled: { _tag: "Bundled", id: 3, path: undefined, message: "gone" },
  AdminReply: { _tag: "AdminReply", id: 4, status: 200, contentType: "text/plain", body },
  Draining: { _tag: "Draining" }
}

describe("Link", () => {
  it("has only messages that can go to another thread unchanged", () => {
    for (const message of [...Object.values(toControl), ...Object.values(toGateway)]) {
      assert.deepStrictEqual<unknown>(structuredClone(message), message)
    }
  })

  it("delivers in order, also what was posted before anyone listened", () => {
    const { control, gateway } = Link.pair()
    const seen: Array<string> = []
    gateway.post(toControl.Started)
    gateway.post(toControl.Stopped)
    control.onMessage((message) => seen.push(message._tag))
    gateway.post(toControl.Drained)
    assert.deepStrictEqual(seen, ["Started", "Stopped", "Drained"])
  })

  it("holds a bounded number of messages for a receiver that never came", () => {
    const { control, gateway } = Link.pair()
    for (let at = 0; at < Link.maxHeld + 10; at++) gateway.post({ _tag: "Started", version: String(at) })
    const seen: Array<Link.ToControl> = []
    control.onMessage((message) => seen.push(message))
    assert.strictEqual(seen.length, Link.maxHeld)
    assert.deepStrictEqual(seen[0], { _tag: "Started", version: "10" })
  })
})
