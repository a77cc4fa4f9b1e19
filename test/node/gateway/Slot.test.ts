import { assert, describe, it } from "@effect/vitest"
import * as Slot from "../../../src/node/gateway/Slot.ts"
import * as Fakes from "./Fakes.ts"

const manifest = Fakes.manifestOf("hello")
const spec = { ...manifest, bundlePath: "", env: {} }
const make = () => new Slot.Slot(new Fakes.FakeInstance(spec, "i", () => {}), 1000)

describe("Slot", () => {
  it("needs a question ahead of a call only when others run and nothing was heard lately", () => {
    const slot = make()
    assert.isFalse(slot.isQuiet(5000), "it has nothing to do")
    slot.inflight = 1
    assert.isFalse(slot.isQuiet(1000 + Slot.quietMs))
    assert.isTrue(slot.isQuiet(1001 + Slot.quietMs))
    slot.askedAt = 2000
    assert.isFalse(slot.isQuiet(5000), "a question is open")
  })

  it("takes no more calls after a little silence, is stuck after more, and dead only when a call ran out of time", () => {
    const slot = make()
    assert.isTrue(slot.takes(9000))
    slot.askedAt = 2000
    assert.deepStrictEqual([slot.takes(2000 + Slot.doubtMs), slot.takes(2001 + Slot.doubtMs)], [true, false])
    assert.deepStrictEqual([slot.seemsStuck(1999 + Slot.stuckMs), slot.seemsStuck(2000 + Slot.stuckMs)], [false, true])
    assert.isFalse(slot.seemsDead(9000))
    slot.doomed = true
    assert.isTrue(slot.seemsDead(2000 + Slot.deadMs))
    slot.heard(2500)
    assert.isFalse(slot.seemsDead(2000 + Slot.deadMs), "an answer of any kind counts")
  })

  it("has certainly ignored only what was sent behind an open question", () => {
    const slot = make()
    assert.isFalse(slot.ignored(3000))
    slot.askedAt = 2000
    assert.deepStrictEqual([slot.ignored(1999), slot.ignored(2000)], [false, true])
  })

  it("is not judged by a silence during which nobody listened", () => {
    const slot = make()
    slot.askedAt = 2000
    slot.doomed = true
    slot.pardon(4000)
    assert.deepStrictEqual([slot.seemsStuck(4000), slot.seemsDead(4000), slot.ignored(2000)], [false, false, true])
    assert.isTrue(slot.seemsDead(4000 + Slot.deadMs))
  })
})
