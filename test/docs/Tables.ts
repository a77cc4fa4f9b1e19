/** Tables of docs/membership.md that are made from the source: `node test/docs/Tables.ts --write` puts them there.
 *
 * Boundary: reads comments and declarations, in the shape in which those files write them. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import process from "node:process"

const root = Path.resolve(import.meta.dirname, "../..")
export const page = Path.join(root, "docs/membership.md")

const source = (path: string): string => Fs.readFileSync(Path.join(root, path), "utf8")

interface Field {
  readonly name: string
  readonly comment: string
}

/** The documented fields of an interface. */
const fieldsOf = (text: string, name: string): Array<Field> => {
  const start = text.indexOf(`export interface ${name} {`)
  const body = text.slice(start, text.indexOf("\n}\n", start))
  return [...body.matchAll(/\/\*\*([\s\S]*?)\*\/\s*readonly (\w+)\??:/g)].map(([, comment = "", field = ""]) => ({
    name: field,
    comment: plain(comment)
  }))
}

const plain = (comment: string): string =>
  comment.replace(/\n\s*\*\s?/g, " ").replaceAll("|", "\\|").replace(/\s+/g, " ").trim()

const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>): string =>
  [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`).join("\n").replace(
    /^\| (--- \| )*--- \|$/m,
    (line) => line.replaceAll(" ", "")
  )

/** Every option of `Membership.layer`. */
const settings = (): string =>
  table(
    ["setting", "meaning and default"],
    fieldsOf(source("src/membership/Config.ts"), "Options").map(({ comment, name }) => [`\`${name}\``, comment])
  )

/** Every setting of the protocol with its value in each preset. */
const params = async (): Promise<string> => {
  const { lan, local, wan } = await import("../../src/swim/Params.ts")
  const presets: ReadonlyArray<Readonly<Record<string, unknown>>> = [{ ...lan }, { ...wan }, { ...local }]
  return table(
    ["`params`", "meaning", "lan", "wan", "local"],
    fieldsOf(source("src/swim/Params.ts"), "Params").map(({ comment, name }) => [
      `\`${name}\``,
      comment,
      ...presets.map((preset) => String(preset[name]))
    ])
  )
}

/** Every metric of the membership. */
const metrics = (): string => {
  const text = source("src/membership/Metrics.ts")
  const pattern = /Metric\.(counter|gauge|histogram)\("(\w+)", \{\s*description: "([^"]+)"/g
  return table(
    ["metric", "kind", "meaning"],
    [...text.matchAll(pattern)].map(([, kind = "", name = "", description = ""]) => [`\`${name}\``, kind, description])
  )
}

/** Every change and when it comes. */
export const tables = async (): Promise<ReadonlyMap<string, string>> =>
  new Map([["settings", settings()], ["params", await params()], ["metrics", metrics()]])

const between = (name: string): RegExp => new RegExp(`(<!-- ${name} -->\\n)[\\s\\S]*?(\\n<!-- end -->)`)

/** The page with the tables as they should be. */
export const rendered = async (text: string): Promise<string> => {
  let out = text
  for (const [name, content] of await tables()) {
    if (!between(name).test(out)) throw new Error(`docs/membership.md has no place for the table "${name}"`)
    out = out.replace(between(name), (_, start: string, end: string) => `${start}\n${content}\n${end}`)
  }
  return out
}

if (process.argv.includes("--write") && process.argv[1] === import.meta.filename) {
  Fs.writeFileSync(page, await rendered(Fs.readFileSync(page, "utf8")))
}
