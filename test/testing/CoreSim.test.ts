import { assert, describe, it } from "@effect/vitest"
import * as Params from "../../src/swim/Params.ts"
import * as Prng from "../../src/swim/Prng.ts"
import { CoreSim, type Node, type Options } from "../../src/testing/CoreSim.ts"

const second = 1000
const minute = 60 * second

/** A cluster whose members all joined through the first. */
const cluster = (size: number, options: Partial<Options> = {}): CoreSim => {
  const sim = new CoreSim({ seed: 1, bytes: true, ...options })
  const seed = sim.start("n0")
  for (let i = 1; i < size; i++) sim.start(`n${i}`, [seed])
  return sim
}

const complete = (size: number, options: Partial<Options> = {}): CoreSim => {
  const sim = cluster(size, options)
  within(sim, "join", () => sim.isComplete(), 10 * second)
  return sim
}

const within = (sim: CoreSim, what: string, condition: () => boolean, limit: number): number => {
  const took = sim.runUntil(condition, limit)
  assert.isAtLeast(took, 0, `${what} within ${limit} ms of virtual time`)
  return took
}

const node = (sim: CoreSim, index: number): Node => {
  const found = sim.nodes[index]
  assert.isDefined(found)
  return found
}

const events = (sim: CoreSim, tag: string): number =>
  sim.nodes.reduce((sum, { events: all }) => sum + all.filter(({ event }) => event._tag === tag).length, 0)

const sound = (sim: CoreSim): void => {
  assert.deepStrictEqual(sim.violations, [])
  assert.isAtMost(sim.largest, Params.lan.datagramBudget)
}

/** Crashes, restarts, partitions, pauses, leaves and changes under loss and duplication; then all is well again. */
const chaos = (seed: number): CoreSim => {
  const random = Prng.make(seed * 7919)
  const size = 3 + Prng.below(random, 12)
  const sim = cluster(size, {
    seed,
    params: { ...Params.lan, streamPing: seed % 2 === 0 },
    network: { loss: Prng.float(random) * 0.3, duplicate: 0.1, latency: [0.5, seed % 3 === 0 ? 300 : 5] }
  })
  const first = node(sim, 0)
  const seedsOf = (each: Node): ReadonlyArray<Node> => each === first ? [] : [first]
  for (let i = 0; i < 40; i++) {
    const each = node(sim, Prng.below(random, size))
    fault(sim, each, { kind: Prng.below(random, 9), number: i, seeds: [...seedsOf(each), node(sim, i % size)] })
    sim.run(Prng.below(random, 20 * second))
  }
  sim.heal()
  sim.network.loss = 0
  for (const each of sim.nodes) {
    if (each.paused) sim.resume(each)
    if (!each.up) sim.restart(each, seedsOf(each))
    if (each.swim.status === "left") join(sim, each, seedsOf(each))
  }
  return sim
}

const join = (sim: CoreSim, each: Node, seeds: ReadonlyArray<Node>): void =>
  sim.command(each, { _tag: "Join", seeds: seeds.map(({ address }) => address) })

interface Fault {
  readonly kind: number
  readonly number: number
  readonly seeds: ReadonlyArray<Node>
}

const fault = (sim: CoreSim, each: Node, { kind, number, seeds }: Fault): void => {
  if (kind === 0) return sim.partition(({ index }) => index % 2)
  if (kind === 1) return sim.partition(({ index }) => index % 3)
  if (kind === 2) return sim.heal()
  if (!each.up) return kind < 6 ? sim.restart(each, seeds) : undefined
  if (kind < 5) return sim.crash(each)
  if (kind === 5) return each.paused ? sim.resume(each) : sim.pause(each)
  if (kind === 6) return sim.command(each, { _tag: "Leave" })
  if (kind === 7) return join(sim, each, seeds)
  sim.command(each, { _tag: "SetMeta", meta: new Uint8Array([number]) })
}

describe("CoreSim", () => {
  for (const size of [3, 10, 30, 100]) {
    it(`all of ${size} that join through one seed see all, and tables become equal`, () => {
      const sim = cluster(size)
      within(sim, "join", () => sim.isComplete(), 5 * second)
      within(sim, "equal tables", () => sim.isEqual(), 5 * second)
      sim.run(10 * second)
      assert.strictEqual(events(sim, "Suspected"), 0)
      assert.strictEqual(events(sim, "JoinDone"), size - 1)
      sound(sim)
    })
  }

  it("an idle member costs two datagrams and below 200 bytes a second with headers", () => {
    const sim = complete(30)
    sim.run(10 * second)
    const { bytes, datagrams } = sim
    sim.run(20 * second)
    const perNode = (value: number): number => value / 20 / 30
    assert.closeTo(perNode(sim.datagrams - datagrams), 2, 0.05)
    assert.isBelow(perNode(sim.bytes - bytes + 28 * (sim.datagrams - datagrams)), 200)
  })

  for (const [size, limit] of [[10, 11], [30, 13], [100, 16]] as const) {
    it(`a crash among ${size} is seen by all`, () => {
      const sim = complete(size)
      sim.run(5 * second)
      const victim = node(sim, 3)
      sim.crash(victim)
      within(sim, "all know", () => sim.everyoneSees(victim, "dead"), limit * second)
      sim.run(minute)
      assert.strictEqual(events(sim, "Failed"), size - 1)
      sound(sim)
    })
  }

  it("half of ten killed at once are known to the others", () => {
    const sim = complete(10)
    sim.run(5 * second)
    const victims = [1, 3, 5, 7, 9].map((index) => node(sim, index))
    for (const victim of victims) sim.crash(victim)
    within(sim, "all know", () => victims.every((victim) => sim.everyoneSees(victim, "dead")), 25 * second)
    sound(sim)
  })

  it("no member is declared dead at 20 % loss without streams: suspicions are refuted", () => {
    const sim = complete(20, { params: { ...Params.lan, streamPing: false }, network: {}, bytes: false })
    sim.network.loss = 0.2
    sim.run(10 * minute)
    assert.isAbove(events(sim, "Suspected"), 0)
    assert.isAbove(events(sim, "Refuted"), 0)
    assert.strictEqual(events(sim, "Failed"), 0)
    sound(sim)
  })

  it("a joining cluster becomes complete under loss and duplication", () => {
    const sim = cluster(30, { network: { loss: 0.2, duplicate: 0.2 } })
    within(sim, "join", () => sim.isComplete(), 10 * second)
    sound(sim)
  })

  it("a partition heals, even a long one", () => {
    const sim = complete(10)
    sim.partition(({ index }) => index % 2)
    sim.run(5 * minute)
    assert.isTrue(sim.nodes.every(({ swim }) => swim.table.counts[0] === 4 && swim.table.counts[2] === 5))
    sim.heal()
    // M4: two recovery and three push-pull intervals.
    within(sim, "heal", () => sim.isComplete() && sim.isEqual(), 5 * Params.lan.pushPullInterval)
    sound(sim)
  })

  it("two members that hold each other dead find each other without seeds", () => {
    const sim = complete(2)
    sim.partition(({ index }) => index)
    sim.run(5 * minute)
    assert.isTrue(sim.everyoneSees(node(sim, 0), "dead") && sim.everyoneSees(node(sim, 1), "dead"))
    sim.heal()
    within(sim, "heal", () => sim.isComplete(), 2 * Params.lan.pushPullInterval)
    sound(sim)
  })

  it("a node that starts before its seeds finds them", () => {
    const sim = new CoreSim({ seed: 1 })
    const first = sim.start("a")
    sim.crash(first)
    const second_ = sim.start("b", [first])
    sim.run(2 * minute)
    sim.restart(first, [])
    within(sim, "join", () => sim.isComplete(), 2 * Params.lan.pushPullInterval)
    assert.isAbove(second_.events.filter(({ event }) => event._tag === "JoinRetry").length, 3)
    sound(sim)
  })

  it("a restart of all at once leaves nobody invisible", () => {
    const sim = complete(30)
    sim.run(10 * second)
    for (const each of sim.nodes) sim.crash(each)
    sim.run(second)
    for (const each of sim.nodes) sim.restart(each, each.index === 0 ? [] : [node(sim, 0)])
    within(sim, "join", () => sim.isComplete(), 10 * second)
    sound(sim)
  })

  it("a restarted member replaces its earlier run and starts after all it saw", () => {
    const sim = complete(10)
    const again = node(sim, 2)
    const ahead = sim.start("ahead", [node(sim, 0)], { startedAt: 1_700_000_000_000 + 3_600_000 })
    within(sim, "join", () => sim.isComplete(), 5 * second)
    sim.crash(again)
    sim.restart(again, [node(sim, 0)])
    within(sim, "restart", () => sim.isComplete(), 5 * second)
    assert.strictEqual(events(sim, "Replaced"), 10)
    assert.isAbove(again.swim.self.startedAt, ahead.swim.self.startedAt)
    sound(sim)
  })

  it("a leave is shown as left by all, quickly, acknowledged, and never as a failure", () => {
    const sim = complete(30)
    sim.run(5 * second)
    const leaver = node(sim, 7)
    sim.command(leaver, { _tag: "Leave" })
    within(sim, "leave", () => sim.everyoneSees(leaver, "left"), 250)
    sim.run(second)
    const done = leaver.events.find(({ event }) => event._tag === "LeaveDone")
    assert.deepInclude(done?.event, { _tag: "LeaveDone", acknowledged: 3 })
    sim.crash(leaver)
    sim.run(minute)
    assert.isTrue(sim.everyoneSees(leaver, "left"))
    assert.strictEqual(events(sim, "Failed"), 0)
    sound(sim)
  })

  it("a member that left joins again", () => {
    const sim = complete(10)
    const leaver = node(sim, 7)
    sim.command(leaver, { _tag: "Leave" })
    within(sim, "leave", () => sim.everyoneSees(leaver, "left"), second)
    sim.command(leaver, { _tag: "Join", seeds: [node(sim, 0).address] })
    within(sim, "return", () => sim.isComplete(), 5 * second)
    sound(sim)
  })

  it("a member that was paused shorter than a suspicion is not declared dead and declares nobody", () => {
    const sim = complete(10)
    sim.run(5 * second)
    sim.pause(node(sim, 4))
    sim.run(3 * second)
    sim.resume(node(sim, 4))
    sim.run(minute)
    assert.strictEqual(events(sim, "Failed"), 0)
    sound(sim)
  })

  it("a member that was paused long wakes without accusing the others, and comes back", () => {
    const sim = complete(10)
    sim.run(5 * second)
    const paused = node(sim, 4)
    sim.pause(paused)
    sim.run(minute)
    assert.isTrue(sim.up.every((each) => each === paused || sim.status(each, paused) === "dead"))
    sim.resume(paused)
    within(sim, "return", () => sim.isComplete(), Params.lan.pushPullInterval)
    assert.strictEqual(paused.events.filter(({ event }) => event._tag === "Failed").length, 0)
    sound(sim)
  })

  it("keyed items reach all and the highest wins", () => {
    const sim = complete(10)
    sim.command(node(sim, 3), { _tag: "SetItem", key: "reign", value: new Uint8Array([1, 2]) })
    sim.command(node(sim, 8), { _tag: "SetItem", key: "reign", value: new Uint8Array([1, 3]) })
    within(sim, "item", () => sim.up.every(({ swim }) => swim.items.get("reign")?.value[1] === 3), second)
    const late = sim.start("late", [node(sim, 0)])
    within(sim, "join", () => late.swim.items.get("reign")?.value[1] === 3, second)
    sound(sim)
  })

  it("metadata changes reach all", () => {
    const sim = complete(10)
    const changed = node(sim, 5)
    sim.command(changed, { _tag: "SetMeta", meta: new Uint8Array([9]) })
    const seen = (): boolean => events(sim, "Updated") === 9
    within(sim, "metadata", seen, second)
    sound(sim)
  })

  it("user broadcasts reach all once", () => {
    const sim = complete(10)
    for (let i = 0; i < 50; i++) {
      sim.command(node(sim, i % 10), { _tag: "Broadcast", kind: "k", key: "", payload: new Uint8Array([i]) })
    }
    within(sim, "broadcasts", () => events(sim, "Delivered") === 500, 5 * second)
    sim.run(5 * second)
    assert.strictEqual(events(sim, "Delivered"), 500)
    // M5: the backlog returns to nothing.
    assert.isTrue(sim.up.every(({ swim }) => swim.broadcasts.byKey.size === 0 && swim.updates.byKey.size === 0))
    sound(sim)
  })

  it("two living nodes of one name: the younger is told, the others keep the older", () => {
    const sim = complete(5)
    sim.run(second)
    const older = node(sim, 2)
    const younger = sim.start("n2", [node(sim, 0)])
    sim.run(5 * second)
    assert.isAbove(younger.events.filter(({ event }) => event._tag === "NameConflict").length, 0)
    assert.strictEqual(older.events.filter(({ event }) => event._tag === "NameConflict").length, 0)
    for (const each of sim.nodes.slice(0, 5)) {
      if (each !== older) assert.strictEqual(each.swim.table.counts[0], 4)
    }
    sound(sim)
  })

  for (let seed = 1; seed <= 12; seed++) {
    it(`after any faults all views become equal (seed ${seed})`, () => {
      const sim = chaos(seed)
      within(sim, "equal views", () => sim.isComplete() && sim.isEqual(), 5 * Params.lan.pushPullInterval)
      sound(sim)
    })
  }

  it("the same seed gives the same trace, another seed another one", () => {
    const trace = (seed: number, mutant?: "M7"): number => {
      const sim = cluster(10, { seed, ...(mutant === undefined ? {} : { mutant }), network: { loss: 0.1 } })
      sim.run(20 * second)
      return sim.trace
    }
    assert.strictEqual(trace(5), trace(5))
    assert.notStrictEqual(trace(5), trace(6))
    assert.notStrictEqual(trace(5, "M7"), trace(5, "M7"))
  })

  for (const mutant of ["M1", "M2", "M6"] as const) {
    it(`the checker of ${mutant} sees a deliberate violation`, () => {
      const sim = cluster(10, { mutant, network: { loss: 0.2 }, params: { ...Params.lan, streamPing: false } })
      sim.run(10 * second)
      sim.crash(node(sim, 3))
      sim.run(minute)
      sim.restart(node(sim, 3), [node(sim, 0)])
      sim.run(minute)
      assert.isTrue(sim.violations.some((violation) => violation.startsWith(mutant)), sim.violations.join("\n"))
    })
  }
})
