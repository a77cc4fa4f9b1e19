/** Many seeds of the control plane, and what they came to.
 *
 * Boundary: one seed is `ControlTrial`'s. */
import * as ControlTrial from "./ControlTrial.ts"
import type { Mutant } from "./Doors.ts"

export interface Options {
  readonly from: number
  readonly seeds: number
  readonly mutant?: Mutant | undefined
  readonly machines?: ControlTrial.Options["machines"]
  /** stops at the first violation of this kind */
  readonly until?: RegExp | undefined
}

export interface Summary {
  readonly seeds: number
  readonly failures: ReadonlyArray<{ readonly seed: number; readonly violations: ReadonlyArray<string> }>
  readonly virtualMs: number
  readonly acknowledged: number
  readonly reigns: number
  readonly handovers: number
  /** the longest time from the last fault until everything was well, virtual milliseconds */
  readonly healedAfter: number
}

export const empty: Summary = {
  seeds: 0,
  failures: [],
  virtualMs: 0,
  acknowledged: 0,
  reigns: 0,
  handovers: 0,
  healedAfter: 0
}

export const join = (a: Summary, b: Summary): Summary => ({
  seeds: a.seeds + b.seeds,
  failures: [...a.failures, ...b.failures],
  virtualMs: a.virtualMs + b.virtualMs,
  acknowledged: a.acknowledged + b.acknowledged,
  reigns: a.reigns + b.reigns,
  handovers: a.handovers + b.handovers,
  healedAfter: Math.max(a.healedAfter, b.healedAfter)
})

export const run = ({ from, machines, mutant, seeds, until }: Options): Summary => {
  let summary = empty
  for (let seed = from; seed < from + seeds; seed++) {
    const { acknowledged, counts, healedAfter, lasted, violations } = ControlTrial.run({ seed, mutant, machines })
    summary = join(summary, {
      seeds: 1,
      failures: violations.length === 0 ? [] : [{ seed, violations }],
      virtualMs: lasted,
      acknowledged,
      reigns: counts.reigns,
      handovers: counts.handovers,
      healedAfter
    })
    if (until !== undefined && violations.some((violation) => until.test(violation))) break
  }
  return summary
}

/** What to type to see a seed again. */
export const again = (seed: number): string => `npm run test:sim -- --only control --from ${seed} --trace`
