import { assert, describe, it } from "@effect/vitest"
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import type * as DevView from "../../src/cli/DevView.ts"
import * as Spawned from "./fixtures/Spawned.ts"

const folder = mkdtempSync(join(tmpdir(), "shoal-cli-dev-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
writeFileSync(join(folder, "hello.ts"), "export default () => new Response()\n")
writeFileSync(join(folder, "other.ts"), "export default () => new Response()\n")
writeFileSync(join(folder, "broken.ts"), "\n  SYNTAX ERROR\n")

const events = (stdout: string): ReadonlyArray<DevView.Event> =>
  stdout.split("\n").filter((line) => line !== "").map((line) => JSON.parse(line))

const only = <Name extends DevView.Event["event"]>(stdout: string, name: Name) =>
  events(stdout).filter((event): event is Extract<DevView.Event, { event: Name }> => event.event === name)

const startDev = (args: ReadonlyArray<string>, env: Record<string, string> = {}) => {
  const running = Spawned.start(["dev", "--json", "--port", "0", ...args], { env })
  const ready = running.until(/"ready".*\n/).then(() => {
    const [event] = only(running.stdout(), "ready")
    assert.isDefined(event)
    return event
  })
  return { ...running, ready }
}
const pidsOf = (stdout: string) => only(stdout, "started").map((event) => event.pid)

describe("shoal dev", () => {
  it("starts the nodes, deploys the files, prints where to call them, and takes everything down on SIGTERM", async () => {
    const dev = startDev(["--nodes", "3", join(folder, "hello.ts"), join(folder, "other.ts")])
    const ready = await dev.ready
    const started = only(dev.stdout(), "started")
    assert.deepStrictEqual(started.map((event) => event.name).sort(), ["n1", "n2", "n3"])
    assert.strictEqual(ready.nodes, 3)
    assert.deepStrictEqual(ready.urls.map((url) => new URL(url).pathname), ["/function/hello", "/function/other"])
    for (const url of ready.urls) assert.strictEqual((await fetch(url)).status, 200)
    await dev.until(/"function","name":"other".*\n/)
    assert.deepStrictEqual(only(dev.stdout(), "reign"), [{ event: "reign", epoch: 1, master: "n1" }])
    dev.child.kill("SIGTERM")
    const { code, stderr } = await dev.ended
    assert.strictEqual(code, 0, stderr)
    assert.deepStrictEqual(pidsOf(dev.stdout()).filter(Spawned.isRunning), [])
    assert.deepStrictEqual(only(dev.stdout(), "left"), [{ event: "left", killed: [] }])
    assert.isFalse(existsSync(ready.dataDir))
  })

  it("leaves no process behind when it is killed itself", async () => {
    const dev = startDev(["--nodes", "2"])
    const ready = await dev.ready
    const pids = pidsOf(dev.stdout())
    assert.strictEqual(pids.length, 2)
    dev.child.kill("SIGKILL")
    await Spawned.gone(pids)
    rmSync(ready.dataDir, { recursive: true })
  })

  it("reports a node that dies, with its last lines, and goes on with the others", async () => {
    const dev = startDev(["--nodes", "2"])
    await dev.ready
    const [, second] = only(dev.stdout(), "started")
    process.kill(second?.pid ?? 0, "SIGKILL")
    await dev.until(/"ended".*\n/)
    assert.deepStrictEqual(only(dev.stdout(), "ended"), [{
      event: "ended",
      name: second?.name ?? "",
      pid: second?.pid ?? 0,
      how: "was killed by SIGKILL",
      expected: false,
      lines: [`fake node ${second?.name} says hello`]
    }])
    await dev.until(/"member","id":"n\d","status":"dead".*\n/)
    dev.child.kill("SIGINT")
    assert.strictEqual((await dev.ended).code, 0)
  })

  it("kills a node that does not finish leaving, and everything is over within 5 seconds", async () => {
    const dev = startDev(["--nodes", "2"], { FAKE_STUCK: "n2" })
    await dev.ready
    const asked = performance.now()
    dev.child.kill("SIGTERM")
    const { code } = await dev.ended
    assert.isBelow(performance.now() - asked, 5_000)
    assert.strictEqual(code, 0)
    assert.deepStrictEqual(only(dev.stdout(), "left"), [{ event: "left", killed: ["n2"] }])
    assert.deepStrictEqual(pidsOf(dev.stdout()).filter(Spawned.isRunning), [])
  })

  it("exits 1 with the place when a file does not compile, and leaves no node behind", async () => {
    const dataDir = join(folder, "broken-run")
    const dev = Spawned.start([
      "dev",
      "--json",
      "--port",
      "0",
      "--nodes",
      "2",
      "--data-dir",
      dataDir,
      join(folder, "broken.ts")
    ])
    const { code, stderr, stdout } = await dev.ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /broken\.ts:2:3 unexpected token/)
    assert.deepStrictEqual(pidsOf(stdout).filter(Spawned.isRunning), [])
    const members = existsSync(join(dataDir, "fake-cluster")) ? readdirSync(join(dataDir, "fake-cluster")) : []
    for (const name of members) assert.match(name, /^member-/)
  })

  it("exits 2 when two files make functions of one name", async () => {
    mkdirSync(join(folder, "again"))
    writeFileSync(join(folder, "again", "hello.ts"), "")
    const files = [join(folder, "hello.ts"), join(folder, "again", "hello.ts")]
    const { code, stderr } = await Spawned.run(["dev", "--json", "--port", "0", "--nodes", "1", ...files])
    assert.strictEqual(code, 2)
    assert.match(stderr, /both make a function "hello"/)
  })

  it("exits 1 when a node does not start, with what the node said", async () => {
    const first = startDev(["--nodes", "1"])
    const port = new URL(`http://${only((await first.ready, first.stdout()), "started")[0]?.http}`).port
    const taken = await Spawned.run(["dev", "--nodes", "1", "--port", port])
    assert.strictEqual(taken.code, 1)
    assert.match(taken.stderr, new RegExp(`--port: 127\\.0\\.0\\.1:${port} is in use`))
    first.child.kill("SIGTERM")
    await first.ended
  })

  it("ends with exit 1 when no node is left", async () => {
    const dev = startDev(["--nodes", "1"])
    await dev.ready
    process.kill(pidsOf(dev.stdout())[0] ?? 0, "SIGKILL")
    const { code, stderr } = await dev.ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /no node is left/)
  })

  it("writes one line per change when nothing asks for JSON", async () => {
    const dev = Spawned.start(["dev", "--port", "0", "--nodes", "1", join(folder, "hello.ts")])
    await dev.until(/function {2}hello .* is warm on n1\n/)
    dev.child.kill("SIGTERM")
    const { stdout } = await dev.ended
    assert.match(stdout, /^node +n1 runs as process \d+, http:\/\/127\.0\.0\.1:\d+\n/)
    assert.match(stdout, /ready +1 node in \d+\.\d s, data in .*\n +curl http:\/\/127\.0\.0\.1:\d+\/function\/hello\n/)
    assert.notInclude(stdout, "\u001b[")
  })
})

describe("shoal dev below npm", () => {
  it("ends when the shell that npm put between is gone", async () => {
    const script = `"${process.execPath}" "${Spawned.fixture}" dev --json --port 0 --nodes 1; exit $?`
    const dev = Spawned.startCommand("/bin/sh", ["-c", script], { npm_lifecycle_event: "start" })
    await dev.until(/"ready".*\n/)
    const pids = pidsOf(dev.stdout())
    dev.child.kill("SIGKILL")
    await dev.until(/"left".*\n/)
    await Spawned.gone(pids)
  })
})
