import { assert, describe, it } from "@effect/vitest"
import { accuse, address, alive, among, id, left, Machine } from "./Machine.ts"

/** Every dial fails, at once. */
const refusing = (machine: Machine, duration: number): Array<number> => {
  const dials: Array<number> = []
  for (let passed = 0; passed < duration; passed += 10) {
    for (const output of machine.outputs.splice(0)) {
      if (output._tag !== "OpenStream") continue
      dials.push(machine.now)
      machine.step({ _tag: "StreamClosed", now: machine.now, stream: output.stream, error: "refused" })
    }
    machine.advance(10)
  }
  return dials
}

describe("Recovery", () => {
  it("tries its seeds for ever, with growing pauses up to one push-pull interval", () => {
    const machine = new Machine()
    machine.command({ _tag: "Join", seeds: [address(1)] })
    const dials = refusing(machine, 600_000)
    const pauses = dials.slice(1).map((at, i) => at - (dials[i] ?? 0))
    assert.isBelow(pauses[0] ?? Infinity, 400)
    assert.isAtMost(Math.max(...pauses), 1.5 * 30_000 + 20)
    assert.isAbove(pauses.length, 20)
    assert.isAbove(new Set(pauses).size, 10, "with jitter")
    assert.strictEqual(machine.eventsOf("JoinRetry").length, dials.length)
  })

  it("ignores itself as a seed, and takes each seed once", () => {
    const machine = new Machine()
    machine.command({ _tag: "Join", seeds: [address(0), address(1), address(1)] })
    assert.strictEqual(machine.outputs.filter(({ _tag }) => _tag === "OpenStream").length, 1)
  })

  it("tells the dead what it holds of them, with growing pauses, for as long as they may rejoin", () => {
    const machine = among(2, { rejoinFor: 300_000 })
    machine.answers = true
    machine.receive(2, accuse("Dead", 1, 0))
    machine.clear()
    machine.advance(900_000)
    const told = machine.sentOf("Dead").filter(({ to }) => to.host === address(1).host)
    assert.isAbove(told.length, 8)
    assert.isBelow(told.length, 30)
    assert.isBelow(told.at(-1)?.at ?? Infinity, 340_000)
  })

  it("answers a packet of a member it holds dead or left with that state, once a second", () => {
    for (const [claim, tag] of [[accuse("Dead", 1, 0), "Dead"], [left(1, 0), "Left"]] as const) {
      const machine = among(2)
      machine.receive(2, claim)
      machine.clear()
      const ping = { _tag: "Ping", seq: 1, target: id(0), from: id(1), bootId: 1001, digest: 0 } as const
      const answers = (): number =>
        machine.outputs.filter((output) =>
          output._tag === "Send" && output.messages[0]?._tag === "Ack" && output.messages[1]?._tag === tag
        ).length
      machine.receive(1, ping)
      machine.receive(1, ping)
      assert.strictEqual(answers(), 1)
      machine.advance(1001)
      machine.receive(1, ping)
      assert.strictEqual(answers(), 2)
    }
  })

  it("compares tables with whoever comes back from the dead", () => {
    const machine = among(2)
    machine.advance(2000)
    machine.receive(2, accuse("Dead", 1, 0))
    machine.clear()
    machine.receive(1, alive(1, 1))
    const dial = machine.outputs.find(({ _tag }) => _tag === "OpenStream")
    assert.deepInclude(dial, { _tag: "OpenStream", to: address(1) })
  })

  it("compares tables when a peer's digest differs though nothing is under way", () => {
    const machine = among(2, { streamPing: false })
    machine.answers = true
    machine.advance(10_000)
    machine.clear()
    const ping = { _tag: "Ping", seq: 1, target: id(0), from: id(1), bootId: 1001 } as const
    machine.receive(1, { ...ping, digest: 12345 })
    machine.receive(1, { ...ping, digest: 54321 })
    assert.strictEqual(machine.outputs.filter(({ _tag }) => _tag === "OpenStream").length, 1)
  })

  it("forgets tombstones after their retention and above their bound, the oldest first", () => {
    const machine = among(30, {
      tombstoneRetention: 120_000,
      rejoinFor: 0,
      maxTombstones: 16,
      pushPullInterval: 60_000
    })
    machine.answers = true
    for (let i = 1; i <= 20; i++) {
      machine.receive(30, accuse("Dead", i, 0))
      machine.advance(200)
    }
    machine.advance(60_000)
    assert.strictEqual(machine.swim.table.counts[2], 16)
    assert.strictEqual(machine.status(1), undefined)
    assert.strictEqual(machine.status(20), "dead")
    machine.advance(120_000)
    assert.strictEqual(machine.swim.table.counts[2], 0)
    assert.strictEqual(machine.swim.table.counts[0], 10)
  })

  it("restores saved members with their ages, and a restored life never overrides a newer death", () => {
    const machine = among(1)
    machine.receive(1, accuse("Dead", 1, 3))
    const { _tag, ...saved } = alive(1, 2)
    assert.strictEqual(_tag, "Alive")
    const old = { ...alive(5), _tag: "State", status: "dead", age: 3_600_000 } as const
    machine.command({ _tag: "Restore", states: [{ ...saved, _tag: "State", status: "alive", age: 5 }, old] })
    assert.strictEqual(machine.status(1), "dead")
    assert.strictEqual(machine.status(5), "dead")
  })
})
