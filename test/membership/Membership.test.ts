import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Socket from "effect/socket/Socket"
import * as Stream from "effect/Stream"
import type { Change } from "../../src/membership/Changes.ts"
import * as Config from "../../src/membership/Config.ts"
import * as Transport from "../../src/membership/Transport.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Envelope from "../../src/wire/Envelope.ts"
import { Cluster, type Node } from "./Cluster.ts"

const seed = ["10.0.0.1:7946"]

/** `count` members that joined through the first. */
const joined = (cluster: Cluster, count: number): readonly [Node, Node, ...Array<Node>] => {
  const member = (i: number) => cluster.start(`n${i}`, `10.0.0.${i}`, i === 1 ? {} : { join: seed })
  const nodes: [Node, Node, ...Array<Node>] = [member(1), member(2)]
  for (let i = 3; i <= count; i++) nodes.push(member(i))
  cluster.agree(nodes, nodes.map((node) => `${node.name}:alive`), 10_000)
  return nodes
}

const last = (nodes: readonly [Node, Node, ...Array<Node>]): Node => nodes.at(-1) ?? nodes[1]

const tags = (node: Node): Array<string> =>
  node.changes.map((change) => "member" in change ? `${change._tag} ${change.member.id}` : change._tag)

describe("Membership on a simulated network", () => {
  it("lets five members that join through one seed see each other", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 5)
    for (const node of nodes) {
      assert.strictEqual(tags(node)[0], "Snapshot")
      cluster.run(node.service.ready, 1)
    }
  })

  it("shows a killed member as failed at all others", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 4)
    cluster.kill(last(nodes))
    const rest = nodes.slice(0, 3)
    cluster.agree(rest, ["n1:alive", "n2:alive", "n3:alive", "n4:dead"], 20_000)
    for (const node of rest) assert.include(tags(node), "Failed n4")
  })

  it("shows a member that left as left, and tells it once enough others know", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 4)
    const rest = nodes.slice(0, 3)
    const before = cluster.world.now
    cluster.run(last(nodes).service.leave, 10_000)
    assert.isBelow(cluster.world.now - before, 1000)
    cluster.agree(rest, ["n1:alive", "n2:alive", "n3:alive", "n4:left"], 5000)
    for (const node of rest) {
      assert.include(tags(node), "Left n4")
      assert.notInclude(tags(node), "Failed n4")
    }
  })

  it("declares nobody failed while a fifth of all datagrams is lost", () => {
    const cluster = new Cluster({ seed: 5, conditions: { loss: 0.2, latency: [1, 10] } })
    const nodes = joined(cluster, 8)
    cluster.world.runFor(120_000)
    for (const node of nodes) assert.isEmpty(tags(node).filter((tag) => tag.startsWith("Failed")))
  })

  it("brings two halves together again after they were parted", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 4)
    const [left, right] = [nodes.slice(0, 2), nodes.slice(2)]
    cluster.net.partition(left.map(({ ip }) => ip), right.map(({ ip }) => ip))
    cluster.agree(left, ["n1:alive", "n2:alive", "n3:dead", "n4:dead"], 30_000)
    cluster.agree(right, ["n1:dead", "n2:dead", "n3:alive", "n4:alive"], 30_000)
    cluster.world.runFor(60_000)
    cluster.net.heal()
    cluster.agree(nodes, ["n1:alive", "n2:alive", "n3:alive", "n4:alive"], 60_000)
  })

  it("spreads new metadata to all", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 3)
    const [a, b] = nodes
    cluster.run(last(nodes).service.setMetadata(new TextEncoder().encode("release 2")))
    const metaOf = (node: Node) =>
      new TextDecoder().decode(cluster.members(node).find((member) => member.id === "n3")?.meta ?? new Uint8Array())
    cluster.until(() => metaOf(a) === "release 2" && metaOf(b) === "release 2", 5000, "metadata known")
    assert.include(tags(a), "Updated n3")
  })

  it("keeps the highest value of an item everywhere", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 4)
    cluster.run(nodes[0].service.setItem("reign", Uint8Array.of(1, 9)))
    cluster.run(nodes[1].service.setItem("reign", Uint8Array.of(2)))
    cluster.run(last(nodes).service.setItem("reign", Uint8Array.of(1, 200)))
    const value = (node: Node) => Option.getOrUndefined(cluster.run(node.service.item("reign"), 1))
    cluster.until(() => nodes.every((node) => `${value(node)}` === "2"), 10_000, "the highest value everywhere")
    for (const node of nodes) {
      const change = node.changes.filter((change) => change._tag === "ItemChanged").at(-1)
      assert.deepStrictEqual(change, { _tag: "ItemChanged", key: "reign", value: Uint8Array.of(2) })
    }
    const late = cluster.start("late", "10.0.0.9", { join: seed })
    cluster.until(() => `${value(late)}` === "2", 5000, "a late member has the item")
  })

  it("counts and ignores junk datagrams", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 2)
    const stranger = cluster.net.transport("10.0.0.66")
    const shout = Effect.gen(function*() {
      const { sendAll } = yield* stranger.datagrams({ host: "10.0.0.66", port: 1 })
      const to = { host: "10.0.0.1", port: 7946 }
      const random = (length: number) => Uint8Array.from({ length }, () => cluster.world.random() * 256)
      for (let i = 0; i < 200; i++) yield* sendAll([{ payload: random(i * 7), to }])
    })
    cluster.run(Effect.scoped(shout))
    cluster.world.runFor(5000)
    const { rejected } = cluster.run(nodes[0].service.statistics)
    const refused = Object.values(rejected).reduce((sum, count) => sum + count, 0)
    assert.isAtLeast(refused, 200)
    cluster.agree(nodes, ["n1:alive", "n2:alive"], 1)
  })

  it("closes a stream with a broken frame, counts it and serves the next one", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 2)
    const stranger = cluster.net.transport("10.0.0.66")
    const greeting = Envelope.greeting(Envelope.label("shoal"))
    const speak = Effect.fnUntraced(function*(bytes: ReadonlyArray<number>) {
      const socket = yield* stranger.dial({ host: "10.0.0.1", port: 7946 })
      const pull = yield* Socket.readerBytes(socket)
      const writer = yield* socket.writer
      assert.deepStrictEqual(yield* pull, [greeting])
      yield* writer.write(Uint8Array.from(bytes))
      return yield* Effect.exit(pull)
    }, Effect.scoped)
    const broken = [...greeting, 255, 255, 255, 255, 1, 2, 3]
    assert.isTrue(Exit.isFailure(cluster.run(speak(broken), 5000)))
    assert.isTrue(Exit.isFailure(cluster.run(speak(broken.slice(1)), 5000)))
    const statistics = cluster.run(nodes[0].service.statistics)
    assert.strictEqual(statistics.streamsFailed, 2)
    assert.deepStrictEqual(statistics.rejected, { "frame-too-large": 1, "not-ours": 1 })
    const late = cluster.start("late", "10.0.0.9", { join: seed })
    cluster.agree([...nodes, late], ["late:alive", "n1:alive", "n2:alive"], 5000)
  })

  it("fails the younger of two members with one name and keeps the older", () => {
    const cluster = new Cluster()
    const [a, b] = joined(cluster, 2)
    cluster.world.runFor(1000)
    const twin = cluster.start("n2", "10.0.0.9", { join: seed })
    cluster.until(() => twin.fiber.pollUnsafe() !== undefined, 5000, "the twin ends")
    const exit = twin.fiber.pollUnsafe()
    assert.isTrue(
      exit !== undefined && Exit.isFailure(exit) && `${Cause.squash(exit.cause)}`.includes("already called")
    )
    assert.isUndefined(b.fiber.pollUnsafe())
    const member = cluster.members(a).find((member) => member.id === "n2")
    assert.strictEqual(member?.address.host, "10.0.0.2")
  })

  it("heals a member that starts before its seed, with one log line per minute until then", () => {
    const cluster = new Cluster()
    const early = cluster.start("early", "10.0.0.2", { join: seed })
    cluster.world.runFor(150_000)
    const lines = early.logs.filter((line) => line.startsWith("Seed cannot be reached"))
    assert.isAtLeast(lines.length, 2)
    assert.isAtMost(lines.length, 3)
    assert.include(lines[0], "10.0.0.1:7946")
    assert.isUndefined(early.fiber.pollUnsafe())
    const first = cluster.start("first", "10.0.0.1")
    cluster.agree([early, first], ["early:alive", "first:alive"], 45_000)
  })

  it("lets a restarted process replace its former self", () => {
    const cluster = new Cluster()
    const nodes = joined(cluster, 3)
    cluster.kill(last(nodes))
    cluster.world.runFor(500)
    const again = cluster.start("n3", "10.0.0.3", { join: seed })
    cluster.agree([nodes[0], again], ["n1:alive", "n2:alive", "n3:alive"], 5000)
    assert.include(tags(nodes[0]), "Replaced n3")
  })

  it("does the same again with the same seed, and something else with another", () => {
    const trace = (seed: number) => {
      const cluster = new Cluster({ seed, conditions: { loss: 0.1, latency: [1, 20] } })
      const nodes = joined(cluster, 4)
      cluster.kill(last(nodes))
      cluster.world.runFor(30_000)
      return JSON.stringify([
        cluster.net.counters,
        nodes.map((node) => [node.changes, node.logs]),
        cluster.world.events
      ])
    }
    const first = trace(7)
    assert.strictEqual(trace(7), first)
    assert.notStrictEqual(trace(8), first)
  })

  it("ends the changes when the member left", () => {
    const cluster = new Cluster()
    const [, b] = joined(cluster, 2)
    cluster.run(b.service.leave, 10_000)
    cluster.run(b.service.leave, 1)
    const stopped = cluster.run(b.service.statistics).datagramsIn
    cluster.world.runFor(5000)
    assert.strictEqual(cluster.run(b.service.statistics).datagramsIn, stopped)
  })

  it("ends visibly when one of its loops dies", () => {
    const cluster = new Cluster()
    const transport = cluster.net.transport("10.0.0.1")
    let lifetime = 3
    const fragile = Transport.Transport.of({
      ...transport,
      datagrams: (bind) =>
        Effect.map(transport.datagrams(bind), (datagrams) => ({
          ...datagrams,
          pull: Effect.tap(datagrams.pull, () => --lifetime === 0 ? Effect.die("the socket broke") : Effect.void)
        }))
    })
    const node = cluster.start("n1", "10.0.0.1", {}, Layer.succeed(Transport.Transport, fragile))
    const ended = cluster.world.fork(Stream.runDrain(node.service.changes))
    cluster.start("n2", "10.0.0.2", { join: seed })
    cluster.until(() => node.fiber.pollUnsafe() !== undefined, 10_000, "the program ends")
    for (const exit of [node.fiber.pollUnsafe(), ended.pollUnsafe()]) {
      assert.isTrue(exit !== undefined && Exit.isFailure(exit) && Cause.squash(exit.cause) === "the socket broke")
    }
    assert.isTrue(node.logs.some((line) => line.startsWith("Membership died")))
    const late = cluster.world.join(cluster.world.fork(Effect.exit(node.service.setMetadata(new Uint8Array(1)))), 1)
    assert.isTrue(late !== undefined && Exit.isSuccess(late) && Exit.isFailure(late.value))
  })

  it("resynchronises a reader that was too slow for its buffer", () => {
    const cluster = new Cluster()
    const first = cluster.start("n1", "10.0.0.1", { changesBuffer: 2 })
    const seen: Array<Change> = []
    cluster.world.fork(
      Stream.runForEach(
        first.service.changes,
        (change) => Effect.sync(() => seen.push(change)).pipe(Effect.andThen(Effect.sleep("2 seconds")))
      )
    )
    for (let i = 2; i <= 8; i++) cluster.start(`n${i}`, `10.0.0.${i}`, { join: seed })
    cluster.world.runFor(30_000)
    const final = seen.at(-1)
    assert.strictEqual(final?._tag === "Snapshot" ? final.members.length : 0, 8)
    assert.isAtLeast(cluster.run(first.service.statistics).resyncs, 1)
  })

  it("refuses metadata and items that gossip cannot carry", () => {
    const cluster = new Cluster()
    const { service } = cluster.start("n1", "10.0.0.1")
    const failure = <E>(effect: Effect.Effect<void, E>) => `${cluster.run(Effect.flip(effect), 1)}`
    assert.include(failure(service.setMetadata(new Uint8Array(513))), "at most 512")
    assert.include(failure(service.setItem("reign", new Uint8Array(97))), "at most 96")
    assert.include(failure(service.setItem("k".repeat(65), new Uint8Array(1))), "at most 64")
    assert.include(failure(service.join(["nowhere"])), `"nowhere"`)
  })

  it("shows what it counts as metrics without paying per packet", () => {
    const cluster = new Cluster()
    const [first] = joined(cluster, 3)
    cluster.world.runFor(10_000)
    const context = Context.make(Metric.MetricRegistry, first.registry)
    const values = new Map(
      Metric.snapshotUnsafe(context).map(({ attributes, id, state }) => [
        [id, ...Object.values(attributes ?? {})].join(" "),
        "value" in state ? Number(state.value) : "count" in state ? Number(state.count) : 0
      ])
    )
    const { datagramsIn } = cluster.run(first.service.statistics)
    assert.strictEqual(values.get("shoal_members alive"), 3)
    assert.strictEqual(values.get("shoal_datagrams_total in"), datagramsIn)
    assert.isAbove(values.get("shoal_datagram_bytes_total out") ?? 0, 1000)
    assert.isAbove(values.get("shoal_probe_rtt_milliseconds") ?? 0, 5)
  })

  it("speaks another codec where all members use it, and refuses those that do not", () => {
    const cluster = new Cluster()
    const json = (ip: string) => Layer.merge(cluster.net.layer(ip), Config.layerCodec(Codec.json))
    const a = cluster.start("a", "10.0.0.1", {}, json("10.0.0.1"))
    const b = cluster.start("b", "10.0.0.2", { join: seed }, json("10.0.0.2"))
    cluster.agree([a, b], ["a:alive", "b:alive"], 5000)
    const c = cluster.start("c", "10.0.0.3", { join: seed })
    cluster.world.runFor(10_000)
    assert.deepStrictEqual(cluster.view(c), ["c:alive"])
    assert.isAtLeast(cluster.run(a.service.statistics).rejected["malformed-message"] ?? 0, 1)
  })

  it("is ready at once when its only seed is itself", () => {
    const cluster = new Cluster()
    const first = cluster.start("n1", "10.0.0.1", { join: seed })
    cluster.run(first.service.ready, 1)
    const second = cluster.start("n2", "10.0.0.2", { join: [...seed, "10.0.0.2:7946"] })
    cluster.agree([first, second], ["n1:alive", "n2:alive"], 5000)
    assert.isEmpty(second.logs.filter((line) => line.startsWith("Seed cannot be reached")))
  })

  it("moves to other seeds when it is told so", () => {
    const cluster = new Cluster()
    const lonely = cluster.start("lonely", "10.0.0.9", { join: ["10.0.0.77:7946"] })
    const other = cluster.start("other", "10.0.0.1")
    cluster.world.runFor(3000)
    cluster.run(lonely.service.join(seed))
    cluster.agree([lonely, other], ["lonely:alive", "other:alive"], 5000)
    cluster.run(lonely.service.ready, 1)
  })
})
