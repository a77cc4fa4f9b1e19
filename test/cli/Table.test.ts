import { assert, describe, it } from "@effect/vitest"
import * as Table from "../../src/cli/Table.ts"

describe("Table", () => {
  const rows: ReadonlyArray<ReadonlyArray<Table.Cell>> = [
    ["n1", { text: "alive", color: "green" }, "x"],
    ["longer", { text: "dead", color: "red" }, ""]
  ]

  it("aligns columns two spaces apart and pads nothing at the end", () => {
    assert.strictEqual(
      Table.render(["NAME", "STATUS", "T"], rows, { color: false }),
      "NAME    STATUS  T\nn1      alive   x\nlonger  dead"
    )
  })

  it("colours without moving a column", () => {
    const plain = Table.render(["NAME", "STATUS", "T"], rows, { color: false })
    const colored = Table.render(["NAME", "STATUS", "T"], rows, { color: true })
    assert.include(colored, "\u001b[32malive")
    const stripped = colored.replace(/\u001b\[\d+m/g, "").split("\n").map((line) => line.trimEnd()).join("\n")
    assert.strictEqual(stripped, plain)
  })

  it("cuts lines at the width of the terminal", () => {
    for (const line of Table.render(["NAME", "STATUS", "T"], rows, { color: false, width: 10 }).split("\n")) {
      assert.isAtMost(line.length, 10)
    }
  })

  it("lets no cell move the cursor", () => {
    assert.strictEqual(Table.render(["A"], [["a\u001b[2Jb\nc"]], { color: false }), "A\na?[2Jb?c")
  })
})
