import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Config from "../../src/membership/Config.ts"
import * as Params from "../../src/swim/Params.ts"

const base = { name: "n1", bind: "10.0.0.1:7946" }

const refused = (options: Partial<Config.Options>): string => {
  const resolved = Config.resolve({ ...base, ...options })
  return Result.isFailure(resolved) ? resolved.failure.field : "accepted"
}

const params = (options: Partial<Config.Options>): Params.Params =>
  Result.getOrThrow(Config.resolve({ ...base, ...options })).params

describe("Config", () => {
  it("starts from the preset and changes only what is set", () => {
    assert.deepStrictEqual(params({}), Params.lan)
    assert.deepStrictEqual(params({ profile: "wan" }), Params.wan)
    assert.deepStrictEqual(params({ profile: "local", probeInterval: "2 seconds", gossipFanout: 5 }), {
      ...Params.local,
      probeInterval: 2000,
      gossipFanout: 5
    })
  })

  it("names the field that is impossible", () => {
    assert.strictEqual(refused({ name: "" }), "name")
    assert.strictEqual(refused({ name: "a\nb" }), "name")
    assert.strictEqual(refused({ name: "x".repeat(200) }), "name")
    assert.strictEqual(refused({ bootId: 2 ** 48 }), "bootId")
    assert.strictEqual(refused({ bind: "nowhere" }), "bind")
    assert.strictEqual(refused({ bind: "0.0.0.0:7946" }), "advertise")
    assert.strictEqual(refused({ bind: "0.0.0.0:7946", advertise: "0.0.0.0:7946" }), "advertise")
    assert.strictEqual(refused({ advertise: "node1:7946" }), "advertise")
    assert.strictEqual(refused({ advertise: "[fe80::1]:7946" }), "accepted")
    assert.strictEqual(refused({ join: ["10.0.0.1"] }), "join")
    assert.strictEqual(refused({ metadata: new Uint8Array(513) }), "metadata")
    assert.strictEqual(refused({ probeTimeout: "2 seconds" }), "probeTimeout")
    assert.strictEqual(refused({ probeInterval: Infinity }), "probeInterval")
    assert.strictEqual(refused({ suspicionMultiplier: 1 }), "suspicionMultiplier")
    assert.strictEqual(refused({ datagramBudget: 100 }), "datagramBudget")
    assert.strictEqual(refused({ dialTimeout: 0 }), "dialTimeout")
    assert.strictEqual(refused({ mailbox: 1 }), "mailbox")
    assert.strictEqual(refused({ changesBuffer: 0 }), "changesBuffer")
    assert.strictEqual(refused({ maxStreamBytes: 1 }), "maxStreamBytes")
  })

  it("tells the rule in the message", () => {
    const resolved = Config.resolve({ ...base, probeTimeout: "2 seconds" })
    assert.isTrue(Result.isFailure(resolved) && resolved.failure.message.includes("below probeInterval"))
  })
})
