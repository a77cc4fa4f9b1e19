import { assert, describe, it } from "@effect/vitest"
import type * as Message from "../../src/swim/Message.ts"
import { Scene } from "../testing/simulator/Scene.ts"
import { address, alive, among } from "./Machine.ts"

const quiet = { eagerDelay: 0, streamPing: false } as const

describe("Newcomers", () => {
  it("that join at the same moment know each other at once, for every seed", () => {
    for (let seed = 1; seed <= 10; seed++) {
      const scene = new Scene({ seed, network: { latency: { _tag: "Uniform", from: 0.5, to: 15 } } })
      scene.run(500)
      for (let node = 1; node < 30; node++) scene.act({ _tag: "Start", nodes: [node], seeds: [0] })
      assert.isAtMost(scene.within(`join of seed ${seed}`, () => scene.isComplete(), 5000), 150)
    }
  })

  it("are greeted by newcomers only, once, and not when they have spoken themselves", () => {
    const machine = among(3, quiet)
    machine.receive(1, alive(10))
    assert.strictEqual(machine.sent.length, 0, "a settled member leaves it to gossip")
    machine.swim.greetings = 2
    machine.swim.greetUntil = machine.now + 1500
    machine.receive(1, alive(11))
    machine.receive(12, alive(12))
    machine.receive(1, alive(13), alive(14))
    assert.deepStrictEqual(machine.sentOf("Alive").map(({ to }) => to), [address(11), address(13)])
    machine.clear()
    machine.advance(1600)
    machine.swim.greetings = 5
    machine.clear()
    machine.receive(1, alive(15))
    assert.strictEqual(machine.sent.length, 0)
  })

  it("are told of later ones by whoever let them in, for a while", () => {
    const machine = among(3, quiet)
    const letIn = (index: number, stream: number) => {
      const remote = address(index)
      const { _tag: _, ...state } = alive(index)
      const from = state.id
      const step = (messages: Array<Message.Message>) =>
        machine.step({ _tag: "StreamReceived", now: machine.now, stream, messages })
      machine.step({ _tag: "StreamOpened", now: machine.now, stream, remote, initiator: false })
      step([{ _tag: "SyncDigest", from, bootId: state.bootId, join: true, count: 0, hash: 0 }])
      step([{ ...state, _tag: "State", status: "alive", age: 0 }, { _tag: "SyncEnd" }])
    }
    letIn(20, 1)
    assert.strictEqual(machine.sentOf("Alive").length, 0)
    letIn(21, 3)
    assert.deepStrictEqual(machine.sentOf("Alive").map(({ message, to }) => [message.id, to]), [["n21", address(20)]])
    machine.answers = true
    machine.advance(2000)
    machine.clear()
    letIn(22, 5)
    assert.strictEqual(machine.sentOf("Alive").length, 0)
  })
})
