import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Socket from "effect/socket/Socket"
import * as Metrics from "../../src/membership/Metrics.ts"
import { type StreamInput, Streams } from "../../src/membership/Streams.ts"
import type { Message } from "../../src/swim/Message.ts"
import { SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"
import type { StreamFrame } from "../../src/wire/StreamFrame.ts"

/** One byte per message, 0 ends, 255 is broken. */
const framing: StreamFrame = {
  encode: (messages) => Uint8Array.from(messages, (message) => message._tag === "Nack" ? message.seq : 255),
  end: Uint8Array.of(0),
  decoder: () => {
    let ended = false
    return {
      get ended() {
        return ended
      },
      push: (chunk, out) => {
        for (const byte of chunk) {
          if (byte === 255 || ended) return "broken-frame"
          if (byte === 0) ended = true
          else out.push({ _tag: "Nack", seq: byte })
        }
        return undefined
      }
    }
  }
}

const ack = (seq: number): Message => ({ _tag: "Nack", seq })

/** One host with streams whose inputs are recorded; `react` plays the core. */
const host = (
  world: World,
  net: SimNet,
  ip: string,
  react: (input: StreamInput, streams: Streams) => void = () => {},
  limits: { readonly maxStreams?: number; readonly maxBytes?: number } = {}
) => {
  const inputs: Array<string> = []
  const counters = new Metrics.Counters()
  const transport = net.transport(ip)
  const scope = Scope.makeUnsafe()
  const streams: Streams = new Streams({
    transport,
    framing,
    greeting: new Uint8Array(0),
    complain: () => Effect.void,
    counters,
    scope,
    maxStreams: limits.maxStreams ?? 8,
    maxBytes: limits.maxBytes ?? 1000,
    timeoutMs: 10_000,
    openTimeoutMs: 1000,
    post: (input) =>
      Effect.sync(() => {
        inputs.push(
          input._tag === "StreamReceived"
            ? input.messages.map((message) => message._tag === "Nack" ? message.seq : 0).join()
            : input._tag === "StreamClosed"
            ? `closed ${input.error ?? "clean"}`
            : "opened"
        )
        react(input, streams)
        if (input._tag === "StreamClosed") streams.close(input.stream)
      })
  })
  const serve = Effect.gen(function*() {
    const listener = yield* transport.listen({ host: ip, port: 7946 })
    return yield* listener.run((socket, remote) => streams.accept(socket, remote))
  }).pipe(Effect.scoped)
  world.fork(serve)
  world.runFor(0)
  return { inputs, counters, streams, transport }
}

const setup = () => {
  const world = new World({ seed: 1 })
  return { world, net: new SimNet(world) }
}

const to = { host: "10.0.0.2", port: 7946 }

describe("Streams", () => {
  it("carries a conversation and closes when both sides have ended", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1", (input, streams) => {
      if (input._tag === "StreamOpened") streams.send(input.stream, [ack(1)], false)
      if (input._tag === "StreamReceived") streams.send(input.stream, [ack(3)], true)
    })
    const b = host(world, net, "10.0.0.2", (input, streams) => {
      if (input._tag === "StreamReceived" && input.messages.length === 1) streams.send(input.stream, [ack(2)], true)
    })
    world.fork(a.streams.dial(2, to))
    world.runFor(1000)
    assert.deepStrictEqual(a.inputs, ["opened", "2", "closed clean"])
    assert.deepStrictEqual(b.inputs, ["opened", "1", "3", "closed clean"])
    assert.strictEqual(a.streams.open + b.streams.open, 0)
  })

  it("tells the core that nobody answers", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1")
    world.fork(a.streams.dial(2, { host: "10.0.0.1", port: 1 }))
    world.fork(a.streams.dial(4, { host: "10.9.9.9", port: 1 }))
    world.runFor(2000)
    assert.deepStrictEqual(a.inputs, ["closed refused", "closed open-timeout"])
    assert.strictEqual(a.counters.streamsFailed, 2)
  })

  it("gives up a silent stream after its time", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1")
    const b = host(world, net, "10.0.0.2")
    world.fork(a.streams.dial(2, to))
    world.runFor(9000)
    assert.deepStrictEqual(a.inputs, ["opened"])
    world.runFor(2000)
    assert.strictEqual(a.inputs[1], "closed timeout")
    assert.strictEqual(b.streams.open, 0)
  })

  it("counts a broken frame, ends that connection and serves others", () => {
    const { net, world } = setup()
    const b = host(world, net, "10.0.0.2")
    const speak = (bytes: Uint8Array) =>
      Effect.scoped(Effect.gen(function*() {
        const socket = yield* net.transport("10.0.0.3").dial(to)
        const pull = yield* Socket.readerBytes(socket)
        const writer = yield* socket.writer
        yield* writer.write(bytes)
        return yield* Effect.exit(pull)
      }))
    const exit = world.join(world.fork(speak(Uint8Array.of(7, 255))), 1000)
    assert.isTrue(exit !== undefined && Exit.isSuccess(exit) && Exit.isFailure(exit.value))
    assert.strictEqual(b.counters.rejected.get("broken-frame"), 1)
    assert.deepStrictEqual(b.inputs, ["opened", "7", "closed broken-frame"])
  })

  it("refuses connections beyond the limit and frees the place when one ends", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1", () => {}, { maxStreams: 9 })
    const b = host(world, net, "10.0.0.2", () => {}, { maxStreams: 2 })
    for (const id of [2, 4, 6]) world.fork(a.streams.dial(id, to))
    world.runFor(100)
    assert.strictEqual(b.streams.open, 2)
    assert.strictEqual(b.counters.rejected.get("too-many-streams"), 1)
    for (const id of [2, 4, 6]) a.streams.close(id)
    world.runFor(100)
    assert.strictEqual(b.streams.open, 0)
    world.fork(a.streams.dial(8, to))
    world.runFor(100)
    assert.strictEqual(b.streams.open, 1)
  })

  it("ends a stream that carries more bytes than allowed, in either direction", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1", (input, streams) => {
      if (input._tag === "StreamOpened") { for (let i = 0; i < 9; i++) streams.send(input.stream, [ack(1)], false) }
    })
    const b = host(world, net, "10.0.0.2", () => {}, { maxBytes: 4 })
    world.fork(a.streams.dial(2, to))
    world.runFor(100)
    assert.strictEqual(b.counters.rejected.get("stream-too-large"), 1)
    b.streams.send(1, [ack(1)], false)
    const c = host(world, net, "10.0.0.3", (input, streams) => {
      if (input._tag === "StreamOpened") { for (let i = 0; i < 9; i++) streams.send(input.stream, [ack(1)], false) }
    }, { maxBytes: 4 })
    world.fork(c.streams.dial(2, to))
    world.runFor(100)
    assert.strictEqual(c.counters.rejected.get("stream-too-large"), 1)
    assert.strictEqual(c.inputs.at(-1), "closed stream-too-large")
  })

  it("still carries the answer to what arrived just before the other side closed, and nothing after that", () => {
    const { net, world } = setup()
    const a = host(world, net, "10.0.0.1", (input, streams) => {
      if (input._tag !== "StreamOpened") return
      streams.send(input.stream, [ack(1)], false)
      streams.close(input.stream)
      streams.send(input.stream, [ack(2)], true)
    })
    const b = host(world, net, "10.0.0.2", (input, streams) => {
      if (input._tag === "StreamReceived") streams.send(input.stream, [ack(9)], true)
    })
    world.fork(a.streams.dial(2, to))
    world.runFor(100)
    assert.deepStrictEqual(a.inputs, ["opened"])
    assert.deepStrictEqual(b.inputs, ["opened", "1", "closed clean"])
    assert.strictEqual(a.counters.rejected.size + b.counters.rejected.size, 0)
    assert.strictEqual(a.streams.open + b.streams.open, 0)
  })
})
