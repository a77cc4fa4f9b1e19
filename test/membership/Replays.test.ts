import { assert, describe, it } from "@effect/vitest"
import * as Replays from "../../src/membership/Replays.ts"
import * as Prng from "../../src/swim/Prng.ts"

const nonce = (sender: number, counter: number): Uint8Array => {
  const bytes = new Uint8Array(12)
  const view = new DataView(bytes.buffer)
  view.setUint32(4, sender)
  view.setUint32(8, counter)
  return bytes
}

describe("Replays", () => {
  it("knows a packet that it was shown", () => {
    const replays = Replays.make()
    assert.isTrue(Replays.isFresh(replays, nonce(1, 0)))
    assert.isFalse(Replays.isFresh(replays, nonce(1, 0)))
    assert.isTrue(Replays.isFresh(replays, nonce(2, 0)))
    assert.isTrue(Replays.isFresh(replays, nonce(1, 1)))
    assert.isFalse(Replays.isFresh(replays, nonce(1, 1)))
  })

  it("takes packets out of order, each once", () => {
    const random = Prng.make(5)
    const replays = Replays.make()
    const shown = new Set<number>()
    let sent = 100_000
    for (let i = 0; i < 50_000; i++) {
      sent += Prng.below(random, 3)
      const counter = sent - Prng.below(random, 900)
      assert.strictEqual(Replays.isFresh(replays, nonce(1, counter)), !shown.has(counter))
      shown.add(counter)
    }
  })

  it("refuses what is older than its window, also after a leap", () => {
    const replays = Replays.make()
    for (const counter of [5, 6, 40]) assert.isTrue(Replays.isFresh(replays, nonce(1, counter)))
    assert.isTrue(Replays.isFresh(replays, nonce(1, 0xffffffff)))
    for (const counter of [5, 7, 40, 0xffffffff - 992]) assert.isFalse(Replays.isFresh(replays, nonce(1, counter)))
    for (let back = 1; back < 992; back++) assert.isTrue(Replays.isFresh(replays, nonce(1, 0xffffffff - back)))
  })

  it("remembers a bounded number of senders, those heard last", () => {
    const replays = Replays.make()
    for (let sender = 0; sender < Replays.maxSenders; sender++) Replays.isFresh(replays, nonce(sender, 1))
    Replays.isFresh(replays, nonce(0, 2))
    Replays.isFresh(replays, nonce(1_000_000, 1))
    assert.strictEqual(replays.senders.size, Replays.maxSenders)
    assert.isFalse(Replays.isFresh(replays, nonce(0, 1)))
  })
})
