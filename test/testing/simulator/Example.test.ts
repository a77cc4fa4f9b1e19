import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import process from "node:process"

const path = Path.resolve(import.meta.dirname, "../../../examples/04-own-scenario.ts")

const lines = (text: string): Array<string> =>
  text.split("\n").map((line) => line.replace(/^[ *]+/, "")).filter((line) => line !== "")

describe("The example of an own scenario", () => {
  it("prints what its header promises", () => {
    const [header = ""] = Fs.readFileSync(path, "utf8").split("*/")
    const [, expected = ""] = header.split(/Expected output.*\n/)
    const { status, stderr, stdout } = spawnSync(process.execPath, [path], { encoding: "utf8", timeout: 15_000 })
    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
    assert.deepStrictEqual(lines(stdout), lines(expected))
  })
})
