import { assert, describe, it } from "@effect/vitest"
import { accuse, address, alive, among, id, type Machine } from "./Machine.ts"

const quiet = { confirmProbes: false, streamPing: false }

const suspected = (n: number, params: Parameters<typeof among>[1] = {}): Machine => {
  const machine = among(n, { ...quiet, ...params })
  // Pings are answered, so that no accusation of our own comes in between.
  machine.answers = true
  machine.receive(2, accuse("Suspect", 1, 0, 2))
  return machine
}

const deadAfter = (machine: Machine, limit: number): number => {
  const began = machine.now
  while (machine.now - began < limit && machine.status(1) !== "dead") machine.advance(10)
  return machine.status(1) === "dead" ? machine.now - began : -1
}

describe("Suspicion", () => {
  it("everyone who hears of it runs its own timer: it does not die with the accuser", () => {
    const machine = suspected(2)
    const took = deadAfter(machine, 30_000)
    // Three living members: one confirmation is possible, none comes.
    assert.isAtLeast(took, 24_000)
    assert.isAtMost(took, 24_100)
    assert.strictEqual(machine.eventsOf("Failed").length, 1)
  })

  it("is shortened from maximum to minimum by independent confirmations (Lifeguard)", () => {
    const machine = suspected(9)
    machine.receive(3, accuse("Suspect", 1, 0, 3))
    machine.receive(3, accuse("Suspect", 1, 0, 3))
    const suspicion = [...machine.swim.suspicions.values()][0]
    assert.isDefined(suspicion)
    assert.strictEqual(suspicion.accusers.length, 2)
    assert.closeTo(suspicion.deadline - suspicion.start, 24_000 - 20_000 * Math.log(2) / Math.log(3), 1)
    machine.receive(4, accuse("Suspect", 1, 0, 4))
    assert.strictEqual(suspicion.deadline - suspicion.start, 4000)
    machine.receive(5, accuse("Suspect", 1, 0, 5))
    assert.strictEqual(suspicion.accusers.length, 3)
    const took = deadAfter(machine, 30_000)
    assert.isAtLeast(took, 4000)
    assert.isAtMost(took, 4050)
  })

  it("passes new confirmations on", () => {
    const machine = suspected(9)
    machine.advance(3000)
    machine.clear()
    machine.receive(3, accuse("Suspect", 1, 0, 3))
    machine.advance(500)
    assert.isTrue(machine.sentOf("Suspect").some(({ message }) => message.from === id(3)))
  })

  it("ends with a refutation and tells the refuted nothing", () => {
    const machine = suspected(9)
    machine.receive(1, alive(1, 1))
    assert.strictEqual(machine.status(1), "alive")
    assert.strictEqual(machine.eventsOf("Refuted").length, 1)
    machine.clear()
    assert.strictEqual(deadAfter(machine, 30_000), -1)
    assert.deepStrictEqual(machine.sentOf("Dead").filter(({ message }) => message.id === id(1)), [])
  })

  it("tells everybody of a death of its own finding in a small cluster", () => {
    const machine = suspected(9)
    machine.clear()
    assert.isAtLeast(deadAfter(machine, 30_000), 0)
    const told = machine.sentOf("Dead").filter(({ message }) => message.id === id(1)).map(({ to }) => to.host)
    for (let other = 2; other <= 8; other++) assert.include(told, address(other).host)
  })

  it("does not stack: one timer per member and incarnation", () => {
    const machine = suspected(9)
    machine.receive(1, alive(1, 1))
    machine.advance(3900)
    machine.receive(2, accuse("Suspect", 1, 1, 2))
    assert.strictEqual(machine.swim.suspicions.size, 1)
    machine.receive(3, accuse("Suspect", 1, 1, 3))
    machine.receive(4, accuse("Suspect", 1, 1, 4))
    const took = deadAfter(machine, 30_000)
    assert.isAtLeast(took, 4000)
  })

  it("does not fire before everything received has been processed", () => {
    const machine = suspected(2)
    machine.advance(23_900)
    machine.drains = false
    machine.advance(250)
    assert.strictEqual(machine.status(1), "suspect")
    machine.receive(1, alive(1, 1))
    machine.drained()
    assert.strictEqual(machine.status(1), "alive")
  })

  it("fires after 250 ms on a socket that is never empty", () => {
    const machine = suspected(2)
    machine.drains = false
    machine.advance(24_500)
    assert.strictEqual(machine.status(1), "dead")
  })

  it("a late wake-up shifts the deadline by its lateness, a small lateness shifts nothing", () => {
    const machine = suspected(2)
    machine.advance(1000)
    machine.stall(10_000)
    assert.isAtLeast(deadAfter(machine, 60_000), 22_000)
    const punctual = suspected(2)
    punctual.advance(1000)
    const before = [...punctual.swim.suspicions.values()][0]?.deadline
    punctual.stall(90)
    punctual.advance(10)
    assert.strictEqual([...punctual.swim.suspicions.values()][0]?.deadline, before)
  })

  it("asks the suspect and others one interval before it fires", () => {
    const machine = suspected(9)
    machine.receive(3, accuse("Suspect", 1, 0, 3))
    machine.receive(4, accuse("Suspect", 1, 0, 4))
    machine.advance(2900)
    machine.clear()
    machine.advance(200)
    const asks = machine.sentOf("Ask")
    assert.strictEqual(asks.length, 3)
    assert.isTrue(asks.every(({ message, to }) => message.id === id(1) && to.host !== address(1).host))
    const told = machine.outputs.find((output) => output._tag === "Send" && output.to.host === address(1).host)
    assert.isTrue(told?._tag === "Send" && told.messages.some((m) => m._tag === "Suspect"))
    machine.receive(asks[0] === undefined ? 2 : Number(asks[0].to.host.split(".")[3]), alive(1, 1))
    assert.strictEqual(deadAfter(machine, 20_000), -1)
  })

  it("asks again and again when it is alone with its accusation and not well itself", () => {
    const asked = (score: number): number => {
      const machine = among(9, quiet)
      machine.receive(3, accuse("Suspect", 1, 0, 0))
      machine.answers = true
      machine.swim.awareness.score = score
      let asks = 0
      while (machine.status(1) !== "dead" && machine.now < 30_000) {
        machine.swim.awareness.score = score
        machine.clear()
        machine.advance(10)
        asks += machine.sentOf("Ask").length
      }
      return asks
    }
    assert.strictEqual(asked(0), 3)
    assert.strictEqual(asked(4), 12)
  })

  it("is passed on by those who are asked and had not heard of it, so that the accused can answer", () => {
    const machine = among(9, quiet)
    machine.receive(2, { _tag: "Ask", id: id(1), bootId: 1001, incarnation: 0, from: id(2) })
    assert.strictEqual(machine.status(1), "suspect")
    machine.advance(500)
    assert.isTrue(machine.sentOf("Suspect").some(({ message }) => message.id === id(1) && message.from === id(2)))
  })

  it("waits one interval after asking even when confirmations put the deadline into the past", () => {
    const machine = suspected(9)
    machine.advance(10_000)
    machine.receive(3, accuse("Suspect", 1, 0, 3))
    machine.receive(4, accuse("Suspect", 1, 0, 4))
    const took = deadAfter(machine, 10_000)
    assert.isAtLeast(took, 1000)
    assert.isAtMost(took, 1100)
  })

  it("answers those who ask about a member with what it knows better", () => {
    const machine = among(3, quiet)
    const ask = { _tag: "Ask", id: id(1), bootId: 1001, incarnation: 0, from: id(2) } as const
    machine.receive(2, ask)
    assert.deepStrictEqual(machine.sentOf("Alive"), [])
    machine.receive(1, alive(1, 1))
    machine.clear()
    machine.receive(2, ask)
    assert.deepStrictEqual(machine.sentOf("Alive").map(({ message }) => [message.id, message.incarnation])[0], [
      id(1),
      1
    ])
  })
})
