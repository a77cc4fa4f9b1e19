import { assert, describe, it } from "@effect/vitest"
import * as Member from "../../src/swim/Member.ts"
import type * as Message from "../../src/swim/Message.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Swim from "../../src/swim/Swim.ts"
import { accuse, address, alive, among, id, left, Machine } from "./Machine.ts"

/** Carries everything that two machines say to each other on one stream; returns the messages by side. */
const connect = (
  from: Machine,
  to: Machine,
  stream: number
): { sent: Array<Message.Message>; got: Array<Message.Message> } => {
  const said = { sent: new Array<Message.Message>(), got: new Array<Message.Message>() }
  to.outputs = []
  from.outputs = []
  to.step({ _tag: "StreamOpened", now: to.now, stream: 1, remote: address(0), initiator: false })
  from.step({ _tag: "StreamOpened", now: from.now, stream, remote: address(1), initiator: true })
  for (let turns = 0; turns < 20; turns++) {
    for (const output of from.outputs.splice(0)) {
      if (output._tag !== "StreamSend") continue
      said.sent.push(...output.messages)
      to.step({ _tag: "StreamReceived", now: to.now, stream: 1, messages: output.messages })
    }
    for (const output of to.outputs.splice(0)) {
      if (output._tag !== "StreamSend") continue
      said.got.push(...output.messages)
      from.step({ _tag: "StreamReceived", now: from.now, stream, messages: output.messages })
    }
  }
  from.step({ _tag: "StreamClosed", now: from.now, stream })
  to.step({ _tag: "StreamClosed", now: to.now, stream: 1 })
  return said
}

const opened = (machine: Machine): number => {
  const open = machine.outputs.find((output) => output._tag === "OpenStream")
  if (open?._tag !== "OpenStream") throw new Error("no stream was opened")
  return open.stream
}

const exchange = (from: Machine, to: Machine): ReturnType<typeof connect> => {
  from.outputs = []
  for (let i = 0; i < 100 && !from.outputs.some((output) => output._tag === "OpenStream"); i++) from.advance(1000)
  return connect(from, to, opened(from))
}

const view = (machine: Machine): Array<string> =>
  Swim.members(machine.swim).map(({ bootId, id: name, incarnation, status }) =>
    `${name} ${bootId} ${incarnation} ${status}`
  ).sort()

const settled = { probeInterval: 60_000, pushPullInterval: 60_000, streamPing: false, settleInterval: 0 }

describe("Sync", () => {
  it("makes two tables equal in one exchange, with states only where they differ", () => {
    const random = Prng.make(1)
    for (let run = 0; run < 20; run++) {
      const a = new Machine(settled, run)
      const b = new Machine(settled, run + 100)
      // Same name and run on both sides: what counts are the others.
      for (let i = 1; i <= 300; i++) {
        const incarnation = Prng.below(random, 3)
        if (i < 290 || i % 2 === 0) a.receive(i, alive(i, incarnation))
        if (i < 290 || i % 2 === 1) b.receive(i, alive(i, i === 5 ? incarnation + 1 : incarnation))
        if (i === 7) a.receive(i, left(i, incarnation))
      }
      a.answers = true
      const { got, sent } = exchange(a, b)
      assert.deepStrictEqual(view(a), view(b))
      const states = [...sent, ...got].filter(({ _tag }) => _tag === "State").length
      assert.isBelow(states, 200)
    }
  })

  it("says nothing but a digest when both tables are equal", () => {
    const a = among(50, settled)
    const b = among(50, settled, 2)
    a.answers = true
    const { got, sent } = exchange(a, b)
    assert.deepStrictEqual(sent.map(({ _tag }) => _tag), ["SyncDigest"])
    assert.deepStrictEqual(got.map(({ _tag }) => _tag), ["SyncBuckets", "SyncEnd"])
  })

  it("a joiner pulls everything first, then starts after all it has seen and says who it is", () => {
    const joiner = new Machine({}, 5)
    const seed = among(10, settled)
    seed.receive(11, alive(11, 0, { startedAt: 1_700_000_500_000 }))
    joiner.swim.self = { ...joiner.swim.self, id: Member.id("joiner"), bootId: 77, address: address(99) }
    const { _tag, ...saved } = alive(3)
    assert.strictEqual(_tag, "Alive")
    joiner.command({ _tag: "Restore", states: [{ ...saved, _tag: "State", status: "alive", age: 5 }] })
    joiner.command({ _tag: "Join", seeds: [address(1)] })
    assert.deepStrictEqual(joiner.sentOf("Alive"), [])
    const { sent } = connect(joiner, seed, opened(joiner))
    assert.strictEqual(Swim.self(joiner.swim).startedAt, 1_700_000_500_001)
    assert.deepStrictEqual(sent.map(({ _tag }) => _tag), ["SyncDigest", "State", "SyncEnd"])
    assert.strictEqual(Swim.members(joiner.swim).length, 13)
    assert.strictEqual(Swim.member(seed.swim, Member.id("joiner"))?.startedAt, 1_700_000_500_001)
    assert.strictEqual(joiner.eventsOf("JoinDone").length, 1)
  })

  it("a death that a peer reports is a suspicion first, so that its subject may refute", () => {
    const a = among(10, settled)
    const b = among(10, settled, 2)
    b.receive(2, accuse("Dead", 1, 0))
    a.answers = true
    exchange(a, b)
    assert.strictEqual(a.status(1), "suspect")
  })

  it("splits a large table into bounded chunks", () => {
    const a = new Machine(settled)
    const b = new Machine(settled, 2)
    for (let i = 1; i <= 2000; i++) b.receive(i, alive(i))
    a.command({ _tag: "Join", seeds: [address(1)] })
    b.outputs = []
    b.step({ _tag: "StreamOpened", now: 0, stream: 1, remote: address(0), initiator: false })
    const digest: Message.Message = { _tag: "SyncDigest", from: id(0), bootId: 1000, join: true, count: 1, hash: 0 }
    b.step({ _tag: "StreamReceived", now: 0, stream: 1, messages: [digest] })
    const chunks = b.outputs.filter((output) => output._tag === "StreamSend")
    assert.isAbove(chunks.length, 3)
    assert.isTrue(chunks.every((chunk) => chunk._tag === "StreamSend" && chunk.messages.length < 1000))
  })

  it("refuses what does not belong into an exchange, and too many streams", () => {
    const machine = among(3, { maxStreams: 2 })
    const accept = (stream: number, ...messages: ReadonlyArray<Message.Message>): void => {
      machine.step({ _tag: "StreamOpened", now: 0, stream, remote: address(1), initiator: false })
      machine.step({ _tag: "StreamReceived", now: 0, stream, messages })
    }
    accept(1, { _tag: "SyncBuckets", from: id(1), bootId: 1, hashes: new Uint8Array(0) })
    accept(3, { _tag: "SyncWant", buckets: new Uint8Array(3), count: 17 })
    accept(5, { _tag: "Nack", seq: 1 })
    accept(7)
    accept(9)
    assert.deepStrictEqual(machine.rejected, [
      "unexpected-buckets",
      "malformed-want",
      "unexpected-on-stream",
      "too-many-streams"
    ])
  })

  it("gives up an exchange that takes too long", () => {
    const machine = among(1, { streamTimeout: 5000 })
    machine.step({ _tag: "StreamOpened", now: 0, stream: 1, remote: address(1), initiator: false })
    machine.clear()
    machine.advance(5000)
    assert.isTrue(machine.outputs.some((output) => output._tag === "CloseStream" && output.stream === 1))
  })

  it("does not learn tombstones that are about to be forgotten", () => {
    const machine = among(1)
    machine.step({ _tag: "StreamOpened", now: 0, stream: 1, remote: address(1), initiator: false })
    const { _tag, ...identity } = alive(5)
    const state: Message.State = { ...identity, _tag: "State", status: "dead", age: machine.params.tombstoneRetention }
    assert.strictEqual(_tag, "Alive")
    machine.step({ _tag: "StreamReceived", now: 0, stream: 1, messages: [state] })
    assert.strictEqual(machine.status(5), undefined)
    machine.step({ _tag: "StreamReceived", now: 0, stream: 1, messages: [{ ...state, age: 1000 }] })
    assert.strictEqual(machine.status(5), "dead")
    assert.deepStrictEqual(machine.events, [], "a death that was before our time is no news")
  })
})
