import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Member from "../../src/swim/Member.ts"
import { ControlWorld } from "./ControlWorld.ts"

/** A cluster of `n` nodes that obeys `n1`. */
const cluster = (n: number, seed = 1): ControlWorld => {
  const world = new ControlWorld(seed)
  for (let i = 1; i <= n; i++) {
    world.start(`n${i}`)
    world.world.runFor(50)
  }
  world.until(() => (world.peek(), world.common()?.id === "n1"), 8000, 10)
  assert.strictEqual(world.common()?.id, "n1", world.trace.join("\n"))
  world.world.runFor(1500)
  return world
}

const obeyed = (world: ControlWorld, by: ReadonlyArray<string>): ReadonlyArray<string | undefined> => {
  world.peek()
  return by.map((id) => world.state(world.node(id))?.election.reign?.id)
}

const handover = (world: ControlWorld, at: string, to: string) =>
  world.run(at, (manager) => manager.handover(Member.id(to)))

describe("Succession", () => {
  it("hands over to a worker, a replica and back, asked at any node, each within a few round trips", () => {
    const world = cluster(5)
    for (const [at, to] of [["n1", "n5"], ["n2", "n2"], ["n4", "n1"]] as const) {
      const before = world.world.now
      const exit = handover(world, at, to)
      assert.isTrue(Exit.isSuccess(exit), world.trace.slice(-30).join("\n"))
      if (!Exit.isSuccess(exit)) return
      assert.strictEqual<string>(exit.value.reign.id, to)
      assert.strictEqual(exit.value.reign.kind, "granted")
      // H1: three messages of at most some milliseconds, and no timer
      assert.isBelow(exit.value.closedMs, 20)
      assert.isBelow(world.world.now - before, 100)
      world.world.runFor(50)
      assert.deepStrictEqual<ReadonlyArray<string | undefined>>(
        obeyed(world, ["n1", "n2", "n3", "n4", "n5"]),
        Array<string>(5).fill(to)
      )
    }
  })

  it("keeps every acknowledged registration in the table of the target, and those under way find it", () => {
    const world = cluster(5)
    for (let i = 0; i < 50; i++) world.run("n3", (manager) => manager.register(`before-${i}`))
    world.world.runFor(500)
    for (let i = 0; i < 20; i++) world.run("n2", (manager) => manager.register(`late-${i}`))
    const exit = handover(world, "n1", "n4")
    assert.isTrue(Exit.isSuccess(exit), world.trace.slice(-30).join("\n"))
    assert.deepStrictEqual(world.run("n4", (manager) => Effect.map(manager.routes, (n) => n >= 50)), Exit.succeed(true))
    const took = world.until(() => (world.peek(), world.tablesAreEqual()), 1000, 5)
    assert.isDefined(took)
    world.world.runFor(200)
    assert.deepStrictEqual(world.run("n4", (manager) => manager.routes), Exit.succeed(70))
  })

  it("says why it does not: no member, the master itself, dead", () => {
    const world = cluster(3)
    const reason = (to: string) => {
      const exit = world.run("n2", (manager) => Effect.flip(manager.handover(Member.id(to))))
      return Exit.isSuccess(exit) && exit.value._tag === "HandoverRefused" ? exit.value.reason : exit
    }
    assert.strictEqual(reason("n9"), "not-a-member")
    assert.strictEqual(reason("n1"), "already-master")
    world.kill("n3")
    world.fail("n3")
    world.world.runFor(10)
    assert.strictEqual(reason("n3"), "not-alive")
    assert.deepStrictEqual(obeyed(world, ["n1", "n2"]), ["n1", "n1"])
  })

  it("goes on as master when the target dies while it prepares", () => {
    const world = cluster(4)
    world.world.fork(Effect.ignore(world.node("n1").services?.manager.handover(Member.id("n3")) ?? Effect.void))
    world.kill("n3")
    world.world.runFor(300)
    world.fail("n3")
    world.world.runFor(300)
    assert.deepStrictEqual(obeyed(world, ["n1", "n2", "n4"]), ["n1", "n1", "n1"])
    assert.isTrue(Exit.isSuccess(world.run("n1", (manager) => manager.writable)))
  })

  for (const [victim, seeds] of [["n1", 40], ["n3", 40]] as const) {
    it(`has one obeyed master that lives and writes when ${victim === "n1" ? "the old master" : "the target"} is killed at any moment`, () => {
      for (let step = 0; step < seeds; step++) {
        const world = cluster(4, 100 + step)
        world.world.fork(Effect.ignore(world.node("n1").services?.manager.handover(Member.id("n3")) ?? Effect.void))
        world.world.runFor(step * 0.5)
        world.kill(victim)
        world.world.runFor(400)
        world.fail(victim)
        const living = ["n1", "n2", "n3", "n4"].filter((id) => id !== victim)
        const settled = world.until(
          () => {
            world.peek()
            const reign = world.common()
            return reign !== undefined && living.includes(reign.id)
          },
          5000,
          10
        )
        assert.isDefined(settled, `killed after ${step * 0.5} ms: ${JSON.stringify([...world.views()])}`)
        const master = world.common()?.id ?? ""
        assert.isTrue(Exit.isSuccess(world.run(master, (manager) => manager.writable)), `after ${step * 0.5} ms`)
      }
    })
  }

  it("hands over before it leaves, and takes nothing over from then on", () => {
    const world = cluster(4)
    assert.isTrue(Exit.isSuccess(world.run("n2", (manager) => manager.retire)))
    assert.isTrue(Exit.isSuccess(world.run("n1", (manager) => manager.retire)))
    world.world.runFor(50)
    const reigns = obeyed(world, ["n1", "n2", "n3", "n4"])
    assert.isFalse(reigns.includes("n1"))
    const refused = world.run("n4", (manager) => Effect.flip(manager.handover(Member.id("n1"))))
    assert.isTrue(Exit.isSuccess(refused) && refused.value._tag === "HandoverRefused", String(refused))
  })
})
