import { assert, describe, it } from "@effect/vitest"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import { accuse, address, alive, among, id, left, Machine, start } from "./Machine.ts"

const self = (incarnation: number, extra: Partial<Message.Alive> = {}): Message.Alive => alive(0, incarnation, extra)

describe("Rumor", () => {
  it("ends at the highest claim, whatever the order and however often claims arrive (M1)", () => {
    const random = Prng.make(1)
    for (let run = 0; run < 200; run++) {
      const machine = among(2, { confirmProbes: false })
      let highest: Member.State = { incarnation: 0, status: "alive" }
      for (let i = 0; i < 20; i++) {
        const incarnation = Prng.below(random, 4)
        const status = Member.statusOf(Prng.below(random, 4))
        const claim: Message.Message = status === "alive"
          ? alive(1, incarnation)
          : status === "left"
          ? left(1, incarnation)
          : accuse(status === "dead" ? "Dead" : "Suspect", 1, incarnation)
        machine.receive(2, claim)
        if (Member.compareState({ incarnation, status }, highest) > 0) highest = { incarnation, status }
        const known = Swim.member(machine.swim, id(1))
        assert.deepInclude(known, highest)
      }
    }
  })

  it("shows a leave as a leave even when it comes after a failure verdict", () => {
    const machine = among(2)
    machine.receive(2, accuse("Dead", 1, 0))
    machine.receive(2, left(1, 0))
    assert.strictEqual(machine.status(1), "left")
    assert.deepStrictEqual(machine.events.map(({ _tag }) => _tag), ["Failed", "Left"])
    machine.receive(2, accuse("Dead", 1, 0))
    assert.strictEqual(machine.status(1), "left")
  })

  it("tells news, failure, return and change apart", () => {
    const machine = new Machine()
    machine.receive(1, alive(1))
    machine.receive(1, alive(1, 1, { meta: new Uint8Array([1]) }))
    machine.receive(2, accuse("Suspect", 1, 1))
    machine.receive(1, alive(1, 2, { meta: new Uint8Array([1]) }))
    machine.receive(2, accuse("Dead", 1, 2))
    machine.receive(1, alive(1, 3, { meta: new Uint8Array([1]) }))
    assert.deepStrictEqual(machine.events.map(({ _tag }) => _tag), [
      "Joined",
      "Updated",
      "Suspected",
      "Refuted",
      "Failed",
      "Joined"
    ])
  })

  it("refutes every accusation of itself straight to the accuser, raising its incarnation once (M2)", () => {
    const machine = among(2)
    for (const message of [accuse("Suspect", 0, 0), accuse("Dead", 0, 0), left(0, 0)]) {
      machine.clear()
      machine.receive(2, message)
      assert.deepInclude(machine.sentOf("Alive").find(({ to }) => to.host === address(2).host)?.message, self(1))
    }
    assert.strictEqual(machine.swim.incarnation, 1)
    machine.receive(2, accuse("Dead", 0, 41))
    assert.strictEqual(machine.swim.incarnation, 42)
  })

  it("a forged accusation at the highest incarnation can still be refuted: it never wraps", () => {
    const machine = among(2)
    machine.receive(2, accuse("Dead", 0, 2 ** 52))
    assert.strictEqual(machine.swim.incarnation, 2 ** 52 + 1)
    assert.isTrue(Number.isSafeInteger(machine.swim.incarnation))
  })

  it("corrects whoever passes on a superseded accusation", () => {
    const machine = among(3)
    machine.receive(1, alive(1, 5))
    machine.clear()
    machine.receive(2, accuse("Suspect", 1, 3))
    assert.deepInclude(machine.sentOf("Alive").find(({ to }) => to.host === address(2).host)?.message, alive(1, 5))
    machine.clear()
    machine.receive(2, accuse("Suspect", 1, 3))
    assert.deepStrictEqual(machine.sentOf("Alive"), [], "once a second")
  })

  it("does not invent members from accusations", () => {
    const machine = new Machine()
    machine.receive(2, accuse("Dead", 5, 0), accuse("Suspect", 5, 0), left(5, 0))
    assert.strictEqual(machine.status(5), undefined)
    assert.deepStrictEqual(machine.events, [])
  })

  it("ignores what is said about another run of a member", () => {
    const machine = among(2)
    machine.receive(2, { ...accuse("Dead", 1, 9), bootId: 5 })
    assert.strictEqual(machine.status(1), "alive")
  })

  it("a newer run at the same address replaces the older one at once, a stale one never returns", () => {
    const machine = among(2)
    const fresh = alive(1, 0, { bootId: 5, startedAt: start + 100 })
    machine.receive(1, fresh)
    assert.deepStrictEqual(machine.events.map(({ _tag }) => _tag), ["Replaced"])
    assert.strictEqual(Swim.member(machine.swim, id(1))?.bootId, 5)
    machine.receive(2, alive(1, 99))
    assert.strictEqual(Swim.member(machine.swim, id(1))?.bootId, 5)
  })

  it("keeps the older run that lives elsewhere and tells the younger, until the older is dead", () => {
    const machine = among(2)
    const elsewhere = alive(1, 0, { bootId: 5, startedAt: start + 100, address: address(7) })
    machine.receive(7, elsewhere)
    assert.strictEqual(Swim.member(machine.swim, id(1))?.bootId, 1001)
    assert.deepInclude(machine.sentOf("Alive").find(({ to }) => to.host === address(7).host)?.message, alive(1))
    machine.receive(2, accuse("Dead", 1, 0))
    machine.receive(7, elsewhere)
    assert.strictEqual(Swim.member(machine.swim, id(1))?.bootId, 5)
  })

  it("takes over from its own earlier run, also when a clock set back has dated that one later", () => {
    for (const startedAt of [start - 5, start, start + 5]) {
      const machine = among(1)
      machine.receive(1, self(3, { bootId: 7, startedAt }))
      const said = machine.sentOf("Alive").find(({ to }) => to.host === address(1).host)?.message
      assert.isTrue(said?._tag === "Alive" && Member.compareRun(said, { startedAt, bootId: 7 }) > 0)
      assert.lengthOf(machine.eventsOf("NameConflict"), 0)
    }
    const machine = among(1)
    machine.receive(1, self(0, { bootId: 7, startedAt: start + 10 * 86_400_000 }))
    assert.deepStrictEqual(machine.rejected, ["start-in-the-future"])
    assert.strictEqual(machine.swim.self.startedAt, start)
  })

  it("hears of a name conflict when an older node elsewhere bears its name, and not otherwise", () => {
    const other = { bootId: 7, address: address(9) }
    const conflicts = (message: Message.Alive): number => {
      const machine = among(1)
      machine.receive(9, message)
      return machine.eventsOf("NameConflict").length
    }
    assert.strictEqual(conflicts(self(0, { ...other, startedAt: start - 5 })), 1)
    assert.strictEqual(conflicts(self(0, { ...other, startedAt: start + 5 })), 0)
    assert.strictEqual(conflicts(self(0, { bootId: 7, startedAt: start - 5 })), 0)
  })

  it("asks the older node itself before it believes in a conflict: it may have died just now", () => {
    const rival = self(0, { bootId: 7, startedAt: start - 5, address: address(9) })
    const machine = among(1)
    machine.receive(1, rival)
    assert.lengthOf(machine.eventsOf("NameConflict"), 0)
    const told = machine.sentOf("Alive").filter(({ message, to }) =>
      message.id === id(0) && to.host === address(9).host
    )
    assert.lengthOf(told, 1)
    for (let second = 0; second < 30; second++) {
      machine.advance(1000)
      machine.receive(1, rival)
    }
    assert.lengthOf(machine.eventsOf("NameConflict"), 0)
    machine.advance(6000)
    machine.receive(1, rival)
    assert.lengthOf(machine.eventsOf("NameConflict"), 1, "all say so for longer than a death stays unknown")
  })

  it("rises above a later run of its name that has died meanwhile", () => {
    const machine = among(1)
    const { bootId: _bootId, ...later } = self(0)
    machine.receive(1, {
      ...later,
      _tag: "State",
      bootId: 7,
      startedAt: start + 500,
      status: "dead",
      age: 10
    })
    assert.strictEqual(Swim.self(machine.swim).startedAt, start + 501)
    assert.strictEqual(machine.swim.incarnation, 1)
  })

  it("refuses starts more than a day ahead", () => {
    const machine = new Machine()
    machine.receive(1, alive(1, 0, { startedAt: start + 25 * 3_600_000 }))
    assert.strictEqual(machine.status(1), undefined)
    assert.deepStrictEqual(machine.rejected, ["start-in-the-future"])
  })

  it("holds a bounded number of members", () => {
    const machine = new Machine({ maxMembers: 16 })
    for (let i = 1; i <= 30; i++) machine.receive(i, alive(i))
    assert.strictEqual(Swim.members(machine.swim).length, 16)
    assert.strictEqual(machine.rejected.length, 15)
  })
})
