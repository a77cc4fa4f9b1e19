import { assert, describe, it } from "@effect/vitest"
import * as Target from "../../src/functions/Target.ts"

describe("Target", () => {
  it("takes name, reference, path and query apart and changes none of them", () => {
    const table: ReadonlyArray<[string, Target.Target]> = [
      ["/function/hello", { name: "hello", ref: undefined, url: "/" }],
      ["/function/hello/", { name: "hello", ref: undefined, url: "/" }],
      ["/function/hello?a=1", { name: "hello", ref: undefined, url: "/?a=1" }],
      ["/function/hello/a%2Fb//c?x=:1@2", { name: "hello", ref: undefined, url: "/a%2Fb//c?x=:1@2" }],
      ["/function/hello:canary/x", { name: "hello", ref: "canary", url: "/x" }],
      ["/function/hello@0123abc?q", { name: "hello", ref: "@0123abc", url: "/?q" }]
    ]
    for (const [url, expected] of table) assert.deepStrictEqual(Target.parse(url), expected, url)
  })

  it("refuses names that cannot be one", () => {
    for (
      const name of ["", "/", "?", ":live", "@1", "a b", "../etc", "%2e", "hello:", "hello@", "a:b:c", "x".repeat(200)]
    ) {
      assert.isUndefined(Target.parse(Target.prefix + name), name)
    }
  })
})
