/** Runs the benchmarks and prints their rows: `npm run bench [-- --only NAME] [--json]`. `--runs N` and `--part NAME` are
 * for those that know them.
 *
 * Each benchmark measures its bare control in the same run, since absolute times of a shared machine say little. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { parseArgs } from "node:util"
import type { Row } from "./Row.ts"

interface Benchmark {
  readonly run: (
    progress: (line: string) => void,
    options: { readonly runs?: number; readonly part?: string }
  ) => Promise<ReadonlyArray<Row>>
}

const infrastructure = new Set(["main", "Row", "Load", "MemberProcess", "ControlMain"])

const { values } = parseArgs({
  options: {
    only: { type: "string" },
    json: { type: "boolean" },
    runs: { type: "string" },
    part: { type: "string" }
  }
})
const { part, runs } = values
const options = {
  ...(runs === undefined ? {} : { runs: Number(runs) }),
  ...(part === undefined ? {} : { part })
}
const names = Fs.readdirSync(import.meta.dirname)
  .map((file) => Path.basename(file, ".ts"))
  .filter((name) =>
    !infrastructure.has(name) && (values.only === undefined || name.toLowerCase() === values.only.toLowerCase())
  )
if (names.length === 0) {
  process.stderr.write(`bench: no benchmark is called "${values.only}"\n`)
  process.exit(2)
}
const rows: Array<Row> = []
for (const name of names) {
  process.stderr.write(`${name}\n`)
  const benchmark = await import(`./${name}.ts`) as Benchmark
  rows.push(...await benchmark.run((line) => process.stderr.write(`  ${line}\n`), options))
}
process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`)
