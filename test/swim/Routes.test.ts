import { assert, describe, it } from "@effect/vitest"
import * as Swim from "../../src/swim/Swim.ts"
import { accuse, alive, among, id, type Machine } from "./Machine.ts"

const quiet = { confirmProbes: false, streamPing: false } as const

/** A probe that its target does not answer within the timeout. */
const unanswered = (machine: Machine) => {
  const ping = machine.until("Ping", 2100)
  machine.advance(510)
  return ping.message
}

const routes = (machine: Machine) => Swim.health(machine.swim).routes.map(({ lasted: _, ...route }) => route)

describe("Routes", () => {
  it("tell when only relays reach a peer, and when it answers itself again", () => {
    const machine = among(3, quiet)
    const first = unanswered(machine)
    const relay = machine.sentOf("PingReq")[0]
    assert.isDefined(relay)
    if (relay === undefined) return
    const index = [1, 2, 3].find((each) => id(each) !== first.target) ?? 1
    machine.receive(index, { _tag: "Ack", seq: first.seq, digest: 0 })
    machine.advance(500)
    assert.deepStrictEqual(routes(machine), [{ id: first.target, failed: 1, relayed: true, stream: false }])
    machine.answers = true
    machine.advance(15_000)
    assert.deepStrictEqual(routes(machine), [])
  })

  it("tell when streams reach a peer and datagrams are lost", () => {
    const machine = among(1, { confirmProbes: false })
    const { seq, target } = unanswered(machine)
    const dial = machine.outputs.find((output) => output._tag === "OpenStream")
    const stream = dial?._tag === "OpenStream" ? dial.stream : 0
    const remote = { host: "10.0.0.1", port: 7946 }
    machine.step({ _tag: "StreamOpened", now: machine.now, stream, remote, initiator: true })
    machine.step({ _tag: "StreamReceived", now: machine.now, stream, messages: [{ _tag: "Ack", seq, digest: 0 }] })
    machine.advance(600)
    assert.deepStrictEqual(routes(machine), [{ id: target, failed: 1, relayed: false, stream: true }])
  })

  it("count a late answer of the peer itself as a direct one", () => {
    const machine = among(1, quiet)
    const { seq } = unanswered(machine)
    machine.receive(1, { _tag: "Ack", seq, digest: 0 })
    machine.advance(600)
    assert.deepStrictEqual(routes(machine), [])
  })

  it("are forgotten with the peer", () => {
    const machine = among(1, quiet)
    unanswered(machine)
    machine.advance(600)
    assert.deepStrictEqual(routes(machine), [{ id: id(1), failed: 1, relayed: false, stream: false }])
    machine.receive(1, accuse("Dead", 1, 5), alive(2))
    assert.deepStrictEqual(routes(machine), [])
    machine.answers = true
    machine.advance(70_000)
    assert.strictEqual(machine.swim.routes.size, 0)
  })
})
