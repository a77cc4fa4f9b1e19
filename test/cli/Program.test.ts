import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { CommandError, UsageError } from "../../src/cli/Failure.ts"
import * as Program from "../../src/cli/Program.ts"
import * as Spawned from "./fixtures/Spawned.ts"

const folder = mkdtempSync(join(tmpdir(), "shoal-cli-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const nodeArgs = (name: string) => ["up", "--name", name, "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0", "--json"]
const startNode = (name: string, more: ReadonlyArray<string> = []) => {
  const running = Spawned.start([...nodeArgs(name), "--data-dir", join(folder, name, "data"), ...more])
  const ready = running.until(/^\{.*"ready".*\}$/m).then((match): { http: string } => JSON.parse(match[0]))
  return { ...running, ready }
}

describe("Program.conclude", () => {
  const quiet = { serving: false, signals: 0 }
  it("gives 0 for a command that is done", () => {
    assert.deepStrictEqual(Program.conclude(Exit.void, quiet), { code: 0, line: "" })
  })
  it("gives 2 for wrong usage and 1 for a failure, each with its line", () => {
    assert.deepStrictEqual(Program.conclude(Exit.fail(new UsageError({ message: "no" })), quiet), {
      code: 2,
      line: "shoal: no"
    })
    assert.deepStrictEqual(Program.conclude(Exit.fail(new CommandError({ message: "no", remedy: "do" })), quiet), {
      code: 1,
      line: "shoal: no\n       do"
    })
  })
  it("gives 0 to a node that was asked to end and 1 to any other command that was broken off", () => {
    const broken = Exit.interrupt(1)
    assert.strictEqual(Program.conclude(broken, { serving: true, signals: 1 }).code, 0)
    assert.strictEqual(Program.conclude(broken, { serving: false, signals: 1 }).code, 1)
  })
  it("calls a defect what it is", () => {
    const { code, line } = Program.conclude(Exit.failCause(Cause.die(new Error("bug"))), quiet)
    assert.strictEqual(code, 1)
    assert.match(line, /internal error[\s\S]*bug/)
  })
})

describe("wrong usage", () => {
  const wrong: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]> = [
    [["memebrs"], /unknown command "memebrs" \(did you mean members\?\)/],
    [["members", "--jsno"], /unknown flag --jsno for "shoal members" \(did you mean --json\?\)/],
    [
      ["up", "--key", "abc"],
      /^shoal: --key: a cluster key is 16, 24 or 32 random bytes in base64; make one with `shoal key generate`$/m
    ],
    [["up", "--bind", "here"], /--bind: "here" is not HOST:PORT/],
    [["up", "--bind", "0.0.0.0:1"], /--bind: .* needs a cluster key/],
    [["members", "--server", "nowhere"], /--server: "nowhere" is not a URL/],
    [["deploy"], /argument PATH is missing/],
    [["deploy", "x.ts", "--memory", "much"], /--memory: "much" is not a whole number/],
    [["invoke", "a/b"], /"a\/b" is not NAME/],
    [["dev", "--nodes", "0"], /--nodes: "0"/],
    [["leave", "now"], /takes no argument "now"/]
  ]
  for (const [args, line] of wrong) {
    it(`"shoal ${args.join(" ")}" exits 2 with one line on stderr`, async () => {
      const { code, stderr, stdout } = await Spawned.run(args)
      assert.strictEqual(code, 2)
      assert.match(stderr, line)
      assert.strictEqual(stderr.trimEnd().split("\n").length, 1)
      assert.strictEqual(stdout, "")
    })
  }
})

describe("help", () => {
  it("shows every flag of `up` with its default and its variable", async () => {
    const { code, stderr, stdout } = await Spawned.run(["up", "--help"])
    assert.strictEqual(code, 0)
    assert.strictEqual(stderr, "")
    assert.match(stdout, /--bind HOST:PORT +.*default: 127\.0\.0\.1:7946; variable: SHOAL_BIND/)
    assert.notInclude(stdout, "\u001b[")
    assert.notInclude(stdout, "die-with-parent")
  })
  it("of the real entry prints the version without loading a node", async () => {
    const { code, stdout } = await Spawned.run(["--version"], { entry: Spawned.realEntry })
    assert.strictEqual(code, 0)
    assert.match(stdout, /^shoal \d+\.\d+\.\d+\n$/)
  })
})

describe("client commands", () => {
  it("say what to do when no node can be reached", async () => {
    const { code, stderr } = await Spawned.run(["members"], { env: { SHOAL_SERVER: "http://127.0.0.1:9" } })
    assert.strictEqual(code, 1)
    assert.match(stderr, /cannot reach http:\/\/127\.0\.0\.1:9: nothing listens there\n.*shoal up.*--server URL/)
  })

  it("serve a whole life of a function on one node", async () => {
    const node = startNode("life")
    const { http } = await node.ready
    const env = { SHOAL_SERVER: `http://${http}` }
    const json = async (...args: Array<string>) => JSON.parse((await Spawned.run([...args, "--json"], { env })).stdout)

    const members = await json("members")
    assert.deepStrictEqual(Object.keys(members[0]), [
      "id",
      "address",
      "status",
      "role",
      "incarnation",
      "startedAt",
      "release",
      "metadata"
    ])
    assert.match((await Spawned.run(["members"], { env })).stdout, /^MEMBER +ROLE.*\nlife +master +alive/)
    assert.strictEqual((await json("status")).self, "life")

    writeFileSync(join(folder, "hello.ts"), "export default () => new Response()\n")
    const deployed = await Spawned.run(["deploy", join(folder, "hello.ts")], { env })
    assert.strictEqual(deployed.code, 0, deployed.stderr)
    assert.match(deployed.stdout, new RegExp(`deployed hello .*\\nhttp://${http}/function/hello\\n`))
    assert.match((await Spawned.run(["functions"], { env })).stdout, /hello +abcdef012345 +life/)

    const called = await Spawned.run(["invoke", "hello", "--path", "a?b=1", "--data", "{\"x\":1}"], { env })
    assert.deepStrictEqual(JSON.parse(called.stdout), {
      method: "POST",
      url: "/function/hello/a?b=1",
      type: "application/json",
      body: "{\"x\":1}"
    })
    const summary = await json("invoke", "hello")
    assert.strictEqual(summary.status, 200)
    assert.strictEqual(summary.node, "life")
    assert.strictEqual(summary.start, "warm")
    assert.strictEqual(summary.body.method, "GET")

    assert.strictEqual((await Spawned.run(["remove", "hello"], { env })).stdout, "removed hello\n")
    assert.match((await Spawned.run(["leave"], { env })).stdout, /leaves/)
    assert.strictEqual((await node.ended).code, 0)
  })

  it("exit 1 with the node's reason when it refuses", async () => {
    const node = startNode("refusing")
    const env = { SHOAL_SERVER: `http://${(await node.ready).http}` }
    writeFileSync(join(folder, "broken.ts"), "\n  SYNTAX ERROR\n")
    const cases: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]> = [
      [["remove", "nothing"], /fake: not-found: no function nothing \(call id c-1\)/],
      [["deploy", join(folder, "broken.ts"), "--name", "x"], /broken\.ts:2:3 unexpected token/],
      [["deploy", join(folder, "absent.ts")], /absent\.ts/],
      [["invoke", "missing"], /404 fake: not-found/],
      [["invoke", "teapot"], /teapot answered 418/]
    ]
    for (const [args, line] of cases) {
      const { code, stderr } = await Spawned.run(args, { env })
      assert.strictEqual(code, 1, args.join(" "))
      assert.match(stderr, line)
    }
    writeFileSync(join(folder, "refused.ts"), "")
    const refused = await Spawned.run(["deploy", join(folder, "refused.ts")], { env })
    assert.match(refused.stderr, /fake: not-durable: too few copies \(it may be tried again, call id c-1\)/)
    node.child.kill("SIGTERM")
    assert.strictEqual((await node.ended).code, 0)
  })
})

describe("shoal up", () => {
  it("exits 1 and names the port in use", async () => {
    const node = startNode("first")
    const { http } = await node.ready
    const second = await Spawned.run([
      "up",
      "--name",
      "second",
      "--http",
      http,
      "--data-dir",
      join(folder, "second", "d")
    ])
    assert.strictEqual(second.code, 1)
    assert.match(second.stderr, new RegExp(`second cannot run: --http ${http} is in use`))
    node.child.kill("SIGINT")
    assert.strictEqual((await node.ended).code, 0)
  })

  it("ends at once on the second signal, with exit 1", async () => {
    const node = startNode("stuck", ["--tag", "stuck=yes"])
    await node.ready
    node.child.kill("SIGTERM")
    const left = Spawned.start(["members", "--server", `http://${(await node.ready).http}`])
    await left.ended // the first signal has been taken when this process has come and gone
    node.child.kill("SIGTERM")
    const { code, stderr } = await node.ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /ended at once, on the second signal/)
  })
})
