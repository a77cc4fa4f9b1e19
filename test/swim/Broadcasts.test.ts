import { assert, describe, it } from "@effect/vitest"
import type * as Message from "../../src/swim/Message.ts"
import { accuse, among, id } from "./Machine.ts"

const broadcast = (seq: number, extra: Partial<Message.Broadcast> = {}): Message.Broadcast => ({
  _tag: "Broadcast",
  origin: id(1),
  bootId: 1001,
  seq,
  kind: "k",
  key: "",
  payload: new Uint8Array(10),
  ...extra
})

describe("Broadcasts", () => {
  it("delivers each once, whatever the order, and passes it on", () => {
    const machine = among(5)
    for (const seq of [3, 0, 3, 1, 2, 0, 1, 2, 3]) machine.receive(2, broadcast(seq))
    assert.strictEqual(machine.eventsOf("Delivered").length, 4)
    machine.advance(10)
    assert.strictEqual(new Set(machine.sentOf("Broadcast").map(({ message }) => message.seq)).size, 4)
  })

  it("counts anew for another run of the origin", () => {
    const machine = among(5)
    machine.receive(2, broadcast(0))
    machine.receive(2, broadcast(0, { bootId: 5 }))
    assert.strictEqual(machine.eventsOf("Delivered").length, 2)
  })

  it("remembers a bounded window of numbers", () => {
    const machine = among(5)
    for (let seq = 0; seq < 40_000; seq += 2) machine.receive(2, broadcast(seq))
    assert.strictEqual(machine.eventsOf("Delivered").length, 20_000)
    assert.isBelow(machine.swim.origins.get(id(1))?.above.size ?? Infinity, 10_000)
    machine.clear()
    for (let seq = 39_000; seq < 40_000; seq += 2) machine.receive(2, broadcast(seq))
    assert.strictEqual(machine.eventsOf("Delivered").length, 0)
  })

  it("refuses what fits into no packet", () => {
    const machine = among(5)
    machine.command({ _tag: "Broadcast", kind: "k", key: "", payload: new Uint8Array(1300) })
    assert.deepStrictEqual(machine.rejected, ["oversized-broadcast"])
    assert.strictEqual(machine.eventsOf("Delivered").length, 0)
  })

  it("a newer one with the same key takes the place of an older one", () => {
    const machine = among(5, { eagerDelay: 0 })
    for (let i = 0; i < 5; i++) {
      machine.command({ _tag: "Broadcast", kind: "k", key: "same", payload: new Uint8Array([i]) })
    }
    machine.advance(300)
    assert.deepStrictEqual([...new Set(machine.sentOf("Broadcast").map(({ message }) => message.seq))], [4])
  })

  it("keeps a share of each packet while member news abounds, and the backlog ends (M5)", () => {
    const machine = among(200, { eagerDelay: 0 })
    for (let i = 1; i <= 150; i++) machine.receive(200, accuse("Dead", i, 0))
    for (let i = 0; i < 20; i++) {
      machine.command({ _tag: "Broadcast", kind: "k", key: "", payload: new Uint8Array(40) })
    }
    machine.clear()
    machine.advance(250)
    const packets = machine.outputs.filter((output) => output._tag === "Send" && output.messages.length > 5)
    assert.isAbove(packets.length, 0)
    for (const packet of packets) {
      assert.isTrue(packet._tag === "Send" && packet.messages.some(({ _tag }) => _tag === "Broadcast"))
    }
    machine.answers = true
    machine.advance(60_000)
    assert.strictEqual(machine.swim.broadcasts.byKey.size, 0)
    assert.strictEqual(machine.swim.updates.byKey.size, 0)
    assert.isAtMost(machine.largest, 1400)
  })
})
