/** The whole control plane as pure state machines under faults: R1 and R2 are checked at every step, agreement and R5
 * after the faults end, and each checker is proven by a mutant that it catches. */
import { assert, describe, it } from "@effect/vitest"
import type { Output } from "../../src/cluster/ClusterMessage.ts"
import * as ClusterState from "../../src/cluster/ClusterState.ts"
import * as PeerCalls from "../../src/cluster/PeerCalls.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import type { SimOptions } from "./ControlNode.ts"
import { ControlSim } from "./ControlSim.ts"

const names = (n: number): Array<string> => Array.from({ length: n }, (_, i) => `n${i + 1}`)

const startAll = (sim: ControlSim, n: number): Array<string> => {
  const ids = names(n)
  for (const id of ids) {
    sim.start(id)
    sim.runFor(20 + sim.draw() * 100)
  }
  sim.runFor(2000)
  return ids
}

/** One random fault that begins and ends, half of them in the middle of a handover. */
const fault = (sim: ControlSim, ids: ReadonlyArray<string>): string => {
  const up = sim.running().map((node): string => node.id)
  const master = sim.commonReign()?.id
  const random = up[Math.floor(sim.draw() * up.length)] ?? "n1"
  const target = master !== undefined && up.includes(master) && sim.draw() < 0.5 ? master : random
  const others = ids.filter((id) => id !== target)
  if (master !== undefined && sim.draw() < 0.5) {
    sim.handover(master, others[Math.floor(sim.draw() * others.length)] ?? master)
    sim.runFor(sim.draw() * 80)
  }
  const kind = Math.floor(sim.draw() * 4)
  if (kind === 0) {
    sim.kill(target)
    sim.runFor(sim.draw() * 6000)
    sim.start(target, { joining: true })
    return `kill ${target}`
  }
  if (kind === 1) {
    const side = ids.filter(() => sim.draw() < 0.5)
    sim.partition(side, ids.filter((id) => !side.includes(id)))
    sim.runFor(sim.draw() * 20_000)
    sim.heal()
    return `partition ${side}`
  }
  if (kind === 2) {
    sim.partition([target], others)
    sim.runFor(sim.draw() * 20_000)
    sim.heal()
    return `isolate ${target}`
  }
  sim.pause(target)
  sim.runFor(sim.draw() * 10_000)
  sim.resume(target)
  return `pause ${target}`
}

/** Faults and registrations, then quiet; what is wrong afterwards. */
const chaos = (seed: number, options: Partial<SimOptions> = {}): ReadonlyArray<string> => {
  const sim = new ControlSim({ seed, latency: [0.2, 20], loss: 0.05, ...options })
  const ids = startAll(sim, 3 + Math.floor(sim.draw() * 5))
  for (let round = 0; round < 5; round++) {
    for (const node of sim.running()) sim.register(node.id, `f${round}-${node.id}`)
    fault(sim, ids)
    for (const node of sim.running()) sim.register(node.id, `f${round}-${node.id}`, sim.draw() < 0.5)
    sim.runFor(sim.draw() * 3000)
  }
  sim.runFor(15_000)
  const wrong = [...sim.violations]
  const master = sim.master()
  if (master === undefined) wrong.push("agreement: no single master")
  if (!sim.tablesAreEqual()) wrong.push("R5: tables differ")
  for (const node of sim.running()) {
    for (const entry of node.state.registrations.own.values()) {
      const known = master?.state.replica.table.versions.get(entry.version)?.some((e) =>
        e.node === node.id && e.bootId === node.bootId
      ) ?? false
      if (known !== entry.live) {
        wrong.push(`routes: the master is wrong about ${entry.version}`)
      }
    }
  }
  return wrong
}

describe("the control plane under random faults", () => {
  it("keeps R1 and R2 at every step, and agrees on one master and equal tables after the faults", () => {
    for (let seed = 1; seed <= 40; seed++) assert.deepStrictEqual(chaos(seed), [], `seed ${seed}`)
  })

  it("is the same run for the same seed", () => {
    const trace = () => {
      const sim = new ControlSim({ seed: 5, latency: [0.2, 20], loss: 0.05 })
      const ids = startAll(sim, 5)
      for (let i = 0; i < 3; i++) fault(sim, ids)
      return sim.log
    }
    const first = trace()
    assert.isAbove(first.length, 5)
    assert.deepStrictEqual(trace(), first)
  })
})

describe("the checkers", () => {
  const caughtBy = (options: Partial<SimOptions>, what: RegExp): boolean => {
    for (let seed = 1; seed <= 100; seed++) if (chaos(seed, options).some((wrong) => what.test(wrong))) return true
    return false
  }

  it("R1 catches a replica that applies changes of whoever sends them", () => {
    assert.isTrue(caughtBy({
      mutate: (input, { state }) => {
        const { applied, follow } = state.replica
        if (input._tag !== "DeltaReceived" || follow === undefined || state.election.reign === undefined) return input
        const delta = { ...input.delta, reign: state.election.reign, sequence: (applied ?? 0) + 1 }
        return { ...input, from: follow, delta }
      }
    }, /^R1/))
  })

  it("R2 catches a node that obeys every reign it hears", () => {
    assert.isTrue(caughtBy({
      mutate: (input, { state }) => {
        const { election } = state
        if ("reign" in input && input.reign !== undefined && Reign.isLower(input.reign, election.reign)) {
          election.reign = undefined
        }
        return input
      }
    }, /^R2/))
  })

  it("R2 catches a node that forgets its epoch floor at a restart", () => {
    const claims = (forgetful: boolean) => {
      const sim = new ControlSim({ seed: 1, forgetful })
      startAll(sim, 3)
      sim.kill("n1")
      sim.runFor(1000)
      assert.strictEqual(sim.commonReign()?.id, "n2")
      for (const id of ["n2", "n3"]) sim.kill(id)
      sim.start("n2", { joining: false })
      sim.runFor(1000)
      assert.strictEqual(sim.node("n2").state.role, "master")
      return sim.violations
    }
    assert.deepStrictEqual(claims(false), [])
    assert.match(claims(true)[0] ?? "", /^R2/)
  })

  it("R5 catches a replica that loses a change and does not compare digests", () => {
    assert.isTrue(caughtBy({
      mutate: (input) =>
        input._tag === "DeltaReceived"
          ? { ...input, delta: { ...input.delta, entries: input.delta.entries.slice(1), size: -1 } }
          : input
    }, /^R5/))
  })

  it("agreement catches nodes that obey any plain claim while they hear their master", () => {
    // the returning node's claim then deposes the master
    let deposed = 0
    for (let seed = 1; seed <= 20; seed++) {
      if (
        masterAfterReturn(seed, 5, "n5", (input) =>
          input._tag === "ReignHeard" && input.reign.kind === "plain"
            ? { ...input, reign: { ...input.reign, kind: "witnessed" } }
            : input) !== "n1"
      ) deposed++
    }
    assert.isAbove(deposed, 0)
  })
})

/** Who is master after one node was cut off for 20 s and came back. */
const masterAfterReturn = (
  seed: number,
  n: number,
  isolated: string,
  mutate?: SimOptions["mutate"]
): string | undefined => {
  const sim = new ControlSim({ seed, latency: [0.2, 5], loss: 0.01, ...(mutate === undefined ? {} : { mutate }) })
  const ids = startAll(sim, n)
  sim.partition([isolated], ids.filter((id) => id !== isolated))
  sim.runFor(20_000)
  const claimed = sim.node(isolated).state.role === "master"
  assert.isTrue(claimed, "availability first: the isolated node serves on its own")
  sim.heal()
  sim.runFor(10_000)
  assert.deepStrictEqual(sim.violations.filter((violation) => mutate === undefined || violation === ""), [])
  return sim.master()?.id
}

describe("succession", () => {
  it("replaces a killed master within 30 ms of loopback latency, by a majority of witnesses, first in rank", () => {
    for (const n of [3, 5, 7, 10]) {
      const sim = new ControlSim({ seed: n })
      startAll(sim, n)
      assert.strictEqual(sim.master()?.id, "n1")
      const from = sim.now
      sim.kill("n1")
      assert.isTrue(sim.runUntil(() => sim.master() !== undefined, 10_000))
      assert.isBelow(sim.now - from, 30, `${n} nodes`)
      assert.strictEqual(sim.commonReign()?.id, "n2")
      assert.strictEqual(sim.commonReign()?.kind, "witnessed")
      assert.deepStrictEqual(sim.violations, [])
    }
  })

  it("replaces a master that fell silent after eight missed beats", () => {
    const sim = new ControlSim({ seed: 2 })
    const ids = startAll(sim, 5)
    sim.partition(["n1"], ids.slice(1))
    const from = sim.now
    assert.isTrue(sim.runUntil(() => sim.node("n5").state.election.reign?.id === "n2", 10_000))
    assert.isAtLeast(sim.now - from, 700)
    assert.isAtMost(sim.now - from, 1000)
  })

  it("lets a witness alone of two claim only when the reconnect is refused", () => {
    const killed = new ControlSim({ seed: 3 })
    startAll(killed, 2)
    killed.kill("n1")
    assert.isTrue(killed.runUntil(() => killed.node("n2").state.role === "master", 100))
    const silent = new ControlSim({ seed: 3 })
    startAll(silent, 2)
    silent.partition(["n1"], ["n2"])
    silent.runFor(4000)
    assert.strictEqual(silent.node("n2").state.role, "replica")
    silent.runFor(6000)
    assert.strictEqual(silent.node("n2").state.role, "master")
    assert.strictEqual(silent.node("n2").state.election.reign?.kind, "plain")
  })

  it("passes over members that are not eligible", () => {
    const sim = new ControlSim({ seed: 4 })
    sim.start("n1")
    sim.runFor(100)
    sim.start("n2", { eligible: false })
    sim.runFor(100)
    sim.start("n3")
    sim.start("n4")
    sim.runFor(2000)
    sim.kill("n1")
    sim.runFor(1000)
    assert.strictEqual(sim.master()?.id, "n3")
  })

  it("falls back to gossip's verdict when the witnesses died with the master", () => {
    const sim = new ControlSim({ seed: 5 })
    startAll(sim, 5)
    for (const id of ["n1", "n2", "n3"]) sim.kill(id)
    sim.runFor(3000)
    assert.isUndefined(sim.master())
    assert.isTrue(sim.runUntil(() => sim.master()?.id === "n4", 10_000))
    assert.strictEqual(sim.commonReign()?.kind, "plain")
  })

  it("supports no claim that is only a greeting, also in the first reign and by who lost its master", () => {
    const sim = new ControlSim({ seed: 13 })
    startAll(sim, 3)
    const { state } = sim.node("n3")
    assert.strictEqual(state.election.reign?.epoch, 1)
    sim.partition(["n1"], ["n3"])
    sim.runFor(1500)
    const out: Array<Output> = []
    const from = sim.node("n2").state.self
    const claim = PeerCalls.greeting(from)
    assert.isTrue(Reign.isValid(claim))
    ClusterState.step(state, { _tag: "SupportAsked", now: sim.now, ask: 1, from, claim }, out)
    const reply = out.find((output) => output._tag === "Reply")
    assert.deepStrictEqual(reply?.answer, { _tag: "Supported", support: "refused", reign: state.election.reign })
    assert.isUndefined(state.election.supported)
  })

  it("discards what a witness that slept took for silence", () => {
    const sim = new ControlSim({ seed: 6 })
    startAll(sim, 5)
    for (const id of ["n2", "n3", "n4"]) sim.pause(id)
    sim.runFor(1200)
    for (const id of ["n2", "n3", "n4"]) sim.resume(id)
    sim.runFor(3000)
    assert.strictEqual(sim.commonReign()?.epoch, 1)
  })

  it("changes nothing when an old master that was cut off returns", () => {
    for (let seed = 1; seed <= 10; seed++) assert.strictEqual(masterAfterReturnOfMaster(seed), "n2")
  })

  it("believes its own beats, and gives a master time to deny, when a node that was cut off says that it is dead", () => {
    // a witness, and a node that watches nobody
    for (const [id, watches] of [["n3", true], ["n5", false]] as const) {
      const sim = new ControlSim({ seed: 21 })
      startAll(sim, 6)
      const node = sim.node(id)
      const other = sim.node("n6")
      const master = node.state.topology.nodes.get(sim.node("n1").id)
      if (master === undefined) throw new Error("no master")
      assert.strictEqual(node.state.election.watch !== undefined, watches)
      sim.step(node, { _tag: "MemberChanged", member: { ...master.member, status: "dead" } })
      const { bootId, startedAt } = other
      const claimed = { epoch: 2, id: other.id, bootId, startedAt, predecessor: undefined, witnesses: 0 }
      sim.step(node, { _tag: "ReignHeard", reign: { ...claimed, kind: "plain" }, from: undefined })
      sim.runFor(250)
      assert.strictEqual(node.state.election.reign?.id, "n1", id)
      sim.step(node, { _tag: "MemberChanged", member: { ...master.member, incarnation: 2 } })
      sim.runFor(2000)
      assert.strictEqual(sim.master()?.id, "n1", id)
      assert.deepStrictEqual(sim.violations, [])
    }
  })

  it("changes nothing when a worker that was cut off returns", () => {
    for (let seed = 1; seed <= 10; seed++) assert.strictEqual(masterAfterReturn(seed, 5, "n5"), "n1")
  })

  it("fences a paused master that wakes up", () => {
    const sim = new ControlSim({ seed: 7 })
    startAll(sim, 5)
    sim.pause("n1")
    sim.runFor(2000)
    assert.strictEqual(sim.node("n3").state.election.reign?.id, "n2")
    sim.resume("n1")
    sim.runFor(2000)
    assert.strictEqual(sim.master()?.id, "n2")
    assert.notStrictEqual(sim.node("n1").state.role, "master")
    assert.deepStrictEqual(sim.violations, [])
  })

  it("merges two clusters that grew apart under the older master", () => {
    const sim = new ControlSim({ seed: 8 })
    const ids = names(4)
    sim.partition(["n1", "n2"], ["n3", "n4"])
    for (const id of ids) {
      sim.start(id, { joining: id === "n2" || id === "n4" })
      sim.runFor(200)
    }
    sim.runFor(5000)
    assert.strictEqual(sim.node("n2").state.election.reign?.id, "n1")
    assert.strictEqual(sim.node("n4").state.election.reign?.id, "n3")
    sim.heal()
    sim.runFor(5000)
    assert.strictEqual(sim.master()?.id, "n1")
    assert.deepStrictEqual(sim.violations, [])
  })

  it("waits 3 s for a first contact before it claims, when it was started to join others", () => {
    const sim = new ControlSim({ seed: 9 })
    sim.start("n1", { joining: true })
    sim.runFor(2900)
    assert.isUndefined(sim.node("n1").state.election.reign)
    sim.runFor(1500)
    assert.strictEqual(sim.node("n1").state.role, "master")
  })

  it("claims nothing when it was told to leave before its first contact, or as the first in rank", () => {
    const sim = new ControlSim({ seed: 9 })
    const alone = sim.start("n1", { joining: true })
    sim.runFor(100)
    sim.step(alone, { _tag: "Retiring" })
    sim.runFor(10_000)
    assert.isUndefined(alone.state.election.reign)

    const leaving = new ControlSim({ seed: 12 })
    startAll(leaving, 5)
    leaving.step(leaving.node("n2"), { _tag: "Retiring" })
    leaving.kill("n1")
    assert.isTrue(leaving.runUntil(() => leaving.master() !== undefined, 1000))
    assert.strictEqual(leaving.master()?.id, "n3")
    assert.deepStrictEqual(leaving.violations, [])
  })

  it("goes above every epoch it had before all nodes were restarted", () => {
    const sim = new ControlSim({ seed: 10 })
    const ids = startAll(sim, 5)
    sim.kill("n1")
    sim.runFor(2000)
    assert.strictEqual(sim.commonReign()?.epoch, 2)
    for (const id of ids.slice(1)) sim.kill(id)
    sim.runFor(1000)
    for (const id of ids) sim.start(id, { joining: id !== "n1" })
    sim.runFor(6000)
    assert.isDefined(sim.master())
    assert.isAtLeast(sim.commonReign()?.epoch ?? 0, 3)
    assert.deepStrictEqual(sim.violations, [])
  })
})

const masterAfterReturnOfMaster = (seed: number): string | undefined => {
  const sim = new ControlSim({ seed, latency: [0.2, 5], loss: 0.01 })
  const ids = startAll(sim, 5)
  sim.partition(["n1"], ids.slice(1))
  sim.runFor(20_000)
  sim.heal()
  sim.runFor(10_000)
  assert.deepStrictEqual(sim.violations, [])
  return sim.master()?.id
}

describe("routes", () => {
  it("R5: reach the master and every replica, and a new master knows them all within 2 s of its claim", () => {
    const sim = new ControlSim({ seed: 11 })
    const ids = startAll(sim, 7)
    for (const id of ids) for (let i = 0; i < 30; i++) sim.register(id, `${id}-${i}`)
    sim.runFor(1000)
    assert.isTrue(sim.tablesAreEqual())
    assert.strictEqual(sim.master()?.state.replica.table.size, 210)
    sim.kill("n1")
    sim.runFor(2000)
    const table = sim.master()?.state.replica.table
    for (const id of ids.slice(1)) assert.strictEqual(table?.writers.get(`${sim.node(id).bootId}/${id}`)?.live, 30)
    sim.runFor(3000)
    assert.isTrue(sim.tablesAreEqual())
  })

  it("grants one start of a new function although every node asks at once", () => {
    const sim = new ControlSim({ seed: 12 })
    const ids = startAll(sim, 8)
    const answers: Array<string> = []
    for (const id of ids) sim.locate(id, "new", (where) => answers.push(where._tag))
    sim.runFor(100)
    assert.deepStrictEqual(answers.sort(), ["Granted", ...Array.from({ length: 7 }, () => "Wait")])
    sim.register("n3", "new")
    sim.runFor(400)
    sim.locate("n8", "new", (where) => answers.push(where._tag))
    sim.runFor(100)
    assert.strictEqual(answers.at(-1), "Known")
  })
})
