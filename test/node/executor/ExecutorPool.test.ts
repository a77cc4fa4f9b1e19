import { afterAll, assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as ExecutorPool from "../../../src/node/executor/ExecutorPool.ts"
import * as Calls from "./Calls.ts"

process.env["SHOAL_TEST_SECRET"] = "of the agent"

const log = Calls.lines()
const pool = ExecutorPool.make({ onLog: log.onLog, initTimeoutMs: 1500 })
afterAll(() => pool.close())

const bytes = (length: number): Uint8Array => new Uint8Array(length).map((_, index) => 97 + index % 26)

const withFolder = async (use: (folder: string) => Promise<void>): Promise<void> => {
  const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "test-"))
  try {
    await use(folder)
  } finally {
    Fs.rmSync(folder, { recursive: true, force: true })
  }
}

const reasonOf = async (name: string): Promise<string> => {
  try {
    await pool.start(Calls.spec(name))
    return "it started"
  } catch (error) {
    assert.instanceOf(error, Error)
    return `${"reason" in error ? error.reason : ""}: ${error.message}`
  }
}

describe("ExecutorPool", () => {
  it("answers a call from a spare that became the instance, and fills the spares up again", async () => {
    await pool.ready
    assert.strictEqual(pool.spares, 2)
    const instance = await pool.start(Calls.spec("hello"))
    assert.strictEqual(instance.start, "prewarmed")
    const reply = await Calls.call(instance, "/world?x=1")
    assert.deepStrictEqual([reply.status, reply.body, reply.error], [200, "hello /world", undefined])
    assert.isAtLeast(reply.trailer.execMs ?? -1, 0)
    assert.strictEqual(instance.inflight, 0)
    await pool.ready
    assert.strictEqual(pool.spares, 2)
  })

  it("starts cold when no spare is left or more memory is needed than spares have", async () => {
    const cold = await pool.start(Calls.spec("hello", { limits: { memoryMb: 256 } }))
    assert.strictEqual(cold.start, "cold")
    assert.strictEqual((await Calls.call(cold, "/")).body, "hello /")
    await cold.stop("done")
  })

  it("hands over method, address, headers, body and environment, and nothing of the agent's environment", async () => {
    const instance = await pool.start(Calls.spec("echo", { env: { GREETING: "hi" } }))
    const reply = await Calls.call(instance, "/a%20b?q=1", {
      callId: "call-id-1",
      method: "POST",
      headers: [["content-type", "text/plain"], ["x-two", "1"], ["x-two", "2"]],
      body: new TextEncoder().encode("ünï")
    })
    assert.strictEqual(reply.status, 201)
    assert.deepStrictEqual(reply.headers.filter(([name]) => name === "set-cookie").map(([, value]) => value), [
      "a=1",
      "b=2"
    ])
    assert.deepStrictEqual(JSON.parse(reply.body), {
      method: "POST",
      url: "http://function/a%20b?q=1",
      headers: [["content-type", "text/plain"], ["x-two", "1, 2"]],
      body: "ünï",
      env: { GREETING: "hi" },
      processEnv: { GREETING: "hi" },
      callId: "call-id-1",
      inTime: true
    })
  })

  it("streams bodies larger than any window both ways at once", async () => {
    const instance = await pool.start(Calls.spec("echo"))
    const stream = Calls.open(instance, "/stream", { method: "PUT" })
    const reply = Calls.read(stream)
    const part = bytes(100_000)
    for (let index = 0; index < 50; index++) {
      if (!stream.write(part)) await new Promise<void>((resolve) => stream.onWritable = resolve)
    }
    stream.end()
    const { body, headers } = await reply
    assert.strictEqual(body.length, 5_000_000)
    assert.strictEqual(body, Buffer.from(part).toString().repeat(50))
    assert.deepInclude(headers, ["x-kind", "stream"])
  })

  it("answers without reading a body it does not want", async () => {
    const instance = await pool.start(Calls.spec("echo"))
    const reply = await Calls.call(instance, "/ignore", { method: "POST", body: bytes(1_000_000) })
    assert.deepStrictEqual([reply.body, reply.error], ["ignored", undefined])
  })

  it("keeps many calls of one instance apart", async () => {
    const instance = await pool.start(Calls.spec("hello"))
    const replies = await Promise.all(Array.from({ length: 500 }, (_, index) => Calls.call(instance, `/${index}`)))
    assert.deepStrictEqual(replies.map(({ body }) => body), replies.map((_, index) => `hello /${index}`))
  })

  it("says why and where a bundle did not become an instance", async () => {
    assert.match(await reasonOf("throws"), /^import-failed: Error: no configuration\s.*throws\.js:4/s)
    assert.match(await reasonOf("missing"), /^import-failed: .*no-such-package.*missing\.js/s)
    assert.match(await reasonOf("nohandler"), /^no-handler: /)
    assert.match(await reasonOf("absent"), /^import-failed: .*absent\.js/s)
    assert.match(await reasonOf("exits"), /^crashed: .*code 4/)
    assert.match(await reasonOf("spins"), /^init-timeout: /)
  })

  it("names the line that does not parse", () =>
    withFolder(async (folder) => {
      const bundlePath = Path.join(folder, "broken")
      Fs.writeFileSync(bundlePath, "export const fine = 1\nexport const = 2\n")
      const refused = await pool.start(Calls.spec("syntax", { bundlePath })).then(() => "started", String)
      assert.match(refused, /broken:2\nexport const = 2\n.*SyntaxError: Unexpected token '='/s)
    }))

  it("refuses starts beyond its capacity", async () => {
    const small = ExecutorPool.make({ spares: 0, maxInstances: 1 })
    try {
      await small.start(Calls.spec("hello"))
      const refused = await small.start(Calls.spec("hello")).then(() => "started", (error: unknown) => error)
      assert.deepInclude(refused, { _tag: "StartError", reason: "capacity" })
    } finally {
      await small.close()
    }
  })

  it("runs a bundle whose file has no extension", () =>
    withFolder(async (folder) => {
      const bundlePath = Path.join(folder, "0f1e2d3c")
      Fs.writeFileSync(bundlePath, "export default () => new Response(\"by digest\")\n")
      const instance = await pool.start(Calls.spec("digest", { bundlePath }))
      assert.strictEqual((await Calls.call(instance, "/")).body, "by digest")
    }))

  it("gives log lines their instance, level and call", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    await Calls.call(instance, "/long-line", { callId: "writer" })
    const raw = await log.find("raw line")
    assert.deepInclude(raw, { instance: instance.id, name: "misbehave", level: "info", callId: "writer", dropped: 0 })
    const long = await log.find("xxx")
    assert.strictEqual(long.level, "error")
    assert.isBelow(long.text.length, 10_000)
    await Calls.call(instance, "/later", { callId: "later" })
    assert.strictEqual((await log.find("failed after the answer")).callId, "later")
  })

  it("tells the function when a call was given up", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    const stream = Calls.open(instance, "/signal")
    await log.find("listening")
    assert.include((await log.find("same signal")).text, "true")
    stream.cancel()
    assert.include((await log.find("aborted")).text, "AbortError")
    assert.strictEqual(instance.inflight, 0)
  })

  it("stops reading an endless answer at one window, and cancels its source with the call", async () => {
    const instance = await pool.start(Calls.spec("misbehave"))
    const stream = Calls.open(instance, "/endless")
    const full = Promise.withResolvers<void>()
    let received = 0
    stream.onData = (chunk) => {
      received += chunk.length
      if (received === 256 * 1024) full.resolve()
    }
    await full.promise
    assert.isTrue(await instance.ping(5000))
    assert.strictEqual(received, 256 * 1024)
    stream.cancel()
    await log.find("stream cancelled")
  })

  it("leaves no process, thread or socket file behind when it is closed", () =>
    withFolder(async (folder) => {
      const other = ExecutorPool.make({ folder })
      await other.ready
      const instance = await other.start(Calls.spec("misbehave"))
      const spinning = Calls.call(instance, "/spin")
      const { pids } = other
      await other.close()
      assert.deepStrictEqual((await spinning).error?.code, "stopped")
      assert.strictEqual((await instance.exited).kind, "stopped")
      for (const pid of pids) assert.throws(() => process.kill(pid, 0))
      assert.deepStrictEqual(Fs.readdirSync(folder), [])
      const refused = await other.start(Calls.spec("hello")).then(() => "started", (error: unknown) => error)
      assert.deepInclude(refused, { reason: "closed" })
    }))
})
