/** Checks or rewrites the layout of the sources: `node test/tools/format.ts [--write] [paths]`.
 *
 * dprint's formatter as WebAssembly with the settings Effect uses for itself; the `dprint` command would need an
 * install script to fetch its binary. */
import { createFromBuffer } from "@dprint/formatter"
import { getPath } from "@dprint/typescript"
import * as Fs from "node:fs"
import * as Path from "node:path"
import process from "node:process"

const root = Path.resolve(import.meta.dirname, "../..")
const write = process.argv.includes("--write")
const given = process.argv.slice(2).filter((argument) => !argument.startsWith("--"))
const roots = given.length > 0
  ? given.map((path) => Path.resolve(path))
  : ["src", "test", "examples"].map((path) => Path.join(root, path))

const sources = (path: string): ReadonlyArray<string> => {
  if (!Fs.existsSync(path)) return []
  if (Fs.statSync(path).isFile()) return [path]
  return Fs.readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts"))
    .map((name) => Path.join(path, name))
}

const formatter = createFromBuffer(Fs.readFileSync(getPath()))
formatter.setConfig({ indentWidth: 2, lineWidth: 120, newLineKind: "lf", useTabs: false }, {
  semiColons: "asi",
  quoteStyle: "alwaysDouble",
  trailingCommas: "never",
  operatorPosition: "maintain",
  "arrowFunction.useParentheses": "force"
})

const wrong: Array<string> = []
const files = roots.flatMap(sources).sort()
for (const file of files) {
  const name = Path.relative(root, file)
  const text = Fs.readFileSync(file, "utf8")
  try {
    const formatted = formatter.formatText({ filePath: file, fileText: text })
    if (formatted === text) continue
    wrong.push(name)
    if (write) Fs.writeFileSync(file, formatted)
  } catch (cause) {
    wrong.push(`${name}: ${String(cause)}`)
    process.exitCode = 1
  }
}

for (const name of wrong) console.log(write ? `rewrote ${name}` : `not formatted: ${name}`)
if (wrong.length > 0 && !write) {
  console.log("Run `npm run format`.")
  process.exitCode = 1
}
