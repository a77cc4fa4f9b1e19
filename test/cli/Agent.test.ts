import { assert, describe, it } from "@effect/vitest"
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import * as Spawned from "./fixtures/Spawned.ts"

const folder = mkdtempSync(join(tmpdir(), "shoal-agent-"))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const start = (name: string, more: ReadonlyArray<string>) =>
  Spawned.start(["agent", "--name", name, "--bind", "127.0.0.1:0", "--profile", "local", ...more], {
    entry: Spawned.realEntry
  })

interface Shown {
  readonly id: string
  readonly status: string
  readonly metadata: unknown
  readonly release: string
}

describe("shoal agent", () => {
  it(
    "joins, prints what changes, keeps the members file current and leaves when it is ended",
    { timeout: 30_000 },
    async () => {
      const file = join(folder, "members.json")
      const read = (): Array<Shown> => JSON.parse(readFileSync(file, "utf8"))
      const first = start("first", ["--members-file", file, "--json"])
      const [line] = await first.until(/^\{.*"ready".*\}$/m)
      const { gossip }: { gossip: string } = JSON.parse(line)
      assert.deepStrictEqual(read().map(({ id }) => id), ["first"])
      const second = start("second", ["--join", gossip, "--tag", "zone=a", "--release", "7"])
      await second.until(/^(known|joined) +first /m)
      await first.until(/"joined","id":"second"/)
      const seen = async (holds: (members: Array<Shown>) => boolean) => {
        for (const deadline = Date.now() + 10_000; !holds(read());) {
          assert.isBelow(Date.now(), deadline, JSON.stringify(read()))
          await new Promise((resolve) => setTimeout(resolve, 20))
        }
      }
      await seen((members) => members.length === 2)
      assert.deepInclude(read()[1], { id: "second", status: "alive", release: "7", metadata: { tags: { zone: "a" } } })
      second.child.kill("SIGTERM")
      assert.strictEqual((await second.ended).code, 0)
      await first.until(/"left","id":"second"/)
      await seen((members) => members[1]?.status === "left")
      first.child.kill("SIGTERM")
      const { code, stderr } = await first.ended
      assert.strictEqual(code, 0, stderr)
      assert.deepStrictEqual(readdirSync(folder), ["members.json"], "nothing beside the file is left")
    }
  )

  it("ends with 1 and the reason when the members file cannot be written", { timeout: 20_000 }, async () => {
    const { code, stderr } = await start("lost", ["--members-file", join(folder, "no", "such", "folder")]).ended
    assert.strictEqual(code, 1)
    assert.match(stderr, /^shoal: lost cannot run: the members file .* cannot be written/m)
  })
})
