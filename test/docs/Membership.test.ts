import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Tables from "./Tables.ts"

const root = Path.resolve(import.meta.dirname, "../..")
const read = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

/** Tests as a page names them: a file in backticks, then titles in quotes, until the next file or the end of the cell. */
const named = (text: string): Array<{ readonly file: string; readonly title: string }> =>
  [...text.matchAll(/`(test\/[\w/]+\.test\.ts)`((?: "[^"\n]+",?)+)/g)].flatMap(([, file = "", titles = ""]) =>
    [...titles.matchAll(/"([^"]+)"/g)].map(([, title = ""]) => ({ file, title }))
  )

describe("docs/protocol.md", () => {
  const page = read("docs/protocol.md")

  it("names only tests that exist", () => {
    const missing = named(page).filter(({ file, title }) =>
      !Fs.existsSync(Path.join(root, file)) || !read(file).includes(`"${title}"`)
    )
    assert.deepStrictEqual(missing, [])
  })

  it("names a test for each of the thirteen rules and each defect", () => {
    const rows = page.split("\n").filter((line) => line.startsWith("| ") && !/^\| (rule|defect) /.test(line))
    const rules = rows.filter((line) => /^\| \d+ /.test(line))
    assert.deepStrictEqual(
      rules.map((line) => Number(/\d+/.exec(line)?.[0])),
      Array.from({ length: 13 }, (_, i) => i + 1)
    )
    for (const line of rows) assert.isAbove(named(line).length, 0, line.slice(0, 60))
    assert.isAtLeast(rows.length - rules.length, 27)
  })
})

describe("docs/membership.md", () => {
  it("shows every setting and metric as the source has them (node test/docs/Tables.ts --write)", async () => {
    const page = Fs.readFileSync(Tables.page, "utf8")
    assert.strictEqual(await Tables.rendered(page), page)
    for (const [name, table] of await Tables.tables()) assert.isAbove(table.split("\n").length, 12, name)
  })
})

describe("the pages about the membership", () => {
  it("link only to files that exist", () => {
    for (const page of ["membership", "protocol", "wire", "invariants"]) {
      for (const [, link = ""] of read(`docs/${page}.md`).matchAll(/\]\((?!http)([^)#]+)/g)) {
        assert.isTrue(Fs.existsSync(Path.resolve(root, "docs", link)), `docs/${page}.md: ${link}`)
      }
    }
  })
})
