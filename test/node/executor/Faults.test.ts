/** What functions do wrong, and that only they suffer from it (F2). */
import { afterAll, assert, describe, it } from "@effect/vitest"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Path from "node:path"
import type * as Executor from "../../../src/functions/Executor.ts"
import * as ExecutorPool from "../../../src/node/executor/ExecutorPool.ts"
import * as Calls from "./Calls.ts"

const log = Calls.lines()
const pool = ExecutorPool.make({ onLog: log.onLog })
afterAll(() => pool.close())

/** A pool for a test that breaks its host. */
const withPool = async (use: (own: ExecutorPool.ExecutorPool) => Promise<void>): Promise<void> => {
  const own = ExecutorPool.make()
  try {
    await own.ready
    await use(own)
  } finally {
    await own.close()
  }
}

const pidOf = async (instance: Executor.Instance): Promise<string> => (await Calls.call(instance, "/pid")).body

describe("Functions that misbehave", () => {
  it("fail only the call when they throw, reject or return no Response, with the cause for the log", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    const causes: ReadonlyArray<readonly [path: string, cause: RegExp]> = [
      ["/throw", /^Error: no luck\n.*misbehave\.js:16/s],
      ["/reject", /^TypeError: rejected/],
      ["/text", /returned string/],
      ["/nothing", /returned undefined/],
      ["/used", /used already/]
    ]
    for (const [path, cause] of causes) {
      const { error, status } = await Calls.call(instance, path)
      assert.strictEqual(status, 0)
      assert.strictEqual(error?.code, "handler-error")
      assert.notInclude(error?.message ?? "", "Handler.ts", "what follows are frames of ours")
      assert.match(error?.message ?? "", cause)
    }
    assert.strictEqual((await Calls.call(instance, "/")).body, "fine")
  })

  it("break off their answer when its source breaks", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    const { body, error, status } = await Calls.call(instance, "/fail-midway")
    assert.deepStrictEqual([status, body, error?.code], [200, "first", "handler-error"])
  })

  it("answer a ping before they begin with a call that was sent behind it", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    const answered = instance.ping(2000)
    const spinning = Calls.call(instance, "/spin")
    assert.isTrue(await answered)
    assert.isFalse(await instance.ping(200))
    await instance.stop("tested")
    assert.strictEqual((await spinning).error?.code, "stopped")
  })

  it("are ended out of an endless loop while others keep answering", async () => {
    const spinning = await pool.start(Calls.spec("misbehave"))
    const other = await pool.start(Calls.spec("hello"))
    const stuck = Calls.call(spinning, "/spin")
    assert.isFalse(await spinning.ping(300))
    assert.isTrue(await other.ping(2000))
    for (let index = 0; index < 20; index++) assert.strictEqual((await Calls.call(other, "/")).body, "hello /")
    await spinning.stop("spinning")
    assert.deepStrictEqual((await stuck).error, { code: "stopped", message: "spinning" })
    assert.deepStrictEqual(await spinning.exited, { kind: "stopped", message: "spinning" })
    assert.deepStrictEqual((await Calls.call(spinning, "/")).error?.code, "stopped")
    assert.isFalse(await spinning.ping(1000))
    assert.strictEqual((await Calls.call(other, "/")).body, "hello /")
  })

  it("still answer pings, and calls one by one, while many calls are hard at work", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    await Promise.all(Array.from({ length: 20 }, () => Calls.call(instance, "/busy")))
    let answered = 0
    const calls = Array.from({ length: 60 }, async () => {
      const { body } = await Calls.call(instance, "/busy")
      answered++
      return body
    })
    assert.isTrue(await instance.ping(5000))
    assert.isBelow(answered, 30)
    assert.deepStrictEqual(new Set(await Promise.all(calls)), new Set(["busy"]))
  })

  it("run at a lower priority than everything else of the node", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    await Calls.call(instance, "/")
    // Only Linux has a priority for each thread.
    if (process.platform !== "linux") return
    const nices = pool.pids.flatMap((pid) =>
      Fs.readdirSync(`/proc/${pid}/task`).map((task) => {
        const stat = Fs.readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8")
        return Number(stat.slice(stat.lastIndexOf(")")).split(" ")[17])
      })
    )
    assert.include(nices, 10)
    assert.include(nices, 0)
  })

  const ends: ReadonlyArray<readonly [path: string, message: RegExp]> = [
    ["/exit", /code 3/],
    ["/unhandled", /nobody caught this/],
    ["/uncaught", /thrown later/]
  ]
  for (const [path, message] of ends) {
    it(`end only their instance, with its calls, by ${path}`, async () => {
      const [instance, other] = [await pool.start(Calls.spec("misbehave")), await pool.start(Calls.spec("hello"))]
      const waiting = Calls.call(instance, "/never")
      const last = await Calls.call(instance, path)
      assert.strictEqual(last.error?.code, "crashed")
      assert.match(last.error?.message ?? "", message)
      assert.strictEqual((await waiting).error?.code, "crashed")
      const reason = await instance.exited
      assert.strictEqual(reason.kind, "crashed")
      assert.match(reason.message, message)
      assert.strictEqual((await Calls.call(other, "/")).body, "hello /")
      await other.stop("done")
    })
  }

  it("flood the log only up to its bound, and the count of lost lines is told", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    assert.strictEqual((await Calls.call(instance, "/flood")).body, "flooded")
    const written = log.seen.filter((line) => line.instance === instance.id)
    assert.isAtLeast(written.length, 100)
    assert.isAtMost(written.length, 5000)
    // The next line that is let through carries the count.
    let told = 0
    while (told === 0) {
      await Calls.call(instance, "/long-line")
      told = log.seen.reduce((sum, line) => sum + (line.instance === instance.id ? line.dropped : 0), 0)
    }
    assert.isAtLeast(told, 100_000)
  })

  it("cannot confuse the host by posting junk to it", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    assert.strictEqual((await Calls.call(instance, "/port")).body, "posted")
    assert.strictEqual((await Calls.call(instance, "/")).body, "fine")
  })

  for (const path of ["/buffers", "/buffers-at-once", "/leak"]) {
    it(`end alone when they hold more than their memory, by ${path}`, async () => {
      const instance = await pool.start(Calls.spec("misbehave", { limits: { memoryMb: 64 } }))
      const other = await pool.start(Calls.spec("hello"))
      const { error } = await Calls.call(instance, path)
      assert.strictEqual(error?.code, "out-of-memory")
      assert.strictEqual((await instance.exited).kind, "out-of-memory")
      assert.strictEqual((await Calls.call(other, "/")).body, "hello /")
    })
  }

  it("may make garbage of many times their memory", async () => {
    const instance = await pool.start(Calls.spec("misbehave", { limits: { memoryMb: 64 } }))
    assert.strictEqual((await Calls.call(instance, "/churn")).body, "churned")
  })

  it("end by a heap bomb, at worst with their host, which comes back", () =>
    withPool(async (own) => {
      const instance = await own.start(Calls.spec("misbehave", { limits: { memoryMb: 64 } }))
      const { error } = await Calls.call(instance, "/heap")
      assert.include(["out-of-memory", "host-crash"], error?.code)
      assert.strictEqual((await instance.exited).kind, error?.code)
      const next = await own.start(Calls.spec("hello"))
      assert.strictEqual((await Calls.call(next, "/")).body, "hello /")
    }))

  it("that took their host down get a host of their own, and the others a new shared one", () =>
    withPool(async (own) => {
      const killer = await own.start(Calls.spec("misbehave"))
      const victim = await own.start(Calls.spec("misbehave", { version: "another-version" }))
      const shared = await pidOf(killer)
      assert.strictEqual(await pidOf(victim), shared)
      const { error } = await Calls.call(killer, "/kill-host")
      assert.strictEqual(error?.code, "host-crash")
      assert.deepStrictEqual([(await killer.exited).kind, (await victim.exited).kind], ["host-crash", "host-crash"])
      assert.strictEqual((await Calls.call(victim, "/")).error?.code, "host-crash")
      await own.ready
      assert.strictEqual(own.spares, 2)
      const [again, calm] = [
        await own.start(Calls.spec("misbehave")),
        await own.start(Calls.spec("misbehave", { version: "another-version" }))
      ]
      assert.deepStrictEqual([again.start, calm.start], ["cold", "prewarmed"])
      assert.notStrictEqual(await pidOf(again), await pidOf(calm))
      await Calls.call(again, "/kill-host")
      assert.strictEqual((await again.exited).kind, "host-crash")
      assert.strictEqual((await Calls.call(calm, "/")).body, "fine")
    }))

  it("blocked outside of JavaScript are ended with their host", () =>
    withPool(async (own) => {
      const blocked = await own.start(Calls.spec("misbehave"))
      const waiting = Calls.call(blocked, "/block")
      assert.isFalse(await blocked.ping(200))
      await blocked.stop("blocked")
      assert.strictEqual((await waiting).error?.code, "stopped")
      await own.ready
      assert.strictEqual((await Calls.call(await own.start(Calls.spec("hello")), "/")).body, "hello /")
    }))

  it("end with their host when the agent is killed", async () => {
    const agent = spawn(process.execPath, [Path.join(import.meta.dirname, "AgentMain.ts")], {
      stdio: ["ignore", "pipe", "inherit"]
    })
    const [line] = await once(agent.stdout, "data")
    const pid = Number(String(line))
    assert.doesNotThrow(() => process.kill(pid, 0))
    agent.kill("SIGKILL")
    await once(agent, "exit")
    const gone = (): boolean => {
      try {
        return !process.kill(pid, 0)
      } catch {
        return true
      }
    }
    while (!gone()) await new Promise((resolve) => setImmediate(resolve))
  })
})
