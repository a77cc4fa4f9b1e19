import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Experiment from "../../src/testing/simulator/Experiment.ts"
import * as Plan from "../../src/testing/simulator/Plan.ts"
import * as Regression from "../../src/testing/simulator/Regression.ts"
import * as Report from "../../src/testing/simulator/Report.ts"
import * as Scenarios from "../../src/testing/simulator/Scenarios.ts"
import * as Series from "../../src/testing/simulator/Series.ts"
import * as Trial from "../../src/testing/simulator/Trial.ts"

const run = (options: Experiment.Options): Series.Series => {
  const experiment = new Experiment.Experiment({ repeatEvery: 0, ...options })
  while (!experiment.advance()) continue
  return experiment.series
}

const p50 = (series: Series.Series, name: string): number =>
  Series.rows(series).find((row) => row.name === name)?.summary.p50.value ?? Number.NaN

/** Fewer seeds where one run is large; `npm run test:sim` runs thousands. */
const seeds: Record<string, number> = { chaos: 60, slow: 2, flood: 4, "mass-restart": 4, storm: 2, asymmetric: 3 }
const nodes: Record<string, number> = { flood: 20, "mass-restart": 20, slow: 16, asymmetric: 20, "flip-flop": 20 }

describe("Scenarios", () => {
  for (const scenario of Scenarios.all) {
    it(`${scenario.name} holds all invariants in every seed`, () => {
      const series = run({
        plan: (seed) => scenario.plan({ seed, nodes: nodes[scenario.name] }),
        seed: 1000,
        runs: seeds[scenario.name] ?? 8,
        repeatEvery: 8
      })
      assert.deepStrictEqual(Report.failures(series), [])
      assert.isAbove(series.steps, 0)
    })

    it(`${scenario.name} is the same plan for the same seed, and possible at every size`, () => {
      for (const size of [2, 3, 50]) {
        const plan = scenario.plan({ seed: 5, nodes: size })
        assert.isUndefined(Plan.problem(plan))
        assert.deepStrictEqual(plan, scenario.plan({ seed: 5, nodes: size }))
        const read = Schema.decodeSync(Schema.fromJsonString(Plan.Plan))(JSON.stringify(plan))
        assert.deepStrictEqual(read, plan)
      }
    })
  }

  it("the seeds of one sweep try every combination of slow members", () => {
    const slow = Scenarios.find("slow")
    const shapes = new Set<string>()
    for (let seed = 1; seed <= Scenarios.sweepSize; seed++) {
      const plan = slow?.plan({ seed })
      const [pause, resume, next] = plan?.actions.slice(1) ?? []
      const times = [(resume?.at ?? 0) - (pause?.at ?? 0), (next?.at ?? 0) - (resume?.at ?? 0)]
      shapes.add([plan?.anomalous.length, ...times].join("/"))
    }
    assert.strictEqual(shapes.size, 432)
  })
})

describe("Plain settings", () => {
  const plain = (name: string, runs: number): Series.Series => {
    const scenario = Scenarios.find(name)
    assert.isDefined(scenario)
    return run({ plan: (seed) => scenario.plan({ seed, nodes: 10, settings: "lifeguard" }), seed: 1, runs })
  }

  it("take as long to see a crash as the reference simulation (N = 10: 1.66, 5.68 and 5.81 s)", () => {
    const series = plain("crash", 300)
    assert.closeTo(p50(series, "crash.suspected"), 1660, 200)
    assert.closeTo(p50(series, "crash.first"), 5680, 300)
    assert.closeTo(p50(series, "crash.all"), 5810, 300)
  })

  it("take as long to spread news as the reference simulation (N = 10: 0.14 and 0.28 s)", () => {
    const series = plain("update", 300)
    assert.closeTo(p50(series, "update.member"), 140, 20)
    assert.closeTo(p50(series, "update.all"), 280, 40)
  })
})

describe("Regressions", () => {
  const folder = Path.join(import.meta.dirname, "regressions")
  for (const file of Fs.readdirSync(folder).filter((name) => name.endsWith(".json"))) {
    it(`${file} holds`, () => {
      const text = Fs.readFileSync(Path.join(folder, file), "utf8")
      const kept = Schema.decodeSync(Schema.fromJsonString(Regression.Regression))(text)
      assert.strictEqual(Regression.fileName(kept), file)
      assert.deepStrictEqual(Trial.run({ plan: kept.plan }).violations, [])
    })
  }
})
