import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Frame from "../../src/functions/Frame.ts"
import * as Mux from "../../src/functions/Mux.ts"

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text)
const text = (value: Uint8Array): string => new TextDecoder().decode(value)
const nothing = new Uint8Array(0)

/** Two ends and a wire between them that delivers only when asked. */
class Pair {
  readonly toServer: Array<Uint8Array> = []
  readonly toClient: Array<Uint8Array> = []
  readonly accepted: Array<Mux.MuxStream> = []
  readonly broken: Array<string> = []
  readonly client: Mux.Mux
  readonly server: Mux.Mux

  constructor(onOpen: (stream: Mux.MuxStream, head: Uint8Array) => void = () => {}, maxStreams = Mux.MaxStreams) {
    this.client = new Mux.Mux({
      role: "client",
      maxStreams,
      write: (chunks) => this.toServer.push(...chunks),
      onBroken: (reason) => this.broken.push(`client ${reason}`)
    })
    this.server = new Mux.Mux({
      role: "server",
      maxStreams,
      write: (chunks) => this.toClient.push(...chunks),
      onOpen: (stream, head) => {
        this.accepted.push(stream)
        onOpen(stream, head)
      },
      onBroken: (reason) => this.broken.push(`server ${reason}`)
    })
  }

  open(head = "head"): Mux.MuxStream {
    const stream = this.client.open(bytes(head))
    assert(stream !== undefined)
    return stream
  }

  settle(): void {
    while (this.toServer.length + this.toClient.length > 0) {
      for (const chunk of this.toServer.splice(0)) this.server.receive(chunk)
      for (const chunk of this.toClient.splice(0)) this.client.receive(chunk)
    }
  }
}

const watch = (stream: Mux.MuxStream) => {
  const events: Array<string> = []
  let length = 0
  stream.onHead = (head) => events.push(`head ${text(head)}`)
  stream.onData = (chunk) => {
    length += chunk.length
    events.push(`data ${chunk.length}`)
  }
  stream.onEnd = (trailer) => events.push(`end ${text(trailer)}`)
  stream.onError = (code, message) => events.push(`error ${code} ${message}`)
  stream.onCancel = () => events.push("cancel")
  stream.onWritable = () => events.push("writable")
  return { events, length: () => length }
}

describe("Mux", () => {
  it("carries a head, data and a trailer both ways and forgets the stream", () => {
    const requests: Array<string> = []
    const pair = new Pair((stream, head) => {
      requests.push(text(head))
      stream.onData = (chunk) => requests.push(text(chunk))
      stream.onEnd = () => {
        stream.head(bytes("reply"))
        stream.write(bytes("pong"))
        stream.end(bytes("trailer"))
      }
    })
    const stream = pair.open("question")
    const seen = watch(stream)
    stream.write(bytes("ping"))
    stream.end()
    pair.settle()
    assert.deepStrictEqual(requests, ["question", "ping"])
    assert.deepStrictEqual(seen.events, ["head reply", "data 4", "end trailer"])
    assert.isTrue(stream.finished)
    assert.strictEqual(pair.client.inflight + pair.server.inflight, 0)
  })

  it("keeps interleaved streams apart", () => {
    const pair = new Pair((stream, head) => {
      stream.head(head)
      stream.write(head)
    })
    const streams = ["a", "bb", "ccc"].map((name) => pair.open(name))
    const seen = streams.map(watch)
    pair.settle()
    for (const stream of pair.accepted.reverse()) stream.end(bytes(String(stream.id)))
    pair.settle()
    assert.deepStrictEqual(seen.map((one) => one.events), [
      ["head a", "data 1", "end 1"],
      ["head bb", "data 2", "end 2"],
      ["head ccc", "data 3", "end 3"]
    ])
  })

  it("stops a writer at one window until the reader consumed", () => {
    const pair = new Pair()
    const stream = pair.open()
    const seen = watch(stream)
    pair.settle()
    const [accepted] = pair.accepted
    assert(accepted !== undefined)
    const arrived = watch(accepted)
    assert.isTrue(stream.write(new Uint8Array(Mux.Window - 1)))
    assert.isFalse(stream.write(new Uint8Array(1000)))
    stream.end()
    pair.settle()
    assert.strictEqual(arrived.length(), Mux.Window)
    assert.notInclude(arrived.events, "end ")
    accepted.consumed(Mux.Window)
    pair.settle()
    assert.strictEqual(arrived.length(), Mux.Window + 999)
    assert.strictEqual(arrived.events.at(-1), "end ")
    assert.deepStrictEqual(seen.events, [])
  })

  it("tells a stopped writer once when it may go on", () => {
    const pair = new Pair()
    const stream = pair.open()
    const seen = watch(stream)
    assert.isFalse(stream.write(new Uint8Array(Mux.Window)))
    pair.settle()
    pair.accepted[0]?.consumed(Mux.Window / 2)
    pair.accepted[0]?.consumed(Mux.Window / 2)
    pair.settle()
    assert.deepStrictEqual(seen.events, ["writable"])
  })

  it("sends the end once when credit arrives after it", () => {
    const pair = new Pair()
    const stream = pair.open()
    stream.write(new Uint8Array(Mux.Window / 2))
    pair.settle()
    const [accepted] = pair.accepted
    assert(accepted !== undefined)
    const arrived = watch(accepted)
    stream.end()
    accepted.consumed(Mux.Window / 2)
    pair.settle()
    assert.deepStrictEqual(arrived.events, ["end "])
    assert.deepStrictEqual(pair.broken, [])
  })

  it("finishes when the server answers before the request ended, and ignores what was on the way", () => {
    const pair = new Pair((stream) => {
      stream.head(bytes("no"))
      stream.end()
    })
    const stream = pair.open()
    const seen = watch(stream)
    stream.write(bytes("more"))
    pair.settle()
    stream.write(bytes("and more"))
    stream.end()
    pair.settle()
    assert.deepStrictEqual(seen.events, ["head no", "end "])
    assert.strictEqual(pair.server.late, 1)
    assert.deepStrictEqual(pair.broken, [])
  })

  it("ends a stream on cancel and on error, each side once", () => {
    const pair = new Pair()
    const [cancelled, failed] = [pair.open(), pair.open()]
    const seen = watch(failed)
    pair.settle()
    const there = pair.accepted.map(watch)
    cancelled.cancel()
    cancelled.cancel()
    pair.accepted[1]?.error("handler-error", "no luck")
    pair.accepted[1]?.error("handler-error", "again")
    pair.settle()
    assert.deepStrictEqual(there[0]?.events, ["cancel"])
    assert.deepStrictEqual(seen.events, ["error handler-error no luck"])
    assert.strictEqual(pair.client.inflight + pair.server.inflight, 0)
  })

  it("answers pings, and a flood of them with two pongs", () => {
    const pair = new Pair()
    let pongs = 0
    for (let index = 0; index < 64; index++) assert.isTrue(pair.client.ping(() => pongs++))
    assert.isFalse(pair.client.ping(() => pongs++))
    pair.server.receive(new Uint8Array(pair.toServer.splice(0).flatMap((chunk) => [...chunk])))
    assert.strictEqual(pair.toClient.length, 2)
    pair.settle()
    assert.strictEqual(pongs, 64)
  })

  it("answers a ping before it hands over what comes behind it in the same chunk", () => {
    const written: Array<Uint8Array> = []
    let before = 0
    const mux = new Mux.Mux({
      role: "server",
      write: (chunks) => written.push(...chunks),
      onPending: () => {},
      onOpen: () => {
        before = written.length
      },
      onBroken: () => {}
    })
    const ping = Frame.encode(Frame.Ping, 0, Frame.encodeU32(1))
    mux.receive(new Uint8Array([...ping, ...Frame.encode(Frame.Head, 1, nothing)]))
    assert.strictEqual(before, 1)
    assert.deepStrictEqual([...(written[0] ?? [])], [...Frame.encode(Frame.Pong, 0, Frame.encodeU32(1))])
  })

  it("refuses to open more streams than allowed and breaks with a peer that does", () => {
    const pair = new Pair(undefined, 2)
    pair.open()
    pair.open()
    assert.strictEqual(pair.client.open(nothing), undefined)
    pair.settle()
    pair.server.receive(Frame.encode(Frame.Head, 3))
    assert.deepStrictEqual(pair.broken, ["server too-many-streams"])
  })

  it("gives every open stream the reason when the connection is closed", () => {
    const pair = new Pair()
    const seen = [pair.open(), pair.open()].map(watch)
    pair.client.closeAll("crashed", "exit 1")
    assert.deepStrictEqual(seen.map((one) => one.events), [["error crashed exit 1"], ["error crashed exit 1"]])
    assert.strictEqual(pair.client.open(nothing), undefined)
  })

  it("collects the bytes of one turn when the owner flushes", () => {
    const writes: Array<number> = []
    let pending = 0
    const mux = new Mux.Mux({
      role: "client",
      write: (chunks) => writes.push(chunks.reduce((sum, chunk) => sum + chunk.length, 0)),
      onBroken: () => {},
      onPending: () => pending++
    })
    for (let index = 0; index < 10; index++) mux.open(bytes("x"))?.end()
    assert.deepStrictEqual([pending, writes.length], [1, 0])
    mux.flush()
    assert.deepStrictEqual(writes, [10 * (2 * Frame.HeaderBytes + 1)])
  })

  const rules: ReadonlyArray<readonly [reason: string, frames: ReadonlyArray<Uint8Array>]> = [
    ["stream-unknown", [Frame.encode(Frame.Data, 5, bytes("x"))]],
    ["stream-unknown", [Frame.encode(Frame.Credit, 0, Frame.encodeU32(1))]],
    ["stream-order", [Frame.encode(Frame.Head, 2), Frame.encode(Frame.Head, 2)]],
    ["stream-order", [
      Frame.encode(Frame.Head, 2),
      Frame.encode(Frame.End, 2),
      Frame.encode(Frame.Data, 2, bytes("x"))
    ]],
    ["stream-order", [Frame.encode(Frame.Head, 2), Frame.encode(Frame.Data, 2)]],
    ["credit-overflow", [Frame.encode(Frame.Head, 2), Frame.encode(Frame.Credit, 2, Frame.encodeU32(1))]],
    [
      "credit-exceeded",
      [
        Frame.encode(Frame.Head, 2),
        ...[1, 2, 3].map(() => Frame.encode(Frame.Data, 2, new Uint8Array(Frame.MaxPayload)))
      ]
    ]
  ]
  for (const [reason, frames] of rules) {
    it(`ends the connection with ${reason} after ${frames.length} frames of a peer that breaks the rule`, () => {
      const pair = new Pair()
      for (const frame of frames) pair.server.receive(frame)
      assert.deepStrictEqual(pair.broken, [`server ${reason}`])
      assert.isTrue(pair.server.closed)
    })
  }

  const Junk = Schema.Array(
    Schema.Struct({
      type: Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 8 })),
      stream: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4 })),
      length: Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 300 }))
    })
  )
  it.prop(
    "never throws on well-formed frames in any order, and ends each stream at most once",
    { junk: Junk },
    (input) => {
      const endings = new Map<number, number>()
      const pair = new Pair((stream) => {
        const ended = () => endings.set(stream.id, (endings.get(stream.id) ?? 0) + 1)
        stream.onError = ended
        stream.onCancel = ended
      })
      for (const { length, stream, type } of input.junk) {
        const known: ReadonlyArray<Frame.Type> = [
          Frame.Head,
          Frame.Data,
          Frame.End,
          Frame.Cancel,
          Frame.Error,
          Frame.Credit,
          Frame.Ping,
          Frame.Pong
        ]
        pair.server.receive(Frame.encode(known[type - 1] ?? Frame.Head, stream, new Uint8Array(length)))
      }
      for (const count of endings.values()) assert.strictEqual(count, 1)
      assert.isAtMost(pair.broken.length, 1)
    }
  )
})
