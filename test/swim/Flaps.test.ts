import { assert, describe, it } from "@effect/vitest"
import * as Swim from "../../src/swim/Swim.ts"
import { accuse, alive, among, id, type Machine } from "./Machine.ts"

const left = (machine: Machine): Array<number> => Swim.health(machine.swim).quarantined.map((each) => each.left)

/** Dies and is back at once. */
const flap = (machine: Machine, incarnation: number): void => {
  machine.receive(2, accuse("Dead", 1, incarnation))
  machine.receive(1, alive(1, incarnation + 1))
}

const calm = (): Machine => {
  const machine = among(5)
  machine.answers = true
  return machine
}

describe("Flaps", () => {
  it("quarantine a member that died twice in two minutes, twice as long each further time", () => {
    const machine = calm()
    flap(machine, 0)
    assert.deepStrictEqual(left(machine), [])
    machine.advance(100_000)
    flap(machine, 1)
    assert.deepStrictEqual(left(machine), [60_000])
    assert.deepStrictEqual(Swim.health(machine.swim).quarantined[0]?.id, id(1))
    machine.advance(100_000)
    assert.deepStrictEqual(left(machine), [])
    flap(machine, 2)
    assert.deepStrictEqual(left(machine), [120_000])
    for (let i = 3; i < 20; i++) flap(machine, i)
    assert.deepStrictEqual(left(machine), [3_600_000], "up to an hour")
    assert.strictEqual(machine.status(1), "alive", "for the protocol it is a member like others")
  })

  it("do not count deaths that are long ago, nor goodbyes", () => {
    const machine = calm()
    flap(machine, 0)
    machine.advance(130_000)
    flap(machine, 1)
    machine.receive(2, { _tag: "Left", id: id(3), bootId: 1003, incarnation: 0 })
    machine.receive(3, alive(3, 1), { _tag: "Left", id: id(3), bootId: 1003, incarnation: 1 })
    assert.deepStrictEqual(left(machine), [])
    machine.advance(200_000)
    assert.strictEqual(machine.swim.flaps.size, 0)
  })

  it("are remembered in a bounded number", () => {
    const machine = calm()
    for (let i = 10; i < 5000; i++) machine.receive(2, alive(i), accuse("Dead", i, 0))
    assert.strictEqual(machine.swim.flaps.size, 4096)
  })
})
