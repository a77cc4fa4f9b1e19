import { assert, describe, it } from "@effect/vitest"
import * as Params from "../../../src/swim/Params.ts"
import * as Prng from "../../../src/swim/Prng.ts"
import { Scene } from "./Scene.ts"

const second = 1000
const minute = 60 * second
const { pushPullInterval } = Params.lan

const all = (size: number): Array<number> => Array.from({ length: size }, (_, node) => node)

describe("A cluster in the simulator", () => {
  for (const size of [3, 10, 30, 100]) {
    it(`all of ${size} that join through one seed see all, and tables become equal`, () => {
      const scene = Scene.joining(size)
      scene.within("join", () => scene.isComplete(), 5 * second)
      scene.within("equal tables", () => scene.isEqual(), 5 * second)
      scene.run(10 * second)
      assert.strictEqual(scene.count("Suspected"), 0)
      assert.strictEqual(scene.count("JoinDone"), size - 1)
      scene.isSound()
    })
  }

  it("an idle member costs two datagrams and below 200 bytes a second with headers", () => {
    const scene = Scene.joined(30)
    scene.run(10 * second)
    const before = scene.sent
    scene.run(20 * second)
    const perSecond = (value: number): number => value / 20 / 30
    assert.closeTo(perSecond(scene.sent.packets - before.packets), 2, 0.05)
    assert.isBelow(perSecond(scene.sent.bytes - before.bytes), 200)
  })

  for (const [size, limit] of [[10, 11], [30, 13], [100, 16]] as const) {
    it(`a crash among ${size} is seen by all`, () => {
      const scene = Scene.joined(size)
      scene.run(5 * second)
      scene.act({ _tag: "Crash", nodes: [3] })
      scene.within("all know", () => scene.everyoneSees(3, "dead"), limit * second)
      scene.run(minute)
      assert.strictEqual(scene.count("Failed"), size - 1)
      scene.isSound()
    })
  }

  it("half of ten killed at once are known to the others", () => {
    const scene = Scene.joined(10)
    scene.run(5 * second)
    const victims = [1, 3, 5, 7, 9]
    scene.act({ _tag: "Crash", nodes: victims })
    scene.within("all know", () => victims.every((victim) => scene.everyoneSees(victim, "dead")), 25 * second)
    scene.isSound()
  })

  it("no member is declared dead at 20 % loss without streams: suspicions are refuted", () => {
    const scene = Scene.joined(20, { params: { streamPing: false } })
    scene.act({ _tag: "Loss", loss: 0.2 })
    scene.run(10 * minute)
    assert.isAbove(scene.count("Suspected"), 0)
    assert.isAbove(scene.count("Refuted"), 0)
    assert.strictEqual(scene.count("Failed"), 0)
    scene.isSound()
  })

  it("nobody is declared dead by members whose words mostly get lost", () => {
    const scene = Scene.joined(20)
    scene.act({ _tag: "Lossy", nodes: [3, 7, 11], egress: 0.8, ingress: 0 })
    scene.run(5 * minute)
    assert.isAbove(scene.count("Suspected", 3), 0)
    const failed = scene.events.flatMap(({ event }) => event._tag === "Failed" ? [event.member.id] : [])
    assert.deepStrictEqual(failed.filter((id) => id !== "n3" && id !== "n7" && id !== "n11"), [])
    scene.isSound()
  })

  it("a joining cluster becomes complete under loss and duplication", () => {
    const scene = Scene.joining(30, { network: { loss: 0.2, duplicate: 0.2 } })
    scene.within("join", () => scene.isComplete(), 10 * second)
    scene.isSound()
  })

  it("a partition heals, even a long one", () => {
    const scene = Scene.joined(10)
    scene.act({ _tag: "Partition", groups: [[1, 3, 5, 7, 9]] })
    scene.run(5 * minute)
    for (const node of all(10)) {
      const { counts } = scene.machine(node).table
      assert.deepStrictEqual([counts[0], counts[2]], [4, 5])
    }
    scene.act({ _tag: "Heal" })
    // M4: two recovery and three push-pull intervals.
    scene.within("heal", () => scene.isComplete() && scene.isEqual(), 5 * pushPullInterval)
    scene.isSound()
  })

  it("two members that hold each other dead find each other without seeds", () => {
    const scene = Scene.joined(2)
    scene.act({ _tag: "Partition", groups: [[0]] })
    scene.run(5 * minute)
    assert.isTrue(scene.everyoneSees(0, "dead") && scene.everyoneSees(1, "dead"))
    scene.act({ _tag: "Heal" })
    scene.within("heal", () => scene.isComplete(), 2 * pushPullInterval)
    scene.isSound()
  })

  it("a node that starts before its seeds finds them", () => {
    const scene = new Scene()
    scene.act({ _tag: "Crash", nodes: [0] })
    scene.act({ _tag: "Start", nodes: [1], seeds: [0] })
    scene.run(2 * minute)
    scene.act({ _tag: "Restart", nodes: [0], seeds: [] })
    scene.within("join", () => scene.isComplete(), 2 * pushPullInterval)
    assert.isAbove(scene.count("JoinRetry", 1), 3)
    scene.isSound()
  })

  it("a restart of all at once leaves nobody invisible", () => {
    const scene = Scene.joined(30)
    scene.run(10 * second)
    scene.act({ _tag: "Crash", nodes: all(30) })
    scene.run(second)
    scene.act({ _tag: "Restart", nodes: [0], seeds: [] })
    scene.act({ _tag: "Restart", nodes: all(30), seeds: [0] })
    scene.within("join", () => scene.isComplete(), 10 * second)
    scene.isSound()
  })

  it("a restarted member replaces its earlier run and starts after all it saw", () => {
    const scene = Scene.joined(10)
    scene.act({ _tag: "Skew", nodes: [10], by: 60 * minute })
    scene.act({ _tag: "Start", nodes: [10], seeds: [0] })
    scene.within("join", () => scene.isComplete(), 5 * second)
    scene.act({ _tag: "Crash", nodes: [2] })
    scene.act({ _tag: "Restart", nodes: [2], seeds: [0] })
    scene.within("restart", () => scene.isComplete(), 5 * second)
    assert.strictEqual(scene.count("Replaced"), 10)
    assert.isAbove(scene.machine(2).self.startedAt, scene.machine(10).self.startedAt)
    scene.isSound()
  })

  it("a leave is shown as left by all, quickly, acknowledged, and never as a failure", () => {
    const scene = Scene.joined(30)
    scene.run(5 * second)
    scene.act({ _tag: "Leave", nodes: [7] })
    scene.within("leave", () => scene.everyoneSees(7, "left"), 250)
    scene.run(second)
    const done = scene.events.find(({ event }) => event._tag === "LeaveDone")
    assert.deepInclude(done?.event, { _tag: "LeaveDone", acknowledged: 3 })
    scene.act({ _tag: "Crash", nodes: [7] })
    scene.run(minute)
    assert.isTrue(scene.everyoneSees(7, "left"))
    assert.strictEqual(scene.count("Failed"), 0)
    scene.isSound()
  })

  it("a member that left joins again", () => {
    const scene = Scene.joined(10)
    scene.act({ _tag: "Leave", nodes: [7] })
    scene.within("leave", () => scene.everyoneSees(7, "left"), second)
    scene.act({ _tag: "Rejoin", nodes: [7], seeds: [0] })
    scene.within("return", () => scene.isComplete(), 5 * second)
    scene.isSound()
  })

  it("a member that was paused shorter than a suspicion is not declared dead and declares nobody", () => {
    const scene = Scene.joined(10)
    scene.run(5 * second)
    scene.act({ _tag: "Pause", nodes: [4] })
    scene.run(3 * second)
    scene.act({ _tag: "Resume", nodes: [4] })
    scene.run(minute)
    assert.strictEqual(scene.count("Failed"), 0)
    scene.isSound()
  })

  it("a member that was paused long wakes without accusing the others, and comes back", () => {
    const scene = Scene.joined(10)
    scene.run(5 * second)
    scene.act({ _tag: "Pause", nodes: [4] })
    scene.run(minute)
    assert.isTrue(scene.everyoneSees(4, "dead"))
    scene.act({ _tag: "Resume", nodes: [4] })
    scene.within("return", () => scene.isComplete(), pushPullInterval)
    assert.strictEqual(scene.count("Failed", 4), 0)
    scene.isSound()
  })

  it("keyed items reach all and the highest wins", () => {
    const scene = Scene.joined(10)
    scene.command(3, { _tag: "SetItem", key: "reign", value: new Uint8Array([1, 2]) })
    scene.command(8, { _tag: "SetItem", key: "reign", value: new Uint8Array([1, 3]) })
    const highest = (node: number): boolean => scene.machine(node).items.get("reign")?.value[1] === 3
    scene.within("item", () => scene.up.every(highest), second)
    scene.act({ _tag: "Start", nodes: [10], seeds: [0] })
    scene.within("join", () => highest(10), second)
    scene.isSound()
  })

  it("metadata changes reach all", () => {
    const scene = Scene.joined(10)
    scene.act({ _tag: "SetMeta", node: 5, bytes: 16 })
    scene.within("metadata", () => scene.count("Updated") === 9, second)
    scene.isSound()
  })

  it("user broadcasts reach all once", () => {
    const scene = Scene.joined(10)
    for (let i = 0; i < 50; i++) scene.act({ _tag: "Broadcast", node: i % 10, bytes: 1, count: 1 })
    scene.within("broadcasts", () => scene.count("Delivered") === 500, 5 * second)
    scene.run(5 * second)
    assert.strictEqual(scene.count("Delivered"), 500)
    // M5: the backlog returns to nothing.
    for (const node of scene.up) {
      const { broadcasts, updates } = scene.machine(node)
      assert.deepStrictEqual([broadcasts.byKey.size, updates.byKey.size], [0, 0])
    }
    scene.isSound()
  })

  it("two living nodes of one name: the younger is told, the others keep the older", () => {
    const scene = Scene.joined(5, {
      identity: (index) => ({ id: index === 5 ? "n2" : `n${index}`, address: { host: `10.0.0.${index}`, port: 7946 } })
    })
    scene.run(second)
    scene.act({ _tag: "Start", nodes: [5], seeds: [0] })
    scene.run(5 * second)
    assert.isAbove(scene.count("NameConflict", 5), 0)
    assert.strictEqual(scene.count("NameConflict", 2), 0)
    for (const node of [0, 1, 3, 4]) assert.strictEqual(scene.machine(node).table.counts[0], 4)
  })

  for (let seed = 1; seed <= 12; seed++) {
    it(`after any faults all views become equal (seed ${seed})`, () => {
      const scene = chaos(seed)
      scene.within("equal views", () => scene.isComplete() && scene.isEqual(), 5 * pushPullInterval)
      scene.isSound()
    })
  }
})

/** Crashes, restarts, partitions, pauses, leaves and changes under loss and duplication; then all is well again. */
const chaos = (seed: number): Scene => {
  const random = Prng.make(seed * 7919)
  const size = 3 + Prng.below(random, 12)
  const loss = Prng.float(random) * 0.3
  const scene = Scene.joining(size, {
    seed,
    params: { streamPing: seed % 2 === 0 },
    network: { loss, duplicate: 0.1, latency: { _tag: "Uniform", from: 0.5, to: seed % 3 === 0 ? 300 : 5 } }
  })
  const seedsOf = (node: number): Array<number> => node === 0 ? [] : [0]
  for (let i = 0; i < 40; i++) {
    const node = Prng.below(random, size)
    fault(scene, { node, kind: Prng.below(random, 9), size, seeds: [...seedsOf(node), i % size] })
    scene.run(Prng.below(random, 20 * second))
  }
  scene.act({ _tag: "Heal" })
  scene.act({ _tag: "Loss", loss: 0 })
  for (const node of all(size)) {
    scene.act({ _tag: "Resume", nodes: [node] })
    if (!scene.node(node).up) scene.act({ _tag: "Restart", nodes: [node], seeds: seedsOf(node) })
    if (scene.machine(node).status === "left") scene.act({ _tag: "Rejoin", nodes: [node], seeds: seedsOf(node) })
  }
  return scene
}

interface Fault {
  readonly node: number
  readonly kind: number
  readonly size: number
  readonly seeds: ReadonlyArray<number>
}

const fault = (scene: Scene, { kind, node, seeds, size }: Fault): void => {
  const nodes = [node]
  const { paused, up } = scene.node(node)
  const every = (step: number): Array<number> => all(size).filter((other) => other % step === 1)
  if (kind === 0) return scene.act({ _tag: "Partition", groups: [every(2)] })
  if (kind === 1) {
    return scene.act({
      _tag: "Partition",
      groups: [every(3), all(size).filter((other) => other % 3 === 2)]
    })
  }
  if (kind === 2) return scene.act({ _tag: "Heal" })
  if (!up) return kind < 6 ? scene.act({ _tag: "Restart", nodes, seeds }) : undefined
  if (kind < 5) return scene.act({ _tag: "Crash", nodes })
  if (kind === 5) return scene.act(paused ? { _tag: "Resume", nodes } : { _tag: "Pause", nodes })
  if (kind === 6) return scene.act({ _tag: "Leave", nodes })
  if (kind === 7) return scene.act({ _tag: "Rejoin", nodes, seeds })
  scene.act({ _tag: "SetMeta", node, bytes: 16 })
}
