/** A failing run kept for ever: the shrunk plan, and what was wrong with it.
 *
 * PURE. Boundary: the shape of the file and its name; reading and writing files is the caller's. */
import * as Schema from "effect/Schema"
import type { Violation } from "./Invariants.ts"
import * as Plan from "./Plan.ts"

export const Regression = Schema.Struct({
  /** The invariant that was broken, such as "M4". */
  invariant: Schema.String,
  /** What was seen then. */
  what: Schema.String,
  plan: Plan.Plan
})
export type Regression = typeof Regression.Type

export const make = (plan: Plan.Plan, violation: Violation): Regression => ({
  invariant: violation.invariant,
  what: violation.what,
  plan
})

/** `<seed>-<slug>.json` */
export const fileName = ({ invariant, plan }: Regression): string => {
  const slug = `${invariant}-${plan.name}`.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "")
  return `${plan.seed}-${slug}.json`
}
