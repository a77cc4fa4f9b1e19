/** Every example runs and prints what its header says. */
import { assert, describe, it } from "@effect/vitest"
import { execFile } from "node:child_process"
import { readdirSync, readFileSync } from "node:fs"
import * as Path from "node:path"
import { promisify } from "node:util"

const folder = Path.resolve(import.meta.dirname, "../../examples")
const run = promisify(execFile)

/** The lines below "Expected output" in the header, as patterns: "..." stands for anything within a line. */
const expected = (source: string): ReadonlyArray<RegExp> => {
  const header = source.slice(0, source.indexOf("*/"))
  const [, block = ""] = header.split(/^ \* Expected output.*$/m)
  return block.split("\n").map((line) => line.replace(/^ \*/, "").trim()).filter((line) => line !== "").map((
    line
  ) => new RegExp(`^${line.split("...").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join(".*")}$`))
}

describe("examples", () => {
  for (const file of readdirSync(folder).filter((name) => name.endsWith(".ts"))) {
    it(`${file} prints what its header says`, async () => {
      const patterns = expected(readFileSync(Path.join(folder, file), "utf8"))
      assert.isAbove(patterns.length, 0, "a header with the expected output")
      const { stdout } = await run(process.execPath, [Path.join(folder, file)], { timeout: 60_000 })
      const lines = stdout.trimEnd().split("\n")
      assert.strictEqual(lines.length, patterns.length, stdout)
      patterns.forEach((pattern, i) => assert.match((lines[i] ?? "").trim(), pattern))
    }, 60_000)
  }
})
