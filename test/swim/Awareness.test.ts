import { assert, describe, it } from "@effect/vitest"
import * as Awareness from "../../src/swim/Awareness.ts"

describe("Awareness", () => {
  it("stays between 0 and its maximum and stretches by score + 1", () => {
    const self = Awareness.make({ enabled: true, max: 8 })
    Awareness.apply(self, -1)
    assert.strictEqual(Awareness.factor(self), 1)
    for (let i = 0; i < 5; i++) Awareness.apply(self, 3)
    assert.strictEqual(Awareness.factor(self), 9)
    Awareness.apply(self, -1)
    assert.strictEqual(self.score, 7)
  })

  it("can be switched off", () => {
    const self = Awareness.make({ enabled: false, max: 8 })
    Awareness.apply(self, 3)
    assert.strictEqual(Awareness.factor(self), 1)
  })

  it("sees a loss above a tenth of the last fifty probes, and its end", () => {
    const self = Awareness.make({ enabled: true, max: 8 })
    for (let i = 0; i < 50; i++) Awareness.record(self, i % 10 === 0)
    assert.isFalse(Awareness.isLossy(self))
    assert.closeTo(Awareness.loss(self), 0.1, 0.001)
    Awareness.record(self, true)
    Awareness.record(self, true)
    assert.isTrue(Awareness.isLossy(self))
    for (let i = 0; i < 50; i++) Awareness.record(self, false)
    assert.strictEqual(Awareness.loss(self), 0)
  })
})
