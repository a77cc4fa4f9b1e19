import { assert, describe, it } from "@effect/vitest"
import * as Items from "../../src/swim/Items.ts"
import * as Swim from "../../src/swim/Swim.ts"
import { among } from "./Machine.ts"

const value = (...bytes: ReadonlyArray<number>): Uint8Array => new Uint8Array(bytes)

describe("Items", () => {
  it("orders values as bytes, a prefix below what it begins", () => {
    assert.isBelow(Items.compare(value(1, 2), value(1, 3)), 0)
    assert.isBelow(Items.compare(value(1), value(1, 0)), 0)
    assert.isAbove(Items.compare(value(2), value(1, 255)), 0)
    assert.strictEqual(Items.compare(value(7), value(7)), 0)
  })

  it("keeps the highest value, tells about it once and passes it on", () => {
    const machine = among(3)
    for (const bytes of [value(5), value(4), value(5), value(6)]) {
      machine.receive(1, { _tag: "Item", key: "reign", value: bytes })
    }
    assert.deepStrictEqual(Swim.item(machine.swim, "reign"), value(6))
    assert.strictEqual(machine.eventsOf("ItemChanged").length, 2)
    machine.advance(10)
    assert.deepStrictEqual([...new Set(machine.sentOf("Item").map(({ message }) => message.value[0]))], [6])
  })

  it("is bounded in size and number", () => {
    const machine = among(3)
    machine.command({ _tag: "SetItem", key: "big", value: new Uint8Array(97) })
    for (let i = 0; i < 40; i++) machine.command({ _tag: "SetItem", key: `k${i}`, value: value(1) })
    assert.strictEqual(Swim.items(machine.swim).length, 32)
    assert.deepStrictEqual([...new Set(machine.rejected)], ["oversized-item", "too-many-items"])
  })
})
