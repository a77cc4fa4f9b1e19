import { assert, describe, it } from "@effect/vitest"
import * as Gossip from "../../src/swim/Gossip.ts"
import type * as Message from "../../src/swim/Message.ts"

const queue = (options: Partial<Parameters<typeof Gossip.make>[0]> = {}): Gossip.Gossip =>
  Gossip.make({ maxEntries: 1000, maxBytes: 1_000_000, maxAge: Infinity, ...options })

const message = (seq: number): Message.Message => ({ _tag: "Nack", seq })

const add = (self: Gossip.Gossip, key: number, size: number, now = 0): boolean =>
  Gossip.add(self, { key: `${key}`, message: message(key), size, limit: 1396, now })

const fill = (self: Gossip.Gossip, room: number, options: Partial<Gossip.Fill> = {}): Array<number> => {
  const into: Array<Message.Message> = []
  const used = Gossip.fill(self, { room, limit: 4, below: Infinity, now: 0, into, ...options })
  assert.isAtMost(used, room)
  return into.map((m) => m._tag === "Nack" ? m.seq : -1)
}

describe("Gossip", () => {
  it("takes what was sent least, and among equals the largest that fits", () => {
    const self = queue()
    add(self, 1, 100)
    add(self, 2, 400)
    add(self, 3, 200)
    assert.deepStrictEqual(fill(self, 650), [2, 3])
    assert.deepStrictEqual(fill(self, 450), [1, 3])
    assert.deepStrictEqual(fill(self, 450), [2])
    assert.deepStrictEqual(fill(self, 50), [])
  })

  it("sends each message its budget and then forgets it", () => {
    const self = queue()
    for (let i = 0; i < 10; i++) add(self, i, 100)
    const sent = new Map<number, number>()
    for (let i = 0; i < 100 && Gossip.length(self) > 0; i++) {
      for (const seq of fill(self, 350)) sent.set(seq, (sent.get(seq) ?? 0) + 1)
    }
    assert.strictEqual(Gossip.length(self), 0)
    assert.strictEqual(self.bytes, 0)
    assert.isTrue([...sent.values()].every((count) => count === 4))
  })

  it("never puts one message into a packet twice", () => {
    const self = queue()
    add(self, 1, 100)
    assert.deepStrictEqual(fill(self, 1000), [1])
  })

  it("replaces what is queued under the same key", () => {
    const self = queue()
    add(self, 1, 100)
    fill(self, 1000)
    Gossip.add(self, { key: "1", message: message(42), size: 50, limit: 1396, now: 0 })
    assert.strictEqual(Gossip.length(self), 1)
    assert.strictEqual(self.bytes, 50)
    assert.deepStrictEqual(fill(self, 1000), [42])
  })

  it("keeps a message added while the only other one is being replaced", () => {
    const self = queue()
    add(self, 1, 100)
    add(self, 1, 100)
    add(self, 2, 100)
    assert.sameMembers(fill(self, 1000), [1, 2])
  })

  it("refuses what fits into no packet instead of keeping it for ever", () => {
    const self = queue()
    assert.isFalse(add(self, 1, 1397))
    assert.isTrue(add(self, 1, 1396))
    assert.strictEqual(Gossip.length(self), 1)
  })

  it("is bounded in entries and bytes: the most sent go first", () => {
    const self = queue({ maxEntries: 10, maxBytes: 1500 })
    for (let i = 0; i < 5; i++) add(self, i, 100)
    fill(self, 1000)
    for (let i = 5; i < 12; i++) add(self, i, 100)
    assert.strictEqual(Gossip.length(self), 10)
    assert.deepStrictEqual([...self.byKey.keys()], ["2", "3", "4", "5", "6", "7", "8", "9", "10", "11"])
    add(self, 20, 1000)
    assert.isAtMost(self.bytes, 1500)
    assert.strictEqual(self.dropped, 7)
  })

  it("drops what is too old", () => {
    const self = queue({ maxAge: 1000 })
    add(self, 1, 100, 0)
    add(self, 2, 100, 900)
    assert.deepStrictEqual(fill(self, 1000, { now: 1500 }), [2])
  })

  it("gives only fresh messages when asked", () => {
    const self = queue()
    add(self, 1, 100)
    fill(self, 1000)
    add(self, 2, 100)
    assert.isTrue(Gossip.hasFresh(self, 1))
    assert.deepStrictEqual(fill(self, 1000, { below: 1 }), [2])
    assert.isFalse(Gossip.hasFresh(self, 1))
  })

  it("fills packets quickly from 100,000 entries", () => {
    const self = queue({ maxEntries: 200_000, maxBytes: 1e9 })
    for (let i = 0; i < 100_000; i++) add(self, i, 40 + (i % 200))
    let taken = 0
    for (let i = 0; i < 1000; i++) taken += fill(self, 1396).length
    assert.isAbove(taken, 5000)
  })
})
