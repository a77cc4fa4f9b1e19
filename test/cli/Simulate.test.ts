import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { afterAll } from "vitest"
import * as Spawned from "./fixtures/Spawned.ts"

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "shoal-simulate-"))
afterAll(() => Fs.rmSync(folder, { recursive: true, force: true }))

const words = (text: string): ReadonlyArray<string> => text.split(" ")
const simulate = (...args: ReadonlyArray<string>): Promise<Spawned.Ended> => Spawned.run(["simulate", ...args])

describe("shoal simulate", () => {
  it("prints a table, the same for the same seed", async () => {
    const args = ["--nodes", "5", "--seed", "7", "--runs", "3"]
    const first = await simulate(...args)
    assert.strictEqual(first.code, 0, first.stderr)
    assert.match(first.stdout, /^crash: 3 runs, 5 members at the start, lan, shoal, loss 0 %, seeds from 7\n/)
    assert.match(first.stdout, /\ncrash\.all +3 +\d/)
    assert.match(first.stdout, /\nfalse deaths: 0 in /)
    assert.strictEqual(first.stderr, "")
    assert.strictEqual((await simulate(...args)).stdout, first.stdout)
  })

  it("prints JSON, with settings, loss and scenario as told", async () => {
    const told = words("--scenario partition --duration 30s --loss 5% --set pushPullInterval=5000 --json")
    const ended = await simulate(...told)
    const data = JSON.parse(ended.stdout)
    assert.strictEqual(data.scenario, "partition")
    assert.strictEqual(data.network.loss, 0.05)
    assert.deepStrictEqual(data.params, { pushPullInterval: 5000 })
    assert.deepStrictEqual(data.failures, [])
    assert.isTrue(data.measures.some(({ name }: { name: string }) => name === "converged"))
    assert.isTrue(data.convergence.some(({ views }: { views: number }) => views === 2))
  })

  it("writes pictures", async () => {
    for (const [name, start] of [["a/plot.svg", "<svg "], ["plot.html", "<!doctype html>"]] as const) {
      const file = Path.join(folder, name)
      assert.strictEqual((await simulate("--nodes", "4", "--plot", file)).code, 0)
      assert.isTrue(Fs.readFileSync(file, "utf8").startsWith(start))
    }
  })

  it("lists its scenarios", async () => {
    const { stdout } = await simulate("--list")
    for (const name of ["crash", "flood", "rolling-restart", "slow", "storm"]) assert.include(stdout, `\n${name} `)
  })

  it("runs a plan of the user's, and shrinks, keeps and replays what fails", async () => {
    const plan = JSON.parse(Fs.readFileSync(Path.join(import.meta.dirname, "fixtures/never-heals.json"), "utf8"))
    const file = Path.join(folder, "plan.json")
    Fs.writeFileSync(file, JSON.stringify(plan))
    const failed = await simulate("--plan", file, "--save", folder)
    assert.strictEqual(failed.code, 1)
    assert.match(failed.stderr, /^seed 3: M4 at .* 2 different views/)
    assert.include(failed.stderr, `again: shoal simulate --plan ${file} --seed 3 --runs 1\n`)
    assert.match(failed.stderr, /\nshoal: an invariant was broken in 1 of 1 runs\n$/)
    const again = /again: shoal simulate --plan (\S+\.json)\n/.exec(
      failed.stderr.slice(failed.stderr.indexOf("shrunk"))
    )
    const kept = again?.[1] ?? ""
    assert.strictEqual(Path.basename(kept), "3-m4-never-heals.json")
    assert.isBelow(JSON.parse(Fs.readFileSync(kept, "utf8")).plan.nodes, plan.nodes)
    assert.strictEqual((await simulate("--plan", kept)).code, 1)
  })

  const wrong: ReadonlyArray<readonly [ReadonlyArray<string>, RegExp]> = [
    [["--nodes", "1"], /--nodes: "1" is not a whole number from 2 to/],
    [["--runs", "many"], /--runs: "many" is not a whole number/],
    [["--scenario", "cash"], /--scenario: "cash" is not one of crash, /],
    [["--profile", "moon"], /--profile: "moon" is not one of lan, wan, local/],
    [["--settings", "none"], /--settings: "none" is not one of shoal, lifeguard, swim/],
    [["--loss", "120%"], /--loss: "120%" is not a share below 1/],
    [["--duration", "long"], /--duration: "long" is not a duration/],
    [["--set", "colour=3"], /--set: colour: no such setting/],
    [["--set", "relays"], /--set: "relays" is not NAME=NUMBER/],
    [["--set", "relays=99"], /--set: relays: 0 to 32/],
    [["--plot", "a.png"], /--plot: "a\.png" ends neither in \.svg nor in \.html/],
    [["--plan", "/nowhere.json"], /--plan: cannot read \/nowhere\.json/],
    [["--plan", import.meta.filename], /--plan: .* holds no plan/],
    [["--speed", "9"], /unknown flag --speed for "shoal simulate"/]
  ]
  for (const [args, line] of wrong) {
    it(`"${args.join(" ").replace(import.meta.filename, "FILE")}" exits 2 with one helpful line`, async () => {
      const { code, stderr, stdout } = await simulate(...args)
      assert.strictEqual(code, 2)
      assert.match(stderr, line)
      assert.strictEqual(stderr.trimEnd().split("\n").length, 1)
      assert.strictEqual(stdout, "")
    })
  }
})
