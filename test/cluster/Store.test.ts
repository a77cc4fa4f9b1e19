import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Store from "../../src/cluster/Store.ts"
import { suiteWith } from "../conformance/Store.ts"

const bytes = (text: string) => new TextEncoder().encode(text)

suiteWith("layerMemory", Store.layerMemory)

describe("the seal of a file", () => {
  it.effect.prop(
    "gives back what was sealed",
    [Schema.Uint8Array],
    ([content]) => Effect.sync(() => assert.deepStrictEqual(Store.unseal(Store.seal(content)), Option.some(content)))
  )

  it("does not open for a file that is torn or altered anywhere", () => {
    const sealed = Store.seal(bytes("a manifest"))
    for (let length = 0; length < sealed.length; length++) {
      assert.isTrue(Option.isNone(Store.unseal(sealed.subarray(0, length))))
    }
    for (let i = 0; i < sealed.length * 8; i++) {
      const altered = sealed.slice()
      altered[i >> 3] = (altered[i >> 3] ?? 0) ^ (1 << (i & 7))
      assert.isTrue(Option.isNone(Store.unseal(altered)))
    }
    assert.isTrue(Option.isNone(Store.unseal(Uint8Array.of(...sealed, 0))))
  })

  it.effect.prop(
    "is total over arbitrary bytes",
    [Schema.Uint8Array],
    ([content]) => Effect.sync(() => assert.isTrue(Option.isNone(Store.unseal(content))))
  )
})
