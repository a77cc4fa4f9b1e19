import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"

const docs = Path.resolve(import.meta.dirname, "../../docs")
const read = (path: string): string => Fs.readFileSync(Path.resolve(docs, path), "utf8")

const pages = Fs.readdirSync(docs, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".md"))

describe("The documentation", () => {
  for (const page of pages) {
    it(`${page} links only to files that exist`, () => {
      const links = [...read(page).matchAll(/\]\(([^)#\s]+)[^)]*\)/g)].map(([, link = ""]) => link)
      const missing = links.filter((link) =>
        !/^[a-z]+:/.test(link) && !Fs.existsSync(Path.resolve(docs, Path.dirname(page), link))
      )
      assert.deepStrictEqual(missing, [])
    })
  }
})

describe("docs/invariants.md", () => {
  const rows = read("invariants.md").split("\n").filter((line) =>
    /^\| (R\d|H1|filter)/.test(line) && line.includes("`")
  )

  it("links each invariant of the control plane to its checker, its mutant and a test", () => {
    const page = rows.join("\n")
    for (const id of ["R1", "R2", "R3", "R4", "R5", "H1", "filter"]) {
      assert.isTrue(rows.some((row) => row.startsWith(`| ${id}`) && row.split("|").length === 6), id)
    }
    assert.include(page, "../test/sim/control/ControlChecks.ts")
    assert.include(page, "../test/cluster/ClusterState.test.ts")
  })

  it("names every mutant of the simulation, and no other", () => {
    const doors = read("../test/sim/control/Doors.ts")
    const mutants = [
      ...doors.slice(doors.indexOf("type Mutant"), doors.indexOf("interface Watcher"))
        .matchAll(/\| "([a-z-]+)"/g)
    ].map(([, name = ""]) => name)
    const named = [...rows.join("\n").matchAll(/`(no-[a-z]+)`/g)].map(([, name = ""]) => name)
    assert.isAbove(mutants.length, 7)
    assert.deepStrictEqual([...new Set(named)].sort(), [...mutants].sort())
    const test = read("../test/sim/Control.test.ts")
    for (const mutant of mutants) assert.include(test, `["${mutant}", `)
  })
})
