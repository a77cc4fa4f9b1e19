import { assert, describe, it } from "@effect/vitest"
import { alive, among, id } from "./Machine.ts"

const about = (machine: ReturnType<typeof among>, index: number): Array<number> =>
  machine.sentOf("Alive").filter(({ message }) => message.id === id(index)).map(({ at }) => at)

describe("Spread", () => {
  it("forwards fresh news after 2 ms, then by the tick, all within the transmit budget", () => {
    const machine = among(50, { streamPing: false })
    machine.answers = true
    machine.advance(10_000)
    machine.clear()
    const began = machine.now
    machine.receive(1, alive(1, 1))
    machine.advance(5000)
    const sends = about(machine, 1).map((at) => at - began)
    assert.strictEqual(sends.length, 8)
    assert.strictEqual(sends.filter((at) => at <= 10).length, 6)
    assert.closeTo(sends[0] ?? 0, 2, 0.01)
  })

  it("without eager forwarding only the tick and pings carry news", () => {
    const machine = among(50, { eagerDelay: 0, streamPing: false })
    machine.answers = true
    machine.advance(10_000)
    machine.clear()
    const began = machine.now
    machine.receive(1, alive(1, 1))
    machine.advance(5000)
    assert.strictEqual(about(machine, 1).length, 8)
    assert.isAbove((about(machine, 1).at(-1) ?? 0) - began, 200)
  })

  it("tells everybody in a small cluster before it tells anybody twice", () => {
    const machine = among(8, { streamPing: false, probeInterval: 60_000, pushPullInterval: 60_000 })
    machine.advance(10_000)
    machine.clear()
    machine.command({ _tag: "SetMeta", meta: new Uint8Array([1]) })
    machine.advance(1000)
    const targets = machine.sentOf("Alive").filter(({ message }) => message.id === id(0)).map(({ to }) => to.host)
    assert.strictEqual(targets.length, 8)
    assert.isAtLeast(new Set(targets).size, 7)
  })

  it("sends no more eager packets per interval than allowed", () => {
    const machine = among(100, { eagerBudget: 12, streamPing: false })
    machine.answers = true
    machine.advance(30_000)
    machine.clear()
    for (let i = 0; i < 200; i++) {
      machine.receive(1, alive(1 + i % 100, 1 + i))
      machine.advance(1)
    }
    const packets = machine.outputs.filter((output) => output._tag === "Send").length
    assert.isBelow(packets, 12 * 2 + 30)
  })
})
