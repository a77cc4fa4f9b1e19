import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { Actor } from "../../src/membership/Actor.ts"
import * as Metrics from "../../src/membership/Metrics.ts"
import { Streams } from "../../src/membership/Streams.ts"
import * as Member from "../../src/swim/Member.ts"
import * as Params from "../../src/swim/Params.ts"
import * as Swim from "../../src/swim/Swim.ts"
import { SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Packet from "../../src/wire/Packet.ts"
import * as StreamFrame from "../../src/wire/StreamFrame.ts"

const from = { host: "10.0.0.9", port: 7946 }

const setup = () => {
  const packet = Packet.make(Codec.binary)
  const counters = new Metrics.Counters()
  const streams = new Streams({
    transport: new SimNet(new World({ seed: 1 })).transport("10.0.0.1"),
    framing: StreamFrame.make(Codec.binary),
    greeting: new Uint8Array(0),
    complain: () => Effect.void,
    counters,
    scope: Scope.makeUnsafe(),
    maxStreams: 4,
    maxBytes: 1_000_000,
    timeoutMs: 1000,
    openTimeoutMs: 1000,
    post: () => Effect.void
  })
  const swim = Swim.make({
    self: {
      id: Member.id("n1"),
      bootId: 1,
      startedAt: 1,
      address: { host: "10.0.0.1", port: 7946 },
      meta: new Uint8Array()
    },
    params: Params.lan,
    seed: 1,
    now: 0,
    sizeOf: packet.sizeOf,
    packetOverhead: packet.overhead
  })
  const published: Array<string> = []
  const publish = (event: Swim.Event) => void published.push(event._tag)
  const actor = new Actor({ swim, packet, streams, counters, publish })
  return { actor, counters, packet, published }
}

const alive = (name: string, port: number) =>
  ({
    _tag: "Alive",
    id: Member.id(name),
    bootId: port,
    startedAt: port,
    address: { host: "10.0.0.9", port },
    incarnation: 0,
    meta: new Uint8Array()
  }) as const

describe("Actor", () => {
  it("starts the core with its first turn and is woken only when it is due", () => {
    const { actor } = setup()
    assert.isTrue(actor.fire(0))
    const at = actor.timerAt
    assert.isTrue(at > 0 && at <= Params.lan.probeInterval)
    assert.isFalse(actor.fire(at - 0.001))
    assert.isTrue(actor.fire(at))
  })

  it("takes a whole batch and says how many datagrams it held", () => {
    const { actor, counters, packet, published } = setup()
    const one = packet.encode([alive("a", 1)])
    const two = packet.encode([alive("b", 2), alive("c", 3)])
    const batch = [{ payload: one, from }, { payload: two, from }] as const
    assert.strictEqual(actor.take([{ _tag: "Wake" }, { _tag: "Datagrams", batch }, { _tag: "Wake" }], 5), 2)
    assert.strictEqual(actor.take([{ _tag: "Wake" }], 6), 0)
    assert.deepStrictEqual(published, ["Joined", "Joined", "Joined"])
    assert.strictEqual(actor.events.length, 3)
    assert.strictEqual(counters.datagramsIn, 2)
    assert.strictEqual(counters.bytesIn, one.length + two.length)
  })

  it("counts what it refuses by reason and keeps the good part of a packet", () => {
    const { actor, counters, packet, published } = setup()
    const good = packet.encode([alive("a", 1)])
    const torn = new Uint8Array(good.length + 3)
    torn.set(good)
    torn.set([0, 9, 1], good.length)
    const batch = [{ payload: torn, from }, { payload: Uint8Array.of(1, 2, 3, 4), from }] as const
    actor.take([{ _tag: "Datagrams", batch }], 5)
    assert.deepStrictEqual(published, ["Joined"])
    assert.deepStrictEqual([...counters.rejected], [["truncated", 1], ["not-ours", 1]])
  })

  it("counts reasons beyond its bound together", () => {
    const { counters } = setup()
    for (let i = 0; i < 100; i++) counters.reject(`reason ${i}`)
    assert.strictEqual(counters.rejected.size, 65)
    assert.strictEqual(counters.rejected.get("other"), 36)
  })

  it("keeps what it has to send until the end of the turn, within the budget", () => {
    const { actor, counters, packet } = setup()
    const messages = Array.from({ length: 10 }, (_, i) => alive(`m${i}`, 100 + i))
    actor.take([{ _tag: "Datagrams", batch: [{ payload: packet.encode(messages), from }] }], 0)
    for (let now = 0; now < 3000; now += 10) if (actor.fire(now)) actor.drained(now)
    assert.isAbove(actor.datagrams.length, 10)
    assert.strictEqual(counters.datagramsOut, actor.datagrams.length)
    for (const { payload } of actor.datagrams) assert.isAtMost(payload.length, Params.lan.datagramBudget)
  })
})
