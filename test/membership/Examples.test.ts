import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import process from "node:process"

const root = Path.resolve(import.meta.dirname, "../..")

/** Lines without their indentation and without times, which follow from the protocol's settings. */
const told = (text: string): Array<string> =>
  text.split("\n").map((line) => line.replace(/^[ *]+/, "").replace(/^[0-9]+ ms +/, "")).filter((line) => line !== "")

/** What the header of an example says below "Expected output". */
const expectedOf = (source: string): Array<string> => {
  const [header = ""] = source.split("*/")
  const [, expected = ""] = header.split(/Expected output.*\n/)
  return told(expected)
}

describe("Examples of membership", () => {
  for (const name of ["01-membership.ts", "02-bare-core.ts"]) {
    it(`${name} prints what its header promises`, () => {
      const path = Path.join(root, "examples", name)
      const run = spawnSync(process.execPath, [path], { encoding: "utf8", timeout: 15_000 })
      assert.strictEqual(run.stderr, "")
      assert.strictEqual(run.status, 0)
      assert.deepStrictEqual(told(run.stdout), expectedOf(Fs.readFileSync(path, "utf8")))
    })
  }
})
