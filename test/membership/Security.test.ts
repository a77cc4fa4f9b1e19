import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import type { Cipher } from "../../src/membership/Cipher.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import type * as Config from "../../src/membership/Config.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import * as Membership from "../../src/membership/Membership.ts"
import * as Sealing from "../../src/membership/Sealing.ts"
import { type Outgoing, Transport } from "../../src/membership/Transport.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as Member from "../../src/swim/Member.ts"
import * as Prng from "../../src/swim/Prng.ts"
import * as Codec from "../../src/wire/Codec.ts"
import * as Envelope from "../../src/wire/Envelope.ts"
import * as Packet from "../../src/wire/Packet.ts"
import * as Messages from "../wire/Messages.ts"
import { Cluster, type Node } from "./Cluster.ts"

const label = Envelope.label("shoal")
const secret = (fill: number) => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))
const withCipher = <A, E>(effect: Effect.Effect<A, E, Cipher>): A =>
  Effect.runSync(Effect.provide(effect, NodeCipher.layer))

const ringOf = (...fills: ReadonlyArray<number>): Keyring.Keyring["Service"] => {
  const made = withCipher(Keyring.make({ given: fills.map(secret), saved: undefined, save: () => Effect.void }))
  return made === undefined ? assert.fail("no ring") : made.keyring
}

/** Members with keys on the simulated network, whose streams count as secured; `sent` is what went over the wire. */
class Secured extends Cluster {
  readonly sent: Array<Outgoing> = []

  join(
    name: string,
    ip: string,
    ring: Keyring.Keyring["Service"],
    options: Partial<Config.Options> = {}
  ): Node {
    const inner = this.net.transport(ip)
    const transport = Transport.of({
      ...inner,
      secured: true,
      datagrams: (bind) =>
        Effect.map(inner.datagrams(bind), (datagrams) => ({
          ...datagrams,
          sendAll: (all) => {
            this.sent.push(...all)
            return datagrams.sendAll(all)
          }
        }))
    })
    const layer = Layer.merge(Layer.succeed(Transport, transport), Layer.succeed(Keyring.Keyring, ring))
    return this.start(name, ip, { join: seed, ...options }, layer)
  }

  trio(ring: () => Keyring.Keyring["Service"] = () => ringOf(1)): ReadonlyArray<Node> {
    const nodes = [1, 2, 3].map((n) => this.join(`n${n}`, `10.0.0.${n}`, ring()))
    this.agree(nodes, all, 5000)
    return nodes
  }

  /** Sends datagrams from the host `ip`, as anybody on the network can. */
  shout(ip: string, payloads: ReadonlyArray<Uint8Array>, to = "10.0.0.1"): void {
    const stranger = this.net.transport(ip)
    this.run(Effect.scoped(Effect.gen({ self: this }, function*() {
      const { sendAll } = yield* stranger.datagrams({ host: ip, port: 7946 })
      for (const payload of payloads) yield* sendAll([{ payload, to: { host: to, port: 7946 } }])
      yield* Effect.sleep("5 millis")
    })))
    this.world.runFor(10)
  }
}

const seed = ["10.0.0.1:7946"]
const all = ["n1:alive", "n2:alive", "n3:alive"]
const packet = Packet.make(Codec.binary)

/** What a malicious program would say: that n2 is dead, that it left, that a new member is there. */
const lies = (node: Node, cluster: Cluster) => {
  const victim = cluster.members(node).find(({ id }) => id === "n2") ?? assert.fail("no n2")
  const { bootId, id, incarnation } = victim
  return packet.encode([
    { _tag: "Dead", id, bootId, incarnation: incarnation + 5, from: Member.id("n3") },
    { _tag: "Left", id, bootId, incarnation: incarnation + 5 },
    { ...victim, _tag: "Alive", id: Member.id("ghost"), bootId: 7, incarnation: 1 }
  ])
}

/** Everything a node knows, to see that it did not change. */
const known = (cluster: Cluster, node: Node): string =>
  JSON.stringify(cluster.members(node).map(({ bootId, id, incarnation, status }) => [id, bootId, incarnation, status]))

const rejected = (cluster: Cluster, node: Node) => cluster.run(node.service.statistics).rejected

describe("Membership with a cluster key", () => {
  it("joins, and says nothing on the wire that can be read", () => {
    const cluster = new Secured()
    const nodes = cluster.trio()
    assert.isAbove(cluster.sent.length, 10)
    for (const { payload } of cluster.sent) {
      assert.strictEqual(payload[2], 1)
      assert.notInclude(new TextDecoder("latin1").decode(payload), "10.0.0.")
    }
    for (const node of nodes) assert.deepStrictEqual(rejected(cluster, node), {})
  })

  it("changes nothing for what a stranger says, counts it by reason and logs it once a minute", () => {
    const cluster = new Secured()
    const [n1 = assert.fail("no n1")] = cluster.trio()
    const bytes = lies(n1, cluster)
    const seal = (ring: Keyring.Keyring["Service"], name = "shoal") =>
      Sealing.sealed({ ...ring, label: Envelope.label(name) }).seal(bytes)
    const before = known(cluster, n1)
    const inside = Sealing.sealed({ ...ringOf(1), label })
    for (let i = 0; i < 20; i++) {
      cluster.shout("10.0.0.66", [
        bytes,
        Sealing.clear(label).seal(bytes),
        seal(ringOf(2)),
        seal(ringOf(1), "other"),
        inside.seal(bytes).fill(0, 40),
        inside.seal(bytes).subarray(0, 37),
        inside.seal(inside.seal(bytes)),
        inside.seal(bytes).fill(0x22, 3, 4)
      ])
    }
    cluster.world.runFor(3000)
    assert.strictEqual(known(cluster, n1), before)
    assert.deepStrictEqual(rejected(cluster, n1), {
      "not-ours": 20,
      "not-sealed": 20,
      "unknown-key": 20,
      "other-label": 20,
      forged: 20,
      truncated: 20,
      nested: 20,
      "unknown-version": 20
    })
    const lines = n1.logs.filter((line) => line.includes("Refused"))
    assert.lengthOf(lines, 1)
    assert.include(lines[0], "10.0.0.66")
    cluster.world.runFor(60_000)
    cluster.shout("10.0.0.66", [bytes])
    assert.lengthOf(n1.logs.filter((line) => line.includes("Refused")), 2)
  })

  it("logs a bounded number of lines, however many addresses junk comes from", () => {
    const cluster = new Secured()
    const [n1 = assert.fail("no n1")] = cluster.trio()
    for (let i = 0; i < 200; i++) cluster.shout(`10.1.0.${i}`, [Uint8Array.of(1, 2, 3)])
    assert.strictEqual(rejected(cluster, n1)["not-ours"], 200)
    assert.isAtMost(n1.logs.filter((line) => line.includes("Refused")).length, 64)
  })

  it("changes nothing for a replayed packet, at members that saw it and at one that has restarted since", () => {
    const cluster = new Secured()
    const nodes = [...cluster.trio()]
    const third = nodes[2] ?? assert.fail("no n3")
    cluster.run(third.service.leave, 10_000)
    cluster.agree(nodes.slice(0, 2), ["n1:alive", "n2:alive", "n3:left"], 5000)
    const recorded = cluster.sent.map(({ payload }) => payload)
    cluster.world.runFor(20_000)
    const [n1, n2] = [nodes[0] ?? assert.fail("no n1"), nodes[1] ?? assert.fail("no n2")]
    const before = [known(cluster, n1), known(cluster, n2)]
    for (const to of ["10.0.0.1", "10.0.0.2"]) cluster.shout("10.0.0.66", recorded, to)
    cluster.world.runFor(5000)
    assert.deepStrictEqual([known(cluster, n1), known(cluster, n2)], before)
    const { replayed = 0, reflected = 0 } = rejected(cluster, n1)
    assert.isAbove(replayed, 0)
    assert.isAbove(reflected, 0)
    cluster.kill(n2)
    const again = cluster.join("n2", "10.0.0.2", ringOf(1))
    cluster.agree([n1, again], ["n1:alive", "n2:alive", "n3:left"], 20_000)
    const after = [known(cluster, n1), known(cluster, again)]
    cluster.shout("10.0.0.66", recorded, "10.0.0.2")
    cluster.world.runFor(20_000)
    const statuses = (text: string) => JSON.parse(text) as ReadonlyArray<ReadonlyArray<unknown>>
    const now = [known(cluster, n1), known(cluster, again)]
    for (const [i, text] of now.entries()) {
      assert.deepStrictEqual(
        statuses(text).map(([id, bootId, , status]) => [id, bootId, status]),
        statuses(after[i] ?? "[]").map(([id, bootId, , status]) => [id, bootId, status])
      )
    }
  })

  it("rotates its key while it runs: no member is suspected, no packet refused, the old key is worth nothing then", () => {
    const cluster = new Secured()
    const rings = [ringOf(1), ringOf(1), ringOf(1)]
    let next = 0
    const nodes = cluster.trio(() => rings[next++] ?? assert.fail("no ring"))
    const old = rings[0]?.ring.primary().id ?? ""
    for (const ring of rings) {
      cluster.run(ring.install(secret(2)))
      cluster.world.runFor(1000)
    }
    const fresh = ringOf(2).ring.primary().id
    for (const ring of rings) {
      cluster.run(ring.use(fresh))
      cluster.world.runFor(1000)
    }
    for (const ring of rings) {
      cluster.run(ring.remove(old))
      cluster.world.runFor(1000)
    }
    cluster.world.runFor(10_000)
    for (const node of nodes) {
      assert.deepStrictEqual(cluster.view(node), all)
      const { rejected, suspicionsRaised } = cluster.run(node.service.statistics)
      assert.deepStrictEqual([rejected, suspicionsRaised], [{}, 0])
    }
    const [n1 = assert.fail("no n1")] = nodes
    const before = known(cluster, n1)
    cluster.shout("10.0.0.66", [Sealing.sealed({ ...ringOf(1), label }).seal(lies(n1, cluster))])
    cluster.world.runFor(1000)
    assert.strictEqual(known(cluster, n1), before)
    assert.deepStrictEqual(rejected(cluster, n1), { "unknown-key": 1 })
  })

  it("sends at most 260 bytes per second when idle, and no datagram above the budget", () => {
    const cluster = new Secured()
    const nodes = Array.from({ length: 10 }, (_, i) => cluster.join(`node-${i}`, `10.0.0.${i + 1}`, ringOf(1)))
    cluster.world.runFor(60_000)
    cluster.sent.length = 0
    cluster.world.runFor(100_000)
    const bytes = cluster.sent.reduce((sum, { payload }) => sum + payload.length, 0)
    assert.isAtMost(bytes / 100 / nodes.length, 260)
    assert.isAtMost(Math.max(...cluster.sent.map(({ payload }) => payload.length)), 1400)
  })

  it("is not started on a transport whose streams are open", () => {
    const cluster = new Cluster()
    const layer = Membership.layer({ name: "n1", bind: "10.0.0.1:7946" }).pipe(
      Layer.provide(Layer.merge(cluster.net.layer("10.0.0.1"), Layer.succeed(Keyring.Keyring, ringOf(1))))
    )
    const error = cluster.run(Effect.flip(Effect.scoped(Layer.build(layer))))
    assert.include(error.message, "transport")
  })

  it("keeps its state through 5,000 mutated packets of its own cluster", () => {
    const cluster = new Secured()
    const [n1 = assert.fail("no n1")] = cluster.trio()
    const random = Prng.make(8)
    const inside = Sealing.sealed({ ...ringOf(1), label })
    const before = known(cluster, n1)
    for (let i = 0; i < 50; i++) {
      const junk: Array<Uint8Array> = []
      for (let n = 0; n < 100; n++) {
        const sealed = inside.seal(packet.encode([Messages.make(random)]))
        const mutated = Messages.mutate(random, sealed)
        if (mutated.length !== sealed.length || mutated.some((byte, at) => byte !== sealed[at])) junk.push(mutated)
      }
      cluster.shout("10.0.0.66", junk)
    }
    cluster.world.runFor(5000)
    assert.strictEqual(known(cluster, n1), before)
  })
})

describe("Membership without a key", () => {
  it("keeps clusters of different labels apart, by datagrams and by streams", () => {
    const cluster = new Cluster()
    const ours = [cluster.start("n1", "10.0.0.1"), cluster.start("n2", "10.0.0.2", { join: seed })]
    const other = cluster.start("x", "10.0.0.8", { join: seed, label: "other" })
    cluster.world.runFor(20_000)
    for (const node of ours) assert.deepStrictEqual(cluster.view(node), ["n1:alive", "n2:alive"])
    assert.deepStrictEqual(cluster.view(other), ["x:alive"])
    assert.isAbove(rejected(cluster, ours[0] ?? assert.fail("no n1"))["other-label"] ?? 0, 0)
    assert.lengthOf((ours[0]?.logs ?? []).filter((line) => line.includes("Refused")), 1)
  })
})
