import { assert, describe, it } from "@effect/vitest"
import type * as Message from "../../src/swim/Message.ts"
import type * as Swim from "../../src/swim/Swim.ts"
import { accuse, alive, among, id, type Machine } from "./Machine.ts"

const direct = (seq: number, extra: Partial<Message.Direct> = {}): Message.Direct => ({
  _tag: "Direct",
  from: id(1),
  bootId: 1001,
  to: id(0),
  toBoot: 1000,
  seq,
  base: 0,
  kind: "k",
  payload: new Uint8Array(10),
  ...extra
})

const send = (machine: Machine, token: number, to = 1, bytes = 10): void =>
  machine.command({ _tag: "Send", to: id(to), token, kind: "k", payload: new Uint8Array(bytes) })

const outcomes = (machine: Machine): Array<string> =>
  machine.events.flatMap((event) => event._tag === "Sent" ? [`${event.token} ${event.error ?? "ok"}`] : [])

const isReceived = (event: Swim.Event): event is Extract<Swim.Event, { readonly _tag: "Received" }> =>
  event._tag === "Received"

const received = (machine: Machine): Array<number> =>
  machine.events.filter(isReceived).map(({ message }) => message.seq)

describe("Direct", () => {
  it("repeats a message until it is acknowledged", () => {
    const machine = among(3)
    machine.answers = true
    send(machine, 5)
    machine.advance(1000)
    assert.isAbove(machine.sentOf("Direct").length, 2)
    assert.deepStrictEqual(outcomes(machine), [])
    machine.receive(1, { _tag: "DirectAck", from: id(1), bootId: 1000, seq: 0 })
    assert.deepStrictEqual(outcomes(machine), ["5 ok"])
    machine.clear()
    machine.advance(5000)
    assert.strictEqual(machine.sentOf("Direct").length, 0)
  })

  it("delivers in order and once, and acknowledges each copy", () => {
    const machine = among(3)
    for (const seq of [1, 0, 0, 2, 1]) machine.receive(1, direct(seq))
    assert.deepStrictEqual(received(machine), [0, 1, 2])
    assert.strictEqual(machine.sentOf("DirectAck").length, 5)
  })

  it("does not wait for what the sender has given up", () => {
    const machine = among(3)
    machine.receive(1, direct(0))
    machine.receive(1, direct(3, { base: 3 }), direct(5, { base: 3 }))
    assert.deepStrictEqual(received(machine), [0, 3])
    machine.receive(1, direct(6, { base: 6 }))
    assert.deepStrictEqual(received(machine), [0, 3, 5, 6])
  })

  it("is refused for strangers and the dead, and ends when its target dies or restarts", () => {
    const machine = among(3)
    machine.answers = true
    send(machine, 1, 9)
    send(machine, 2, 1)
    send(machine, 3, 2)
    machine.receive(3, accuse("Dead", 1, 0))
    machine.receive(2, alive(2, 0, { bootId: 9999, startedAt: 1_700_000_900_000 }))
    machine.advance(1000)
    assert.deepStrictEqual(outcomes(machine), ["1 unknown-member", "2 member-gone", "3 member-gone"])
    send(machine, 4, 1)
    assert.deepStrictEqual(outcomes(machine).at(-1), "4 unknown-member")
  })

  it("bounds what is under way and refuses what fits into no packet", () => {
    const machine = among(3)
    for (let token = 0; token < 300; token++) send(machine, token)
    assert.strictEqual(outcomes(machine).filter((outcome) => outcome.endsWith("queue-full")).length, 44)
    send(machine, 1000, 2, 1300)
    assert.strictEqual(outcomes(machine).at(-1), "1000 oversized")
  })

  it("expires when it is never acknowledged", () => {
    const machine = among(3)
    machine.answers = true
    send(machine, 1)
    machine.advance(62_000)
    assert.deepStrictEqual(outcomes(machine), ["1 expired"])
  })

  it("refuses what is meant for another member or another run of ours", () => {
    const machine = among(3)
    machine.receive(1, direct(0, { to: id(2) }), direct(0, { toBoot: 5 }), direct(5000))
    assert.deepStrictEqual(machine.rejected, ["message-for-another", "message-for-another", "message-too-far-ahead"])
    assert.deepStrictEqual(received(machine), [])
  })

  it("reaches ourselves", () => {
    const machine = among(1)
    send(machine, 7, 0)
    assert.deepStrictEqual(outcomes(machine), ["7 ok"])
    assert.strictEqual(received(machine).length, 1)
  })
})
