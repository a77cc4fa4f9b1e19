/** Managers of real layers over RPC on simulated streams, in virtual time; only the membership is scripted. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Stream from "effect/Stream"
import { NotMaster } from "../../src/cluster/ClusterError.ts"
import type { ClusterView } from "../../src/cluster/ClusterView.ts"
import { ControlWorld } from "./ControlWorld.ts"

const five = (seed: number, conditions: ConstructorParameters<typeof ControlWorld>[1] = { latency: [0.2, 1] }) => {
  const sim = new ControlWorld(seed, conditions)
  for (let i = 1; i <= 5; i++) {
    sim.start(`n${i}`)
    sim.world.runFor(100)
  }
  sim.world.runFor(1500)
  sim.peek()
  assert.strictEqual(sim.common()?.id, "n1")
  return sim
}

const registerAll = (sim: ControlWorld, each: number): void => {
  for (const node of sim.running()) {
    for (let i = 0; i < each; i++) sim.run(node.id, (manager) => manager.register(`${node.id}-${i}`))
  }
}

const success = <A, E>(exit: Exit.Exit<A, E>): A => {
  if (Exit.isSuccess(exit)) return exit.value
  throw new Error(`failed: ${String(exit.cause)}`)
}

const routesOf = (sim: ControlWorld, id: string): number => success(sim.run(id, (manager) => manager.routes))

const failover = (sim: ControlWorld): number | undefined =>
  sim.until(() => {
    sim.peek()
    return (sim.common()?.epoch ?? 0) > 1
  }, 10_000)

describe("ClusterManager", () => {
  it("gives every node the same view of master, replicas and workers", () => {
    const sim = five(1)
    const views = sim.running().map((node) => success(sim.run(node.id, (manager) => manager.view)))
    assert.deepStrictEqual(views.map((view) => view.role), ["master", "replica", "replica", "worker", "worker"])
    for (const view of views) {
      assert.deepStrictEqual(view.replicas, views[0]?.replicas)
      assert.deepStrictEqual(view.members, views[0]?.members)
      assert.strictEqual(view.reign?.epoch, 1)
    }
  })

  it("makes a registration visible at every replica, also with loss, and shows it to workers who ask", () => {
    const sim = five(2, { latency: [1, 5], loss: 0.05 })
    registerAll(sim, 10)
    const took = sim.until(
      () => {
        sim.peek()
        return ["n1", "n2", "n3"].every((id) => routesOf(sim, id) === 50)
      },
      5000,
      10
    )
    assert.isDefined(took)
    assert.isTrue(sim.tablesAreEqual())
    // a lost segment costs 200 ms, more than a look-up waits
    const found = [1, 2, 3, 4].map(() => success(sim.run("n5", (manager) => manager.locate("n4-3"))))
    assert.deepStrictEqual(found.find((one) => one.lease === "none"), {
      nodes: [{ id: sim.node("n4").id, bootId: sim.node("n4").bootId }],
      lease: "none"
    })
    sim.run("n4", (manager) => manager.deregister("n4-3"))
    sim.world.runFor(500)
    assert.strictEqual(success(sim.run("n5", (manager) => manager.locate("n4-3"))).lease, "granted")
  })

  it("replaces a killed master within 40 ms, obeyed by all, with every route known", () => {
    for (let seed = 1; seed <= 5; seed++) {
      const sim = five(seed)
      registerAll(sim, 5)
      sim.world.runFor(500)
      sim.kill("n1")
      const took = failover(sim)
      assert.isAtMost(took ?? Infinity, 40, `seed ${seed}`)
      assert.strictEqual(sim.common()?.id, "n2")
      sim.world.runFor(2000)
      sim.fail("n1")
      sim.world.runFor(10)
      assert.strictEqual(routesOf(sim, "n2"), 20)
      sim.world.runFor(2000)
      sim.peek()
      assert.isTrue(sim.tablesAreEqual(), `seed ${seed}`)
    }
  })

  it("lets an old master that was cut off return without deposing anybody", () => {
    const sim = five(3)
    const others = ["n2", "n3", "n4", "n5"].map((id) => sim.node(id).ip)
    sim.net.partition([sim.node("n1").ip], others)
    sim.world.runFor(3000)
    sim.peek()
    assert.strictEqual(sim.views().get("n2")?.id, "n2")
    assert.strictEqual(sim.views().get("n1")?.id, "n1")
    sim.net.heal()
    sim.exchangeItems()
    sim.world.runFor(5000)
    sim.peek()
    assert.strictEqual(sim.common()?.id, "n2")
    assert.isTrue(Exit.isFailure(sim.run("n1", (manager) => manager.mastership)))
    registerAll(sim, 2)
    sim.world.runFor(500)
    assert.strictEqual(routesOf(sim, "n2"), 10)
  })

  it("is the same run for the same seed, event by event", () => {
    const run = () => {
      const sim = five(4, { latency: [0.5, 10], loss: 0.05 })
      registerAll(sim, 3)
      sim.kill("n1")
      sim.world.runFor(3000)
      return [...sim.trace, `${sim.world.events} events`, `${sim.net.counters.bytes} bytes`]
    }
    assert.deepStrictEqual(run(), run())
  })

  it("grants one start of a new function and lets all others wait for it, until it is registered", () => {
    const sim = five(5)
    const located = sim.running().map((node) => success(sim.run(node.id, (manager) => manager.locate("new"))))
    assert.deepStrictEqual(located.map((one) => one.lease), ["granted", "wait", "wait", "wait", "wait"])
    for (let i = 0; i < 10; i++) {
      sim.run("n1", (manager) => manager.renewLease("new"))
      sim.world.runFor(100)
    }
    assert.strictEqual(success(sim.run("n4", (manager) => manager.locate("new"))).lease, "wait")
    sim.run("n1", (manager) => manager.register("new"))
    sim.world.runFor(200)
    assert.strictEqual(success(sim.run("n4", (manager) => manager.locate("new"))).lease, "none")
    // a start that failed passes the lease on at once
    assert.strictEqual(success(sim.run("n5", (manager) => manager.locate("other"))).lease, "granted")
    sim.run("n5", (manager) => manager.endLease("other"))
    sim.world.runFor(20)
    assert.strictEqual(success(sim.run("n2", (manager) => manager.locate("other"))).lease, "granted")
  })

  it("answers a look-up within 50 ms when no keeper does, with permission to run it here", () => {
    const sim = five(6)
    for (const id of ["n1", "n2", "n3"]) sim.net.pause(sim.node(id).ip)
    const from = sim.world.now
    assert.strictEqual(success(sim.run("n5", (manager) => manager.locate("f"))).lease, "granted")
    assert.isAtMost(sim.world.now - from, 51)
  })

  it("asks the next keeper when the one it asks first was killed", () => {
    const sim = five(7)
    registerAll(sim, 1)
    sim.world.runFor(500)
    sim.kill("n2")
    sim.world.runFor(20)
    for (const id of ["n4", "n5"]) {
      assert.strictEqual(success(sim.run(id, (manager) => manager.locate("n3-0"))).lease, "none")
    }
  })

  it("streams its view: the current one, then every change", () => {
    const sim = five(8)
    const seen: Array<ClusterView> = []
    const { services } = sim.node("n3")
    if (services === undefined) throw new Error("n3 has not started")
    const fiber = sim.world.fork(
      Stream.runForEach(services.manager.views, (view) => Effect.sync(() => seen.push(view)))
    )
    sim.world.runFor(10)
    assert.strictEqual(seen.length, 1)
    sim.kill("n1")
    sim.world.runFor(1000)
    assert.strictEqual(seen.at(-1)?.reign?.id, "n2")
    fiber.interruptUnsafe()
  })
})

describe("calls to the master", () => {
  it("go to the new master after the old one said that it is none", () => {
    const sim = five(9)
    const tried: Array<string> = []
    const called = sim.run(
      "n5",
      (manager) =>
        manager.masterCall((master) =>
          Effect.suspend((): Effect.Effect<string, NotMaster> => {
            tried.push(master.id)
            if (tried.length === 1) sim.kill("n1")
            return master.id === "n1" ? Effect.fail(new NotMaster({ reign: undefined })) : Effect.succeed(master.id)
          })
        )
    )
    assert.deepStrictEqual(called, Exit.succeed("n2"))
    assert.isAbove(tried.length, 1)
  })

  it("are made again at the next master when the one that was called never answers", () => {
    const sim = five(13)
    const called = sim.run(
      "n5",
      (manager) =>
        manager.masterCall((master) =>
          Effect.suspend((): Effect.Effect<string> => {
            if (master.id !== "n1") return Effect.succeed(master.id)
            sim.kill("n1")
            return Effect.never
          })
        )
    )
    assert.deepStrictEqual(called, Exit.succeed("n2"))
  })

  it("end with NoMaster at the deadline, and at once with the caller's own failures", () => {
    const sim = five(10)
    const never = sim.run(
      "n5",
      (manager) => manager.masterCall(() => Effect.fail(new NotMaster({ reign: undefined })), { within: "300 millis" })
    )
    const ended = Exit.isFailure(never) ? Option.getOrUndefined(Exit.findErrorOption(never)) : undefined
    assert.strictEqual(ended?._tag, "NoMaster")
    const own = sim.run("n5", (manager) => manager.masterCall(() => Effect.fail("mine" as const)))
    assert.deepStrictEqual(Exit.isFailure(own) ? Exit.findErrorOption(own) : own, Option.some("mine" as const))
  })

  it("R1: control messages of a lower reign are refused with the one known", () => {
    const sim = five(11)
    const first = sim.common()
    sim.kill("n1")
    failover(sim)
    if (first === undefined) throw new Error("no first reign")
    const refused = sim.run("n4", (manager) => manager.admit(first))
    const error = Option.getOrUndefined(Exit.isFailure(refused) ? Exit.findErrorOption(refused) : Option.none())
    assert.strictEqual(error?._tag, "LowerReign")
    const current = sim.common()
    if (current !== undefined) assert.isTrue(Exit.isSuccess(sim.run("n4", (manager) => manager.admit(current))))
  })
})

describe("supervision", () => {
  it("starts the actor anew after a defect, with its reign, its members and what it had registered", () => {
    for (const id of ["n1", "n2", "n5"]) {
      const sim = five(12)
      registerAll(sim, 4)
      sim.world.runFor(500)
      const { services } = sim.node(id)
      if (services === undefined) throw new Error(`${id} has not started`)
      const broken = sim.world.fork(services.actor.read(() => {
        throw new Error("a bug")
      }))
      sim.world.runFor(3000)
      broken.interruptUnsafe()
      assert.isTrue(sim.trace.some((line) => line.includes("had a defect")))
      sim.peek()
      assert.strictEqual(sim.common()?.id, "n1")
      assert.strictEqual(sim.common()?.epoch, id === "n1" ? 2 : 1)
      assert.strictEqual(routesOf(sim, "n1"), 20, id)
      assert.isTrue(sim.tablesAreEqual())
    }
  })
})
