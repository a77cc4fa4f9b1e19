import { assert, describe, it } from "@effect/vitest"
import { accuse, address, alive, among, id, type Machine } from "./Machine.ts"

const noConfirm = { confirmProbes: false, streamPing: false }

/** Lets everybody answer pings at once except the silent ones. */
const answering = (machine: Machine, duration: number, silent: ReadonlySet<string>): void => {
  let seen = machine.sent.length
  for (let passed = 0; passed < duration; passed++) {
    machine.advance(1)
    for (; seen < machine.sent.length; seen++) {
      const sent = machine.sent[seen]
      if (sent?.message._tag !== "Ping" || silent.has(sent.message.target)) continue
      machine.step({
        _tag: "Received",
        now: machine.now,
        from: sent.to,
        messages: [{ _tag: "Ack", seq: sent.message.seq, digest: 0 }]
      })
    }
  }
}

describe("Probe", () => {
  it("pings one member per interval, every member once per round", () => {
    const machine = among(8, noConfirm)
    answering(machine, 8000, new Set())
    const pings = machine.sentOf("Ping")
    assert.strictEqual(pings.length, 8)
    assert.strictEqual(new Set(pings.map(({ message }) => message.target)).size, 8)
    for (const [i, ping] of pings.entries()) {
      const before = pings[i - 1]
      if (before !== undefined) assert.closeTo(ping.at - before.at, 1000, 1)
    }
    assert.strictEqual(machine.swim.suspicions.size, 0)
  })

  it("asks relays after the timeout, with the time that is left, and judges at the end of the interval", () => {
    const machine = among(8, noConfirm)
    const ping = machine.until("Ping", 1100)
    machine.clear()
    machine.advance(499)
    assert.strictEqual(machine.sentOf("PingReq").length, 0)
    machine.advance(1)
    const requests = machine.sentOf("PingReq")
    assert.strictEqual(requests.length, 3)
    assert.strictEqual(new Set(requests.map(({ to }) => to.host)).size, 3)
    for (const { message, to } of requests) {
      assert.strictEqual(message.target, ping.message.target)
      assert.strictEqual(message.left, 500)
      assert.notStrictEqual(to.host, ping.to.host)
    }
    machine.advance(499)
    assert.strictEqual(machine.eventsOf("Suspected").length, 0)
    machine.advance(1)
    assert.strictEqual(machine.eventsOf("Suspected").length, 1)
  })

  it("takes an acknowledgement through a relay", () => {
    const machine = among(8, noConfirm)
    const ping = machine.until("Ping", 1100)
    machine.advance(800)
    machine.receive(7, { _tag: "Ack", seq: ping.message.seq, digest: 0 })
    machine.advance(300)
    assert.strictEqual(machine.eventsOf("Suspected").length, 0)
    assert.strictEqual(machine.swim.awareness.score, 0)
  })

  it("a failure that a relay reports in time costs no health, the silence of all relays does", () => {
    for (const nacks of [0, 1, 3]) {
      const machine = among(8, noConfirm)
      machine.until("Ping", 1100)
      const first = machine.until("PingReq", 600)
      machine.advance(400)
      for (let i = 0; i < nacks; i++) machine.receive(i + 1, { _tag: "Nack", seq: first.message.seq })
      machine.advance(100)
      assert.strictEqual(machine.eventsOf("Suspected").length, 1)
      assert.strictEqual(machine.swim.awareness.score, nacks === 0 ? 3 : 0)
    }
  })

  it("a missing nack of a relay that is suspect costs no health", () => {
    const machine = among(8, noConfirm)
    machine.until("Ping", 1100)
    const first = machine.until("PingReq", 600)
    const relays = machine.sentOf("PingReq").map(({ to }) => Number(to.host.split(".")[3]))
    for (const relay of relays) machine.receive(relay === 1 ? 2 : 1, accuse("Suspect", relay, 0))
    assert.isDefined(first)
    machine.advance(500)
    assert.strictEqual(machine.swim.awareness.score, 0)
  })

  it("stretches interval and timeout by its health score", () => {
    const machine = among(8, noConfirm)
    machine.swim.awareness.score = 2
    machine.until("Ping", 1100)
    machine.clear()
    machine.advance(1499)
    assert.strictEqual(machine.sentOf("PingReq").length, 0)
    machine.advance(1)
    assert.isAbove(machine.sentOf("PingReq").length, 0)
    assert.strictEqual(machine.sentOf("PingReq")[0]?.message.left, 1500)
    machine.advance(1499)
    assert.strictEqual(machine.sentOf("Ping").length, 0)
    machine.advance(1)
    assert.strictEqual(machine.sentOf("Ping").length, 1)
  })

  it("relays a ping, passes the answer on, and nacks at 80 % of the time left", () => {
    const machine = among(8, noConfirm)
    const request = {
      _tag: "PingReq",
      seq: 77,
      target: id(5),
      address: address(5),
      from: id(2),
      left: 500
    } as const
    machine.receive(2, request)
    const ping = machine.sentOf("Ping").find(({ message }) => message.target === id(5))
    assert.isDefined(ping)
    machine.advance(399)
    assert.strictEqual(machine.sentOf("Nack").length, 0)
    machine.advance(1)
    assert.deepStrictEqual(machine.sentOf("Nack").map(({ message, to }) => [message.seq, to.host]), [[
      77,
      address(2).host
    ]])
    // A late answer still counts.
    machine.receive(5, { _tag: "Ack", seq: ping.message.seq, digest: 0 })
    assert.isTrue(machine.sentOf("Ack").some(({ message, to }) => message.seq === 77 && to.host === address(2).host))
  })

  it("tells the suspect of its suspicion with every ping, also as a relay", () => {
    const machine = among(8, noConfirm)
    machine.receive(2, accuse("Suspect", 5, 0))
    machine.clear()
    machine.receive(2, { _tag: "PingReq", seq: 1, target: id(5), address: address(5), from: id(2), left: 500 })
    const told = machine.outputs.find((output) => output._tag === "Send" && output.to.host === address(5).host)
    assert.isTrue(told?._tag === "Send" && told.messages.some((m) => m._tag === "Suspect" && m.id === id(5)))
  })

  it("answers pings for itself only, and asks strangers who they are", () => {
    const machine = among(2)
    const ping = { _tag: "Ping", seq: 5, target: id(0), from: id(1), bootId: 1001, digest: 0 } as const
    machine.receive(1, ping)
    assert.deepStrictEqual(machine.sentOf("Ack").map(({ message }) => message.seq), [5])
    machine.clear()
    machine.receive(1, { ...ping, target: id(9) })
    assert.deepStrictEqual(machine.sentOf("Ack"), [])
    assert.deepStrictEqual(machine.rejected, ["ping-for-another"])
    machine.clear()
    machine.receive(6, { ...ping, from: id(6), bootId: 1006 })
    assert.strictEqual(machine.sentOf("Who").length, 1)
    machine.receive(6, { ...ping, from: id(6), bootId: 1006 })
    assert.strictEqual(machine.sentOf("Who").length, 1, "at most once a second")
  })

  it("does not suspect a member that refuted while it was being probed", () => {
    const machine = among(1, noConfirm)
    machine.until("Ping", 1100)
    machine.receive(1, alive(1, 1))
    machine.advance(1000)
    assert.strictEqual(machine.eventsOf("Suspected").length, 0)
  })

  it("pings over a stream beside the relays, and its answer counts", () => {
    const machine = among(1, { confirmProbes: false })
    const ping = machine.until("Ping", 1100)
    machine.advance(500)
    const dial = machine.outputs.find((output) => output._tag === "OpenStream")
    assert.deepInclude(dial, { _tag: "OpenStream", to: address(1) })
    const stream = dial?._tag === "OpenStream" ? dial.stream : 0
    machine.step({ _tag: "StreamOpened", now: machine.now, stream, remote: address(1), initiator: true })
    const { seq } = ping.message
    machine.step({ _tag: "StreamReceived", now: machine.now, stream, messages: [{ _tag: "Ack", seq, digest: 0 }] })
    assert.isTrue(machine.outputs.some((output) => output._tag === "CloseStream" && output.stream === stream))
    machine.advance(600)
    assert.strictEqual(machine.eventsOf("Suspected").length, 0)
    assert.strictEqual(machine.swim.awareness.lost, 1, "but the datagram was lost")
  })

  it("an answer read after a late wake-up is not counted as lost", () => {
    const machine = among(3, { confirmProbes: false, streamPing: false })
    const ping = machine.until("Ping", 1100)
    machine.stall(5000)
    machine.step({ _tag: "TimerFired", now: machine.now })
    machine.receive(1, { _tag: "Ack", seq: ping.message.seq, digest: 0 })
    machine.drained()
    machine.advance(1100)
    assert.strictEqual(machine.eventsOf("Suspected").length, 0)
    assert.strictEqual(machine.swim.awareness.lost, 0)
  })

  it("keeps probing when nobody answers and nothing else is known", () => {
    const machine = among(1, noConfirm)
    machine.advance(4000)
    assert.isAtLeast(machine.sentOf("Ping").length, 3)
  })

  it("on a first suspicion some members check the suspect out of turn", () => {
    let checks = 0
    for (let seed = 1; seed <= 100; seed++) {
      const machine = among(20, { streamPing: false }, seed)
      machine.receive(3, accuse("Suspect", 5, 0))
      if (machine.sentOf("Ping").some(({ message }) => message.target === id(5))) checks++
    }
    // K + 1 = 3 of 19 others.
    assert.isAbove(checks, 5)
    assert.isBelow(checks, 35)
  })

  it("a failed check of a suspect confirms the suspicion", () => {
    const machine = among(3, { streamPing: false })
    machine.receive(3, accuse("Suspect", 2, 0, 3))
    assert.isTrue(machine.sentOf("Ping").some(({ message }) => message.target === id(2)))
    machine.advance(1100)
    const suspicion = [...machine.swim.suspicions.values()][0]
    assert.deepStrictEqual(suspicion?.accusers, [id(3), id(0)])
  })
})
