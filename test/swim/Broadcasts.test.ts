import { assert, describe, it } from "@effect/vitest"
import type * as Message from "../../src/swim/Message.ts"
import type * as Swim from "../../src/swim/Swim.ts"
import { accuse, address, alive, among, id, Machine } from "./Machine.ts"

const broadcast = (seq: number, extra: Partial<Message.Broadcast> = {}): Message.Broadcast => ({
  _tag: "Broadcast",
  origin: id(1),
  bootId: 1001,
  lane: 0,
  seq,
  kind: "k",
  key: "",
  payload: new Uint8Array(10),
  ...extra
})

const have = (head: number, extra: Partial<Message.Have> = {}): Message.Have => ({
  _tag: "Have",
  from: id(1),
  origin: id(1),
  bootId: 1001,
  lane: 0,
  low: 0,
  head,
  ...extra
})

const publish = (machine: Machine, key: string, payload: Uint8Array, extra: { readonly urgent?: boolean } = {}): void =>
  machine.command({ _tag: "Broadcast", kind: "k", key, payload, ...extra })

const isDelivered = (event: Swim.Event): event is Extract<Swim.Event, { readonly _tag: "Delivered" }> =>
  event._tag === "Delivered"

const delivered = (machine: Machine): Array<number> =>
  machine.events.filter(isDelivered).map(({ broadcast }) => broadcast.seq)

describe("Broadcasts", () => {
  it("delivers each once and in the order of its origin, and passes it on at once", () => {
    const machine = among(5)
    for (const seq of [3, 0, 3, 1, 2, 0, 1, 2, 3]) machine.receive(2, broadcast(seq))
    assert.deepStrictEqual(delivered(machine), [0, 1, 2, 3])
    machine.advance(10)
    assert.strictEqual(new Set(machine.sentOf("Broadcast").map(({ message }) => message.seq)).size, 4)
  })

  it("passes on what it does not deliver yet", () => {
    const machine = among(5)
    machine.receive(2, broadcast(7))
    machine.advance(10)
    assert.deepStrictEqual(delivered(machine), [])
    assert.isAbove(machine.sentOf("Broadcast").length, 0)
  })

  it("counts anew for another run of the origin", () => {
    const machine = among(5)
    machine.receive(2, broadcast(0))
    machine.receive(2, broadcast(0, { bootId: 5 }))
    assert.strictEqual(delivered(machine).length, 2)
  })

  it("asks a peer for what is missing, and every second time the origin", () => {
    const machine = among(5)
    machine.answers = true
    machine.receive(2, broadcast(0), broadcast(2))
    const want = machine.until("Want", 500)
    assert.strictEqual(want.message.low, 1)
    assert.deepStrictEqual([...want.message.have], [2])
    machine.until("Want", 500)
    const asked = machine.sentOf("Want").map(({ to }) => to.host)
    assert.strictEqual(asked[1], address(1).host)
    machine.receive(1, broadcast(1))
    assert.deepStrictEqual(delivered(machine), [0, 1, 2])
    machine.clear()
    machine.advance(5000)
    assert.strictEqual(machine.sentOf("Want").length, 0)
  })

  it("notices the loss of the last one by the head that an acknowledgement carries", () => {
    const a = among(5)
    publish(a, "", new Uint8Array(1))
    a.clear()
    a.receive(3, { _tag: "Ping", seq: 1, target: id(0), from: id(3), bootId: 1003, digest: 0 })
    const head = a.sentOf("Have")[0]?.message
    assert.deepInclude(head, { origin: id(0), head: 1, low: 0 })
    const b = among(5)
    b.answers = true
    b.receive(1, have(1))
    assert.strictEqual(b.until("Want", 500).message.low, 0)
  })

  it("answers a member with what it misses, at the address that it announces, and strangers not at all", () => {
    const machine = among(5)
    for (let i = 0; i < 20; i++) publish(machine, "", new Uint8Array(50))
    machine.clear()
    const want: Message.Want = {
      _tag: "Want",
      from: id(3),
      origin: id(0),
      bootId: 1000,
      lane: 0,
      low: 10,
      have: Uint8Array.of(0b101, 0)
    }
    machine.receive(4, want)
    const answer = machine.sentOf("Broadcast").filter(({ to }) => to.host === address(3).host)
    assert.deepStrictEqual(answer.map(({ message }) => message.seq).slice(0, 8), [11, 13, 14, 15, 16, 17, 18, 19])
    assert.strictEqual(machine.sentOf("Have").length, 1)
    machine.clear()
    machine.receive(4, { ...want, from: id(77) })
    assert.deepStrictEqual(machine.rejected, ["want-from-stranger"])
    assert.strictEqual(machine.sent.length, 0)
  })

  it("bounds the answers of one interval", () => {
    const machine = among(5)
    for (let i = 0; i < 100; i++) publish(machine, "", new Uint8Array(50))
    machine.clear()
    const have = new Uint8Array(13)
    for (let i = 0; i < 100; i++) {
      machine.receive(3, { _tag: "Want", from: id(3), origin: id(0), bootId: 1000, lane: 0, low: 0, have })
    }
    assert.strictEqual(machine.sentOf("Have").length, 16)
  })

  it("gives up what its origin has no more", () => {
    const machine = among(5)
    machine.receive(2, broadcast(5))
    machine.receive(1, have(6, { low: 4 }))
    assert.deepStrictEqual(delivered(machine), [])
    machine.receive(2, broadcast(4))
    assert.deepStrictEqual(delivered(machine), [4, 5])
    assert.deepStrictEqual(machine.rejected, ["broadcasts-missed"])
  })

  it("gives up what nobody has after a while when its origin is gone", () => {
    const machine = among(5)
    machine.receive(2, accuse("Dead", 1, 0))
    machine.receive(2, broadcast(1))
    machine.answers = true
    machine.advance(1500)
    assert.deepStrictEqual(delivered(machine), [])
    machine.advance(10_000)
    assert.deepStrictEqual(delivered(machine), [1])
    assert.strictEqual(machine.swim.log.missed, 1)
  })

  it("remembers a bounded number of bytes, and survives a number from far ahead", () => {
    const machine = among(5, { broadcastBytes: 65_536 })
    for (let seq = 0; seq < 40_000; seq += 2) machine.receive(2, broadcast(seq))
    assert.isAtMost(machine.swim.log.bytes, 65_536)
    assert.isBelow(machine.swim.log.lanes.values().next().value?.entries.size ?? Infinity, 2000)
    machine.receive(2, broadcast(2 ** 47), broadcast(2 ** 47 + 1))
    machine.receive(1, have(2 ** 47 + 2, { low: 2 ** 47 }))
    assert.deepStrictEqual(delivered(machine).slice(-2), [2 ** 47, 2 ** 47 + 1])
  })

  it("refuses what fits into no packet, at once", () => {
    const machine = among(5)
    publish(machine, "", new Uint8Array(1300))
    assert.deepStrictEqual(machine.rejected, ["oversized-broadcast"])
    assert.deepStrictEqual(delivered(machine), [])
    publish(machine, "", new Uint8Array(1))
    assert.deepStrictEqual(delivered(machine), [0])
  })

  it("refuses more when the queue is full, and takes it again when there is room", () => {
    const machine = among(5, { broadcastBytes: 65_536 })
    let taken = 0
    while (machine.rejected.length === 0) {
      publish(machine, "", new Uint8Array(1000))
      taken++
    }
    assert.deepStrictEqual(machine.rejected, ["broadcast-queue-full"])
    assert.isAbove(taken, 40)
    assert.isAtMost(machine.swim.broadcasts.bytes, 65_536)
    machine.answers = true
    machine.advance(10_000)
    machine.clear()
    publish(machine, "", new Uint8Array(1000))
    assert.deepStrictEqual(machine.rejected, [])
  })

  it("a newer one with the same key takes the place of an older one, and the others do not wait for that", () => {
    const machine = among(5, { eagerDelay: 0 })
    for (let i = 0; i < 5; i++) publish(machine, "same", new Uint8Array([i]))
    machine.advance(300)
    assert.deepStrictEqual([...new Set(machine.sentOf("Broadcast").map(({ message }) => message.seq))], [4])
    machine.clear()
    const have = new Uint8Array(1)
    machine.receive(3, { _tag: "Want", from: id(3), origin: id(0), bootId: 1000, lane: 0, low: 0, have })
    assert.deepInclude(machine.sentOf("Skip")[0]?.message, { seq: 0, until: 4 })
    const other = among(5)
    other.receive(2, broadcast(4, { key: "same" }))
    other.receive(2, { _tag: "Skip", origin: id(1), bootId: 1001, lane: 0, seq: 0, until: 4 })
    assert.deepStrictEqual(delivered(other), [4])
  })

  it("does not pass on an older one that arrives after the newer one with its key", () => {
    const machine = among(5)
    machine.receive(2, broadcast(1, { key: "same" }))
    machine.advance(20_000)
    machine.clear()
    machine.receive(2, broadcast(0, { key: "same" }))
    machine.advance(1000)
    assert.strictEqual(machine.sentOf("Broadcast").length, 0)
    assert.strictEqual(machine.sentOf("Want").length, 0)
  })

  it("withdraws older ones of the keys that a newer one invalidates", () => {
    const machine = among(5, { eagerDelay: 0 })
    publish(machine, "a", new Uint8Array(1))
    publish(machine, "b", new Uint8Array(1))
    machine.command({ _tag: "Broadcast", kind: "k", key: "c", payload: new Uint8Array(1), invalidates: ["a", "b"] })
    machine.advance(300)
    assert.deepStrictEqual([...new Set(machine.sentOf("Broadcast").map(({ message }) => message.seq))], [2])
  })

  it("sends urgent ones first, in an order of their own", () => {
    const machine = among(5, { eagerDelay: 0 })
    for (let i = 0; i < 100; i++) publish(machine, "", new Uint8Array(200))
    publish(machine, "", new Uint8Array(200), { urgent: true })
    machine.advance(200)
    assert.deepInclude(machine.sentOf("Broadcast")[0]?.message, { lane: 1, seq: 0 })
    const other = among(5)
    other.receive(2, broadcast(3), broadcast(0, { lane: 1 }))
    assert.deepStrictEqual(delivered(other), [0])
  })

  it("keeps what was said while alone for those who join", () => {
    const machine = new Machine()
    for (let i = 0; i < 10; i++) publish(machine, "", new Uint8Array(10))
    assert.strictEqual(machine.swim.broadcasts.byKey.size, 0)
    machine.receive(1, alive(1))
    machine.clear()
    machine.receive(1, {
      _tag: "Want",
      from: id(1),
      origin: id(0),
      bootId: 1000,
      lane: 0,
      low: 0,
      have: new Uint8Array(2)
    })
    assert.strictEqual(machine.sentOf("Broadcast").length, 10)
  })

  it("keeps a share of each packet while member news abounds, and the backlog ends (M5)", () => {
    const machine = among(200, { eagerDelay: 0 })
    for (let i = 1; i <= 150; i++) machine.receive(200, accuse("Dead", i, 0))
    for (let i = 0; i < 20; i++) publish(machine, "", new Uint8Array(40))
    machine.clear()
    machine.advance(250)
    const packets = machine.outputs.filter((output) => output._tag === "Send" && output.messages.length > 5)
    assert.isAbove(packets.length, 0)
    for (const packet of packets) {
      assert.isTrue(packet._tag === "Send" && packet.messages.some(({ _tag }) => _tag === "Broadcast"))
    }
    machine.answers = true
    machine.advance(60_000)
    assert.strictEqual(machine.swim.broadcasts.byKey.size, 0)
    assert.strictEqual(machine.swim.updates.byKey.size, 0)
    assert.isAtMost(machine.largest, 1400)
  })

  it("forgets what was said after its age, and then lanes of runs that are over", () => {
    const machine = among(5)
    machine.answers = true
    machine.receive(2, broadcast(0))
    machine.receive(2, broadcast(0, { origin: id(99), bootId: 7 }))
    machine.advance(400_000)
    assert.strictEqual(machine.swim.log.bytes, 0)
    assert.strictEqual(machine.swim.log.lanes.size, 1)
    machine.clear()
    machine.receive(2, broadcast(0))
    assert.deepStrictEqual(delivered(machine), [])
  })
})
