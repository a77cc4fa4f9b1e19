/** `npm run test:fuzz [-- --count N --seed S --only NAME --json]`: mutated inputs for every decoder.
 *
 * By default 1,000,000 for each. Prints what became of them; exits 1 with the seed and the case of the first failure. */
import process from "node:process"
import { parseArgs } from "node:util"
import { fuzz } from "./Fuzz.ts"
import { targets } from "./Targets.ts"

const { values } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    seed: { type: "string", default: "1" },
    only: { type: "string" },
    json: { type: "boolean", default: false }
  }
})
const count = Number(values.count)
const seed = Number(values.seed)
const chosen = targets.filter(({ name }) => values.only === undefined || name.includes(values.only))
if (!Number.isSafeInteger(count) || count < 1 || !Number.isSafeInteger(seed) || chosen.length === 0) {
  process.stderr.write(`usage: --count N --seed S --only ${targets.map(({ name }) => name).join("|")} --json\n`)
  process.exit(2)
}

const reports = []
for (const target of chosen) {
  const report = fuzz(target, { count, seed })
  reports.push(report)
  if (!values.json) {
    const refusals = Object.entries(report.outcomes).map(([reason, times]) => `${reason} ${times}`).join(", ")
    const seconds = (report.millis / 1000).toFixed(1)
    const mebibytes = Math.round(report.bytes / 1024 / 1024)
    process.stdout.write(
      `${report.name}: ${report.cases} cases in ${seconds} s, at most ${mebibytes} MiB; ${refusals}\n`
    )
  }
  if (report.failure !== undefined) process.stderr.write(`${report.name}: ${report.failure}\n`)
}
if (values.json) process.stdout.write(`${JSON.stringify(reports, undefined, 2)}\n`)
process.exit(reports.some(({ failure }) => failure !== undefined) ? 1 : 0)
