/** Real nodes on hosts of their own, which are network namespaces: cut links. Needs `ip`, `unshare` and the rights to
 * use them; elsewhere it is left out, and the simulation of the control plane stands for it. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync, spawnSync } from "node:child_process"
import * as Path from "node:path"

const script = "ip netns add shoal-probe && ip netns del shoal-probe && ip link add name left type veth peer name right"
const possible = spawnSync("unshare", ["--net", "--mount", "sh", "-c", script], { stdio: "ignore" }).status === 0

interface Played {
  readonly first: string
  readonly second: string
  readonly takeoverMs: number
  readonly during: number
  readonly healed: string
  readonly everywhere: boolean
  readonly written: ReadonlyArray<number>
  readonly stayed: string
  readonly deaths: number
  readonly acknowledged: number
}

describe.runIf(possible)("five hosts", () => {
  it(
    "go on without a master that is cut off, take it back as one of them, and lose nothing that was acknowledged",
    () => {
      const main = Path.join(import.meta.dirname, "NetworkMain.ts")
      const out = execFileSync("unshare", ["--net", "--mount", process.execPath, main], {
        encoding: "utf8",
        timeout: 170_000,
        killSignal: "SIGKILL"
      })
      const played = JSON.parse(out) as Played
      assert.notStrictEqual(played.second, played.first)
      assert.strictEqual(played.during, 200, "a deploy while the old master is cut off")
      assert.strictEqual(played.healed, played.second, "an older node that returns deposes nobody")
      assert.isTrue(played.everywhere)
      assert.isAbove(played.written.length, 3)
      assert.deepStrictEqual(played.written.filter((status) => status !== 200), [], "deploys while a link flaps")
      assert.strictEqual(played.stayed, played.second, "no change of reign while a link flaps")
      assert.strictEqual(played.deaths, 0, "nobody is declared dead while a link flaps")
    },
    180_000
  )
})
