import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Params from "../../src/swim/Params.ts"

describe("Params", () => {
  it("has valid presets", () => {
    for (const preset of [Params.lan, Params.wan, Params.local]) {
      assert.isTrue(Result.isSuccess(Params.validate(preset)))
    }
  })

  it("names the field of an impossible setting", () => {
    const wrong: ReadonlyArray<Partial<Params.Params>> = [
      { probeInterval: 0 },
      { probeTimeout: 1000 },
      { relays: -1 },
      { relaysUnderLoss: 1 },
      { gossipFanout: 0 },
      { eagerDelay: 500 },
      { suspicionAlpha: 1 },
      { suspicionBeta: 0 },
      { retransmit: 0 },
      { pushPullInterval: 10 },
      { tombstoneRetention: 30_000 },
      { rejoinFor: 48 * 3_600_000 },
      { datagramBudget: 100 },
      { broadcastShare: 2 },
      { leaveTimeout: Number.NaN }
    ]
    for (const change of wrong) {
      const result = Params.validate({ ...Params.lan, ...change })
      assert.isTrue(Result.isFailure(result) && Object.keys(change)[0] === result.failure.field, JSON.stringify(change))
    }
  })

  it("derives limits from the number of the living", () => {
    assert.deepStrictEqual([1, 2, 9, 10, 99, 100, 1000].map((n) => Params.transmitLimit(Params.lan, n)), [
      8,
      8,
      8,
      8,
      8,
      12,
      16
    ])
    assert.deepStrictEqual([1, 10, 100, 1000].map((n) => Params.suspicionMin(Params.lan, n)), [4000, 4000, 8000, 12000])
    assert.deepStrictEqual([1, 2, 3, 4, 10].map((n) => Params.confirmations(Params.lan, n)), [0, 0, 1, 2, 2])
    assert.deepStrictEqual([2, 32, 33, 64, 1000].map((n) => Params.pushPullEvery(Params.lan, n)), [
      30_000,
      30_000,
      60_000,
      60_000,
      180_000
    ])
  })
})
