import { assert, describe, it } from "@effect/vitest"
import * as Experiment from "../../../src/testing/simulator/Experiment.ts"
import type * as Plan from "../../../src/testing/simulator/Plan.ts"
import * as Scenarios from "../../../src/testing/simulator/Scenarios.ts"
import * as Trial from "../../../src/testing/simulator/Trial.ts"
import { type Mutant, mutants } from "./Mutants.ts"

/** Small, and ending with the time in which views have to become equal. */
const planOf = (name: string, seed: number): Plan.Plan => {
  const scenario = Scenarios.find(name)
  assert.isDefined(scenario)
  const plan = scenario.plan({ seed, nodes: 8, count: name === "flood" ? 8 : undefined })
  return { ...plan, untilKnown: false, converges: true, duration: Math.min(plan.duration, 120_000) }
}

/** The invariants that break, of all seeds. */
const broken = (mutant: Pick<Mutant, "scenario" | "seeds">, step: Mutant["step"] | undefined): Set<string> => {
  const found = new Set<string>()
  for (let seed = 1; seed <= mutant.seeds; seed++) {
    const plan = planOf(mutant.scenario, seed)
    const run = (): Trial.Outcome => Trial.run({ plan, step: step?.(), stopAtViolation: true })
    const outcome = run()
    for (const { invariant } of outcome.violations) found.add(invariant)
    if (seed === 1 && run().trace !== outcome.trace) found.add("M7")
  }
  return found
}

describe("Invariants", () => {
  for (const mutant of mutants) {
    it(`${mutant.breaks} is seen broken by a member that ${mutant.how}`, () => {
      assert.deepStrictEqual([...broken(mutant, undefined)], [], "the machine itself holds it in the same runs")
      assert.include([...broken(mutant, mutant.step)], mutant.breaks)
    })
  }

  it("an experiment repeats runs and reports a trace that differs (M7)", () => {
    const mutant = mutants.find(({ breaks }) => breaks === "M7")
    assert.isDefined(mutant)
    const experiment = new Experiment.Experiment({
      plan: (seed) => planOf("crash", seed),
      seed: 1,
      runs: 2,
      repeatEvery: 1,
      step: mutant.step()
    })
    while (!experiment.advance()) continue
    assert.strictEqual(experiment.series.failures[0]?.violations[0]?.invariant, "M7")
  })
})
