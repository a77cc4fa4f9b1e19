import { assert, describe, it } from "@effect/vitest"
import { accuse, address, among, id, left, Machine } from "./Machine.ts"

describe("Leaving", () => {
  it("tells its peers at once and is done when enough of them acknowledged", () => {
    const machine = among(5)
    machine.command({ _tag: "Leave" })
    const told = machine.sentOf("Left").filter(({ message }) => message.id === id(0))
    assert.isAtLeast(new Set(told.map(({ to }) => to.host)).size, 3)
    for (const peer of [1, 2]) machine.receive(peer, { _tag: "LeftAck", bootId: 1000, from: id(peer) })
    machine.receive(2, { _tag: "LeftAck", bootId: 1000, from: id(2) })
    machine.receive(3, { _tag: "LeftAck", bootId: 5, from: id(3) })
    assert.deepStrictEqual(machine.eventsOf("LeaveDone"), [])
    machine.receive(3, { _tag: "LeftAck", bootId: 1000, from: id(3) })
    assert.deepStrictEqual(machine.eventsOf("LeaveDone"), [{ _tag: "LeaveDone", acknowledged: 3 }])
  })

  it("repeats itself and ends at the deadline when nobody answers", () => {
    const machine = among(5, { leaveTimeout: 1000 })
    machine.command({ _tag: "Leave" })
    machine.advance(999)
    assert.deepStrictEqual(machine.eventsOf("LeaveDone"), [])
    assert.isAbove(machine.sentOf("Left").length, 20)
    machine.advance(2)
    assert.deepStrictEqual(machine.eventsOf("LeaveDone"), [{ _tag: "LeaveDone", acknowledged: 0 }])
  })

  it("is done at once when there is nobody", () => {
    const machine = new Machine()
    machine.command({ _tag: "Leave" })
    assert.strictEqual(machine.eventsOf("LeaveDone").length, 1)
  })

  it("neither probes nor refutes any more, but answers", () => {
    const machine = among(3)
    machine.command({ _tag: "Leave" })
    machine.clear()
    machine.receive(1, accuse("Dead", 0, 0))
    machine.receive(1, { _tag: "Ping", seq: 3, target: id(0), from: id(1), bootId: 1001, digest: 0 })
    machine.advance(5000)
    assert.isFalse(machine.sentOf("Alive").some(({ message }) => message.id === id(0)))
    assert.deepStrictEqual(machine.sentOf("Ping"), [])
    assert.strictEqual(machine.sentOf("Ack").length, 1)
  })

  it("acknowledges a leave to the leaver itself", () => {
    const machine = among(3)
    machine.receive(2, left(1, 0))
    assert.deepStrictEqual(machine.sentOf("LeftAck"), [])
    machine.receive(1, left(1, 0))
    assert.deepStrictEqual(machine.sentOf("LeftAck").map(({ to }) => to.host), [address(1).host])
  })

  it("joins again as a higher incarnation", () => {
    const machine = among(3)
    machine.command({ _tag: "Leave" })
    machine.clear()
    machine.command({ _tag: "Join", seeds: [address(1)] })
    machine.advance(10)
    assert.isTrue(machine.sentOf("Alive").some(({ message }) => message.id === id(0) && message.incarnation === 1))
  })

  it("tells everybody of a small cluster itself, and a few of a large one", () => {
    const told = (members: number): number => {
      const machine = among(members, { eagerDelay: 0 })
      machine.command({ _tag: "Leave" })
      return new Set(machine.sentOf("Left").map(({ to }) => to.host)).size
    }
    assert.strictEqual(told(40), 40)
    assert.strictEqual(told(100), 6)
  })
})
