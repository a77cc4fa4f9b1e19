/** Looks for defects in many simulated runs: `npm run test:sim [-- --seeds N --control N --from S --only NAME]`.
 *
 * First the control plane (`--only control`): whole nodes under faults of networks, processes, disks and clocks, see
 * `control/ControlTrial`; `--trace` prints what happened. Then the scenarios of the membership.
 * Every scenario gets its share of the seeds, at several sizes and under several losses; invariants M1 to M7 are checked
 * at every step. A failing seed is shrunk into `test/sim/regressions/`, which `npm test` replays from then on. */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { parseArgs } from "node:util"
import * as Experiment from "../../src/testing/simulator/Experiment.ts"
import type * as Plan from "../../src/testing/simulator/Plan.ts"
import * as Regression from "../../src/testing/simulator/Regression.ts"
import * as Report from "../../src/testing/simulator/Report.ts"
import * as Scenarios from "../../src/testing/simulator/Scenarios.ts"
import * as ControlTrial from "./control/ControlTrial.ts"
import * as Parallel from "./control/Parallel.ts"
import * as Sweep from "./control/Sweep.ts"

const { values } = parseArgs({
  options: {
    seeds: { type: "string", default: "2000" },
    control: { type: "string", default: "1000" },
    from: { type: "string", default: "1" },
    only: { type: "string" },
    trace: { type: "boolean", default: false }
  }
})

const sizes = [3, 5, 10, 30]
const losses = [0, 0.02, 0.1]

/** How many seeds a scenario gets for one that `chaos` gets, and what would take too long made shorter. */
const shares: Record<string, { readonly share: number; readonly request?: Partial<Scenarios.Request> }> = {
  chaos: { share: 12 },
  flood: { share: 1, request: { nodes: 30 } },
  "mass-restart": { share: 1, request: { nodes: 30 } },
  slow: { share: 1, request: { nodes: 32, duration: 60_000 } },
  storm: { share: 0.5 },
  asymmetric: { share: 1, request: { nodes: 30 } },
  "flip-flop": { share: 1, request: { nodes: 30 } }
}

/** The plan of one seed: size and loss change with it, and every fourth run has other settings. */
const planOf = (scenario: Scenarios.Scenario, seed: number): Plan.Plan => {
  const request = {
    nodes: sizes[seed % sizes.length],
    seed,
    profile: seed % 7 === 0 ? "local" : seed % 11 === 0 ? "wan" : "lan",
    ...(scenario.name === "chaos" ? {} : { network: { loss: losses[seed % losses.length] ?? 0 } }),
    ...shares[scenario.name]?.request
  } as const
  return scenario.plan(request)
}

const seeds = Number(values.seeds)
const controls = Number(values.control)
const from = Number(values.from)
const wanted = (name: string): boolean => values.only === undefined || values.only.split(",").includes(name)
const scenarios = Scenarios.all.filter(({ name }) => wanted(name))
if ((scenarios.length === 0 && !wanted("control")) || !(seeds > 0) || !(controls >= 0) || !Number.isInteger(from)) {
  process.stderr.write(`test:sim: there is no scenario ${values.only}, or no such number of seeds\n`)
  process.exit(2)
}
const shareOf = ({ name }: Scenarios.Scenario): number => shares[name]?.share ?? 1
const whole = scenarios.reduce((sum, scenario) => sum + shareOf(scenario), 0)
let total = 0
let failed = 0

/** The seeds of the control plane, and how to see a failure again. */
const sweepControl = async (): Promise<void> => {
  const began = performance.now()
  const line = (sum: Sweep.Summary): string =>
    `${"control".padEnd(16)} ${String(sum.seeds).padStart(5)} seeds  ${
      ((performance.now() - began) / 1000).toFixed(1).padStart(6)
    } s  ` +
    `${Report.time(sum.virtualMs)} of virtual time, ${sum.failures.length} failed, ${sum.acknowledged} deploys, ` +
    `${sum.reigns} changes of reign, ${sum.handovers} handovers, well again within ${Report.time(sum.healedAfter)}\n`
  const { failures, ...rest } = await Parallel.run({ from, seeds: controls, onFailure: printFailure })
  process.stdout.write(line({ ...rest, failures }))
  total += rest.seeds
  failed += failures.length
}

const printFailure = ({ seed, violations }: Sweep.Summary["failures"][number]): void => {
  for (const violation of violations.slice(0, 3)) process.stdout.write(`  seed ${seed}: ${violation}\n`)
  process.stdout.write(`  again: ${Sweep.again(seed)}\n`)
}

const showControl = (seed: number): void => {
  const { faults, trace, violations } = ControlTrial.run({ seed })
  for (const line of [...faults, ...trace, ...violations]) process.stdout.write(`${line}\n`)
  total++
  if (violations.length > 0) failed++
}

if (wanted("control") && controls > 0) {
  if (values.trace) showControl(from)
  else await sweepControl()
}
for (const scenario of scenarios) {
  const runs = Math.max(1, Math.ceil(seeds * shareOf(scenario) / whole))
  const experiment = new Experiment.Experiment({
    plan: (seed) => planOf(scenario, seed),
    seed: from,
    runs,
    bytes: scenario.name === "chaos"
  })
  const began = performance.now()
  while (!experiment.advance()) continue
  const { series } = experiment
  total += runs
  failed += series.failures.length
  const seconds = ((performance.now() - began) / 1000).toFixed(1)
  process.stdout.write(
    `${scenario.name.padEnd(16)} ${String(runs).padStart(5)} seeds  ${seconds.padStart(6)} s  ` +
      `${Report.time(series.lasted)} of virtual time, ${series.failures.length} failed, ` +
      `${series.falseDeaths} false deaths in ${series.memberHours.toFixed(1)} member-hours\n`
  )
  for (const line of Report.failures(series).slice(0, 10)) process.stdout.write(`  ${line}\n`)
  const shrunk = experiment.shrunk()
  if (shrunk === undefined) continue
  const file = Path.join(import.meta.dirname, "regressions", Regression.fileName(shrunk.regression))
  Fs.writeFileSync(file, `${JSON.stringify(shrunk.regression, null, 2)}\n`)
  for (const line of Report.story(shrunk.regression.plan)) process.stdout.write(`    ${line}\n`)
  process.stdout.write(`  again: npx shoal simulate --plan ${Path.relative(process.cwd(), file)}\n`)
}
process.stdout.write(`${total} seeds, ${failed} failed\n`)
process.exit(failed === 0 ? 0 : 1)
