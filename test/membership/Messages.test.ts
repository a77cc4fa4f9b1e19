import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Broadcast from "../../src/membership/Broadcast.ts"
import * as Member from "../../src/swim/Member.ts"
import { Cluster, type Node } from "./Cluster.ts"

const Note = Broadcast.define({ name: "note", schema: Schema.Struct({ n: Schema.Int, text: Schema.String }) })
const Latest = Broadcast.define({
  name: "latest",
  schema: Schema.Struct({ key: Schema.String, n: Schema.Int }),
  key: ({ key }) => key
})
const Urgent = Broadcast.define({ name: "urgent", schema: Schema.Int, urgent: true })

const start = (cluster: Cluster, count: number): Array<Node> => {
  const nodes = Array.from(
    { length: count },
    (_, i) => cluster.start(`n${i + 1}`, `10.0.0.${i + 1}`, i === 0 ? {} : { join: ["10.0.0.1:7946"] })
  )
  cluster.agree(nodes, nodes.map(({ name }) => `${name}:alive`), 10_000)
  return nodes
}

const at = (nodes: ReadonlyArray<Node>, index: number): Node => {
  const node = nodes[index]
  if (node === undefined) throw new Error(`no node ${index}`)
  return node
}

/** What a node reads from now on. */
const read = <A>(cluster: Cluster, node: Node, definition: Broadcast.Broadcast<A>) => {
  const messages: Array<Broadcast.Message<A>> = []
  const fiber = cluster.world.fork(
    Stream.runForEach(node.service.messages(definition), (message) => Effect.sync(() => messages.push(message)))
  )
  cluster.world.runFor(0)
  return { messages, fiber }
}

describe("Messages", () => {
  it("reach all members in the order in which they were sent, the sender included", () => {
    const cluster = new Cluster({ conditions: { loss: 0.1, latency: [1, 20] } })
    const nodes = start(cluster, 6)
    const readers = nodes.map((node) => read(cluster, node, Note))
    cluster.run(Effect.forEach(
      Array.from({ length: 200 }, (_, n) => n),
      (n) => at(nodes, 2).service.broadcast(Note, { n, text: "hello" }),
      { discard: true }
    ))
    cluster.until(() => readers.every(({ messages }) => messages.length === 200), 20_000, "everybody has read all")
    for (const { messages } of readers) {
      assert.deepStrictEqual(messages.map(({ value }) => value.n), Array.from({ length: 200 }, (_, n) => n))
      assert.isTrue(messages.every(({ direct, origin }) => !direct && origin === "n3"))
    }
  })

  it("are not lost to a burst of 3,000: what does not fit the queue waits", { timeout: 60_000 }, () => {
    const cluster = new Cluster()
    const nodes = Array.from(
      { length: 5 },
      (_, i) =>
        cluster.start(`n${i + 1}`, `10.0.0.${i + 1}`, {
          ...i === 0 ? {} : { join: ["10.0.0.1:7946"] },
          params: { broadcastBytes: 128 * 1024 }
        })
    )
    cluster.agree(nodes, nodes.map(({ name }) => `${name}:alive`), 10_000)
    const readers = nodes.map((node) => read(cluster, node, Note))
    const burst = Effect.forEach(
      Array.from({ length: 3000 }, (_, n) => n),
      (n) => at(nodes, 0).service.broadcast(Note, { n, text: "x".repeat(40) }),
      { concurrency: "unbounded", discard: true }
    )
    cluster.run(burst, 300_000)
    cluster.until(() => readers.every(({ messages }) => messages.length === 3000), 60_000, "everybody has read all")
    for (const { messages } of readers) {
      assert.isTrue(messages.every(({ value }, index) => value.n === index))
    }
  })

  it("to one member reach that one only, and complete when it has them", () => {
    const cluster = new Cluster({ conditions: { loss: 0.2, latency: [1, 5] } })
    const nodes = start(cluster, 3)
    const readers = nodes.map((node) => read(cluster, node, Note))
    for (let n = 0; n < 10; n++) {
      cluster.run(at(nodes, 0).service.send(Member.id("n3"), Note, { n, text: "for you" }), 20_000)
      assert.strictEqual(readers[2]?.messages.length, n + 1)
    }
    assert.deepStrictEqual(readers[2]?.messages.at(-1), {
      value: { n: 9, text: "for you" },
      origin: Member.id("n1"),
      direct: true
    })
    assert.deepStrictEqual(readers.map(({ messages }) => messages.length), [0, 0, 10])
  })

  it("to a member that is unknown or dies fail with the reason", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 3)
    const reason = (to: string) =>
      cluster.run(
        Effect.flip(at(nodes, 0).service.send(Member.id(to), Note, { n: 1, text: "" })),
        60_000
      )
    assert.deepInclude(reason("nobody"), { _tag: "Undelivered", reason: "unknown-member" })
    cluster.kill(at(nodes, 2))
    assert.deepInclude(reason("n3"), { _tag: "Undelivered", reason: "member-gone" })
  })

  it("of a kind that nobody here reads are skipped and still passed on", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 4)
    const reader = read(cluster, at(nodes, 3), Note)
    cluster.run(at(nodes, 0).service.broadcast(Note, { n: 7, text: "" }))
    cluster.until(() => reader.messages.length === 1, 5000, "the only reader has it")
    assert.strictEqual(cluster.run(at(nodes, 1).service.statistics).messagesSkipped, 1)
  })

  it("of another shape under the same name are counted and skipped", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 2)
    const reader = read(cluster, at(nodes, 1), Note)
    const Other = Broadcast.define({ name: "note", schema: Schema.String })
    cluster.run(at(nodes, 0).service.broadcast(Other, "something else"))
    cluster.run(at(nodes, 0).service.broadcast(Note, { n: 1, text: "" }))
    cluster.until(() => reader.messages.length === 1, 5000, "the right one has arrived")
    assert.strictEqual(cluster.run(at(nodes, 1).service.statistics).rejected["malformed-user-message"], 1)
  })

  it("that are too large are refused at once", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 2)
    const text = "x".repeat(2000)
    assert.strictEqual(
      cluster.run(Effect.flip(at(nodes, 0).service.broadcast(Note, { n: 1, text })))._tag,
      "MessageTooLarge"
    )
    const direct = at(nodes, 0).service.send(Member.id("n2"), Note, { n: 1, text })
    assert.strictEqual(cluster.run(Effect.flip(direct))._tag, "MessageTooLarge")
  })

  it("with a key replace older ones that still wait", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 3)
    const reader = read(cluster, at(nodes, 2), Latest)
    cluster.run(Effect.forEach(
      Array.from({ length: 100 }, (_, n) => n),
      (n) => at(nodes, 0).service.broadcast(Latest, { key: "a", n }),
      { discard: true }
    ))
    cluster.until(() => reader.messages.at(-1)?.value.n === 99, 10_000, "the newest has arrived")
    assert.isBelow(reader.messages.length, 100)
    const seen = reader.messages.map(({ value }) => value.n)
    assert.deepStrictEqual(seen, seen.toSorted((a, b) => a - b))
  })

  it("that are urgent do not wait for others", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 3)
    const order: Array<string> = []
    const follow = <A>(definition: Broadcast.Broadcast<A>) =>
      cluster.world.fork(
        Stream.runForEach(
          at(nodes, 2).service.messages(definition),
          () => Effect.sync(() => order.push(definition.name))
        )
      )
    follow(Note)
    follow(Urgent)
    cluster.world.runFor(0)
    const notes = Effect.forEach(
      Array.from({ length: 300 }, (_, n) => n),
      (n) => at(nodes, 0).service.broadcast(Note, { n, text: "y".repeat(500) }),
      { discard: true }
    )
    cluster.run(Effect.andThen(notes, at(nodes, 0).service.broadcast(Urgent, 1)))
    cluster.until(() => order.includes("urgent"), 5000, "the urgent one has arrived")
    assert.isBelow(order.indexOf("urgent"), 150)
  })

  it("end with the membership, and nothing is sent after a leave", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 2)
    const reader = read(cluster, at(nodes, 0), Note)
    cluster.run(at(nodes, 0).service.leave)
    cluster.world.runFor(1000)
    assert.isDefined(reader.fiber.pollUnsafe())
    const note = { n: 1, text: "" }
    assert.deepInclude(cluster.run(Effect.flip(at(nodes, 0).service.broadcast(Note, note))), { reason: "stopped" })
    const late = at(nodes, 0).service.send(Member.id("n2"), Note, note)
    assert.deepInclude(cluster.run(Effect.flip(late)), { reason: "stopped" })
  })

  it("fail a reader that does not keep up, and nobody else", () => {
    const cluster = new Cluster()
    const nodes = start(cluster, 2)
    const slow = cluster.world.fork(
      Stream.runForEach(at(nodes, 1).service.messages(Note), () => Effect.sleep(1000)).pipe(
        Effect.provideService(Broadcast.ReaderCapacity, 8),
        Effect.flip
      )
    )
    const reader = read(cluster, at(nodes, 1), Note)
    cluster.run(Effect.forEach(
      Array.from({ length: 50 }, (_, n) => n),
      (n) => at(nodes, 0).service.broadcast(Note, { n, text: "" }),
      { discard: true }
    ))
    cluster.until(() => reader.messages.length === 50, 10_000, "the other reader has all")
    const exit = cluster.world.join(slow, 60_000)
    assert.strictEqual(exit?._tag === "Success" ? exit.value._tag : "no failure", "SlowReader")
  })
})
