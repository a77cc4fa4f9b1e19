import { assert, describe, it } from "@effect/vitest"
import * as Experiment from "../../../src/testing/simulator/Experiment.ts"
import * as Plan from "../../../src/testing/simulator/Plan.ts"
import * as Plot from "../../../src/testing/simulator/Plot.ts"
import * as Regression from "../../../src/testing/simulator/Regression.ts"
import * as Report from "../../../src/testing/simulator/Report.ts"
import * as Scenarios from "../../../src/testing/simulator/Scenarios.ts"
import * as Series from "../../../src/testing/simulator/Series.ts"
import * as Shrink from "../../../src/testing/simulator/Shrink.ts"
import * as Statistics from "../../../src/testing/simulator/Statistics.ts"
import { mutants } from "./Mutants.ts"

const planOf = (name: string) => (seed: number): Plan.Plan => {
  const scenario = Scenarios.find(name)
  assert.isDefined(scenario)
  return scenario.plan({ seed, nodes: 6 })
}

const run = (options: Partial<Experiment.Options> & Pick<Experiment.Options, "plan">, portion?: number) => {
  const experiment = new Experiment.Experiment({ seed: 1, runs: 3, ...options })
  while (!experiment.advance(portion)) continue
  return experiment
}

describe("Experiment", () => {
  it("ends the same, in whatever portions it is driven (M7)", () => {
    const plan = planOf("chaos")
    const traces = [100, 5000, 1_000_000].map((portion) => run({ plan }, portion).series.trace)
    assert.strictEqual(new Set(traces).size, 1)
  })

  it("tells how far it is and how far the views agree", () => {
    const experiment = new Experiment.Experiment({ plan: planOf("partition"), seed: 1, runs: 1 })
    while (!experiment.advance(100) && experiment.progress.at < 60_000) continue
    const { at, done, point } = experiment.progress
    assert.strictEqual(done, 0)
    assert.isAtLeast(at, 60_000)
    assert.strictEqual(point.views, 2)
    assert.strictEqual(point.agreed, 0.5)
  })

  it("shrinks a failing plan and names the file to keep it in", () => {
    const mutant = mutants.find(({ breaks }) => breaks === "M4")
    assert.isDefined(mutant)
    const experiment = run({ plan: planOf("partition"), runs: 1, step: mutant.step() })
    assert.strictEqual(experiment.series.failures.length, 1)
    const shrunk = experiment.shrunk()
    assert.isDefined(shrunk)
    const { regression } = shrunk
    assert.isAtMost(Plan.size(regression.plan), 3)
    assert.isBelow(regression.plan.duration, 300_000)
    assert.strictEqual(Regression.fileName(regression), "1-m4-partition.json")
    assert.isTrue(Report.story(regression.plan).some((line) => line.includes("Partition")))
  })
})

describe("Shrink", () => {
  it("keeps only what a failure needs", () => {
    const plan = planOf("chaos")(4)
    const needed: Plan.Action = { _tag: "Crash", at: 5000, nodes: [0, 1] }
    const big = { ...plan, actions: [...plan.actions, needed, ...plan.actions] }
    const fails = (candidate: Plan.Plan): boolean =>
      candidate.actions.some((action) => action._tag === "Crash" && action.at === 5000 && action.nodes.includes(1))
    const small = Shrink.shrink(big, { fails, budget: 2000 }).plan
    assert.deepStrictEqual(small.actions, [{ ...needed, nodes: [1] }])
    assert.strictEqual(Plan.size(small), 2)
    assert.deepStrictEqual([small.network.loss, small.network.duplicate, small.network.reorder], [0, 0, 0])
  })

  it("stops when its budget is spent", () => {
    let tries = 0
    const fails = (): boolean => {
      tries++
      return false
    }
    assert.strictEqual(Shrink.shrink(planOf("chaos")(1), { fails, budget: 7 }).tries, 7)
    assert.strictEqual(tries, 7)
  })
})

describe("Statistics", () => {
  it("gives nearest-rank percentiles with an interval around them", () => {
    const samples = Array.from({ length: 1000 }, (_, i) => [i + 1])
    const found = Statistics.summary(samples)
    assert.isDefined(found)
    assert.deepStrictEqual([found.n, found.runs, found.p50.value, found.p90.value, found.p99.value, found.max], [
      1000,
      1000,
      500,
      900,
      990,
      1000
    ])
    assert.isTrue(found.p50.low < 500 && found.p50.low > 440 && found.p50.high > 500 && found.p50.high < 560)
    assert.deepStrictEqual(Statistics.summary(samples), found, "the same every time")
    assert.isUndefined(Statistics.summary([[], []]))
  })

  it("draws whole runs: samples that repeat within a run give no false certainty", () => {
    const one = Statistics.summary(Array.from({ length: 10 }, (_, i) => [i]))
    const many = Statistics.summary(Array.from({ length: 10 }, (_, i) => Array.from({ length: 100 }, () => i)))
    assert.isAtLeast((many?.p50.high ?? 0) - (many?.p50.low ?? 0), (one?.p50.high ?? 0) - (one?.p50.low ?? 0) - 1)
  })
})

describe("Report", () => {
  const { series } = run({ plan: planOf("crash"), runs: 5 })

  it("shows when a crash was suspected and known to all", () => {
    const names = Report.cells(series).map(([name]) => name)
    for (const name of ["crash.suspected", "crash.first", "crash.all", "bytes per member"]) assert.include(names, name)
    assert.match(Report.title(series), /^crash: 5 runs, 6 members at the start, lan, shoal, loss 0 %/)
    assert.match(Report.notes(series)[0] ?? "", /^false deaths: 0 in/)
    assert.strictEqual(Report.data(series).measures.length, Report.cells(series).length)
  })

  it("bounds the rate of deaths that were not seen", () => {
    const rate = Series.falseDeathRate(series)
    assert.strictEqual(rate.perMemberHour, 0)
    assert.closeTo(rate.below, 3 / rate.memberHours, 1e-9)
  })

  it("draws charts as SVG and HTML", () => {
    const svg = Plot.svg(series)
    assert.match(svg, /^<svg [\s\S]*<polyline [\s\S]*<\/svg>\n$/)
    assert.notInclude(svg, "NaN")
    assert.include(Plot.html(series), "<td>crash.all</td>")
  })
})
