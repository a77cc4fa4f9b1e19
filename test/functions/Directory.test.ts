import { assert, describe, it } from "@effect/vitest"
import * as Directory from "../../src/functions/Directory.ts"
import type * as Link from "../../src/functions/Link.ts"
import * as Manifest from "../../src/functions/Manifest.ts"

const manifest = (version: string): Link.Version => ({
  name: Manifest.FunctionName.make("hello"),
  version,
  bundle: "b".repeat(64),
  size: 1,
  limits: Manifest.defaults,
  env: {},
  createdAt: 0
})
const one = manifest("1".repeat(64))
const two = manifest(`${"1".repeat(10)}${"2".repeat(54)}`)
const directory = Directory.make([
  { name: "hello", aliases: { live: two.version, canary: one.version, gone: "f".repeat(64) }, manifests: [one, two] }
])

describe("Directory", () => {
  it("finds the live version, an alias, a version and an unambiguous prefix of one", () => {
    assert.strictEqual(Directory.resolve(directory, "hello", undefined), two)
    assert.strictEqual(Directory.resolve(directory, "hello", "canary"), one)
    assert.strictEqual(Directory.resolve(directory, "hello", `@${one.version}`), one)
    assert.strictEqual(Directory.resolve(directory, "hello", `@${two.version.slice(0, 12)}`), two)
  })

  it("finds nothing for unknown names, aliases and versions, and for a prefix that is short or of two versions", () => {
    for (const ref of ["beta", "gone", "toString", "@222222", "@111111", "@1"]) {
      assert.isUndefined(Directory.resolve(directory, "hello", ref), ref)
    }
    assert.isUndefined(Directory.resolve(directory, "other", undefined))
    assert.isUndefined(Directory.resolve(Directory.empty, "hello", undefined))
  })
})
