/** A number of runs, driven in small portions: whoever drives it shows progress, can stop it, and reads the series.
 *
 * PURE. Boundary: knows no terminal and no clock; a portion is a number of steps of machines.
 * Invariants: M7 when asked for: a run is repeated and has to end in the same trace. */
import type { Point } from "./Measures.ts"
import type * as Plan from "./Plan.ts"
import * as Regression from "./Regression.ts"
import * as Series from "./Series.ts"
import * as Shrink from "./Shrink.ts"
import * as Trial from "./Trial.ts"

export interface Options extends Omit<Trial.Options, "plan"> {
  /** The plan of each seed. */
  readonly plan: (seed: number) => Plan.Plan
  /** The first seed; the others follow. */
  readonly seed: number
  readonly runs: number
  /** Every so many runs one is repeated (M7); 0 = none. Default: 16. */
  readonly repeatEvery?: number | undefined
}

export interface Progress {
  /** Runs done. */
  readonly done: number
  readonly runs: number
  /** The run under way: its time, in ms of virtual time, and how far its views agree. */
  readonly at: number
  readonly point: Point
  readonly failures: number
}

export class Experiment {
  readonly series: Series.Series
  private readonly options: Options
  private trial: Trial.Trial | undefined
  private done = 0

  constructor(options: Options) {
    this.options = options
    this.series = Series.make(options.plan(options.seed))
  }

  get finished(): boolean {
    return this.done >= this.options.runs
  }

  get progress(): Progress {
    const { runs } = this.options
    const point = this.trial?.look() ?? { at: 0, agreed: 1, views: 1, alive: 0 }
    const { failures } = this.series
    return { done: this.done, runs, at: point.at, point, failures: failures.length }
  }

  /** Does about so many steps; true when all runs are done. */
  advance(steps = 20_000): boolean {
    for (let spent = 0; spent < steps && !this.finished;) {
      const trial = this.trial ?? this.begin()
      const before = trial.simulation.steps
      // Many members take many steps in little time.
      if (trial.advance(Math.max(100, 100_000 / trial.simulation.nodes.length))) this.end(trial)
      spent += trial.simulation.steps - before + 100
    }
    return this.finished
  }

  private begin(): Trial.Trial {
    this.trial = new Trial.Trial({ ...this.options, plan: this.options.plan(this.options.seed + this.done) })
    return this.trial
  }

  private end(trial: Trial.Trial): void {
    const outcome = trial.outcome()
    this.trial = undefined
    const every = this.options.repeatEvery ?? 16
    if (every > 0 && this.done % every === 0) this.repeat(trial, outcome)
    this.done++
    Series.add(this.series, outcome)
  }

  private repeat(trial: Trial.Trial, { plan, trace }: Trial.Outcome): void {
    const again = Trial.run({ ...this.options, plan })
    if (again.trace === trace) return
    trial.invariants.violate(
      "M7",
      `the same plan ended in trace ${again.trace.toString(16)}, not ${trace.toString(16)}`
    )
  }

  /** The first failing run made small; undefined when none failed. */
  shrunk(budget?: number): { readonly regression: Regression.Regression; readonly tries: number } | undefined {
    const [failure] = this.series.failures
    const [violation] = failure?.violations ?? []
    if (failure === undefined || violation === undefined) return undefined
    const { invariant } = violation
    const seen = (plan: Plan.Plan) => {
      if (invariant === "M7") {
        return Trial.run({ ...this.options, plan }).trace !== Trial.run({ ...this.options, plan }).trace
      }
      const { violations } = Trial.run({ ...this.options, plan, stopAtViolation: true })
      return violations.some((found) => found.invariant === invariant)
    }
    const { plan, tries } = Shrink.shrink(this.options.plan(failure.seed), { fails: seen, budget })
    const { violations } = Trial.run({ ...this.options, plan })
    const what = violations.find((found) => found.invariant === invariant) ?? violation
    return { regression: Regression.make(plan, what), tries }
  }
}
