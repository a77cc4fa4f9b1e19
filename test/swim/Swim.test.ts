import { assert, describe, it } from "@effect/vitest"
import * as Member from "../../src/swim/Member.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import * as Messages from "../wire/Messages.ts"
import { address, alive, among, id, Machine } from "./Machine.ts"

describe("Swim", () => {
  it("gives the same outputs for the same seed and inputs, byte for byte (M7)", () => {
    const run = (seed: number): string => {
      const machine = new Machine({}, seed)
      const random = Prng.make(99)
      for (let i = 0; i < 500; i++) {
        machine.receive(Prng.below(random, 20), Messages.make(random))
        machine.advance(Prng.below(random, 100))
      }
      return JSON.stringify(machine.outputs)
    }
    assert.strictEqual(run(1), run(1))
    assert.notStrictEqual(run(1), run(2))
  })

  it("survives any messages on any channel in bounded state, and no datagram exceeds the budget (M5, M6)", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const machine = among(5, { maxMembers: 64, maxTombstones: 16 }, seed)
      const random = Prng.make(seed)
      for (let i = 0; i < 4000; i++) {
        const message = Messages.make(random)
        if (Prng.below(random, 3) > 0) machine.receive(Prng.below(random, 8), message)
        else {
          const stream = 1 + 2 * Prng.below(random, 100)
          const remote = address(1)
          machine.step({ _tag: "StreamOpened", now: machine.now, stream, remote, initiator: false })
          machine.step({ _tag: "StreamReceived", now: machine.now, stream, messages: [message] })
        }
        machine.advance(Prng.below(random, 20))
      }
      const { swim } = machine
      assert.isAtMost(machine.largest, Params.lan.datagramBudget)
      assert.isAtMost(swim.table.size, 64)
      assert.isAtMost(swim.items.size, 32)
      assert.isAtMost(swim.updates.byKey.size, 128)
      assert.isAtMost(swim.relays.size, 1024)
      assert.isAtMost(swim.streams.size, 2 * Params.lan.maxStreams)
      assert.isAtMost(swim.timers.heap.length, 4000)
    }
  })

  it("keeps every datagram within a small budget, however large names and metadata are", () => {
    const machine = new Machine({ datagramBudget: 1200 })
    for (let i = 1; i <= 60; i++) {
      machine.receive(i, alive(i, 0, { meta: new Uint8Array(512), id: Member.id(`${i}`.padStart(120, "x")) }))
    }
    machine.advance(20_000)
    assert.isAbove(machine.largest, 800)
    assert.isAtMost(machine.largest, 1200)
  })

  it("asks for one wake-up at a time and never for the past", () => {
    const machine = among(5)
    machine.advance(5000)
    machine.clear()
    for (let i = 0; i < 100; i++) {
      const before = machine.now
      machine.advance(37)
      for (const output of machine.outputs.splice(0)) {
        if (output._tag === "SetTimer") assert.isAtLeast(output.at, before)
      }
    }
  })

  it("what is set by the first packet after a stall is not shifted with the rest", () => {
    const machine = among(3, { streamPing: false })
    machine.answers = true
    machine.advance(5000)
    machine.stall(300_000)
    machine.receive(1, alive(1, 1))
    machine.clear()
    machine.advance(50)
    assert.isTrue(machine.sentOf("Alive").some(({ message }) => message.id === id(1)))
  })

  it("shows itself first, then everybody, the dead included", () => {
    const machine = among(2)
    machine.receive(2, { _tag: "Dead", id: id(1), bootId: 1001, incarnation: 0, from: id(2) })
    assert.deepStrictEqual(Swim.members(machine.swim).map(({ status }) => status), ["alive", "dead", "alive"])
    assert.strictEqual(Swim.member(machine.swim, id(1))?.status, "dead")
    assert.deepInclude(Swim.health(machine.swim), { alive: 1, suspect: 0, dead: 1, left: 0, score: 0 })
  })

  it("refuses metadata above 512 bytes and keeps the old", () => {
    const machine = among(2)
    machine.command({ _tag: "SetMeta", meta: new Uint8Array(513) })
    assert.deepStrictEqual(machine.rejected, ["oversized-metadata"])
    assert.strictEqual(Swim.self(machine.swim).meta.length, 0)
  })

  it("plain SWIM, Lifeguard and the extensions are the same code with switches", () => {
    const off = {
      awareness: false,
      nacks: false,
      askFirst: false,
      confirmProbes: false,
      corrections: false,
      streamPing: false,
      eagerDelay: 0,
      settleInterval: 0,
      suspicionBeta: 1
    }
    const machine = among(5, off)
    machine.advance(30_000)
    assert.strictEqual(machine.swim.awareness.score, 0)
    assert.isAbove(machine.eventsOf("Failed").length, 0)
    assert.deepStrictEqual(machine.sentOf("Ask"), [])
  })
})
