import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Saved from "../../src/wire/Saved.ts"
import { address, alive } from "../swim/Machine.ts"
import * as Messages from "./Messages.ts"

const state = (index: number, status: Message.State["status"], age: number): Message.State => ({
  ...alive(index),
  _tag: "State",
  status,
  age
})

const hour = 3_600_000
const saved: Saved.Saved = {
  savedAt: 1_700_000_000_000,
  states: [state(1, "alive", 500), state(2, "dead", hour), state(3, "left", 23 * hour), state(4, "suspect", 10)]
}

describe("Saved", () => {
  it("gives back what was saved", () => {
    assert.deepStrictEqual(Saved.decode(Saved.encode(saved)), Result.succeed(saved))
    assert.deepStrictEqual(
      Saved.decode(Saved.encode({ savedAt: 1, states: [] })),
      Result.succeed({ savedAt: 1, states: [] })
    )
  })

  it("lets tombstones grow older and forgets them in time", () => {
    const options = { now: saved.savedAt + 2 * hour, retention: 24 * hour, maxContacts: 10 }
    const { contacts, tombstones } = Saved.restore(saved, options)
    assert.deepStrictEqual(tombstones, [state(2, "dead", 3 * hour)])
    assert.deepStrictEqual(contacts, [address(4), address(1)])
  })

  it("does not make anybody younger when the clock has gone back", () => {
    const options = { now: saved.savedAt - hour, retention: 24 * hour, maxContacts: 1 }
    const { contacts, tombstones } = Saved.restore(saved, options)
    assert.deepStrictEqual(tombstones.map(({ age }) => age), [hour, 23 * hour])
    assert.strictEqual(contacts.length, 1)
  })

  it.prop("is total on arbitrary bytes", [Schema.Uint8Array], ([bytes]) => {
    Saved.decode(bytes)
  })

  it("is total on mutated bytes", () => {
    const random = Prng.make(8)
    const bytes = Saved.encode(saved)
    let refused = 0
    for (let i = 0; i < 3000; i++) if (Result.isFailure(Saved.decode(Messages.mutate(random, bytes)))) refused++
    assert.isAbove(refused, 1000)
  })
})
