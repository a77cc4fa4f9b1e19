/** Many runs of one scenario put together: percentiles over runs, deaths per member-hour, traffic, violations.
 *
 * PURE. Boundary: adds outcomes up; `Report` and `Plot` show them. */
import type { Violation } from "./Invariants.ts"
import type { Point } from "./Measures.ts"
import type * as Plan from "./Plan.ts"
import * as Statistics from "./Statistics.ts"
import type { Outcome } from "./Trial.ts"

export interface Failure {
  readonly seed: number
  readonly violations: ReadonlyArray<Violation>
}

/** Grows with every run. */
export interface Series {
  /** The first run's plan stands for all of them. */
  readonly plan: Plan.Plan
  readonly samples: Map<string, Array<ReadonlyArray<number>>>
  readonly failures: Array<Failure>
  readonly packets: Array<number>
  readonly bytes: Array<number>
  readonly streamBytes: Array<number>
  readonly rejected: Map<string, number>
  readonly undelivered: Map<string, number>
  runs: number
  falseDeaths: number
  falseDeathViews: number
  suspicions: number
  memberHours: number
  lasted: number
  steps: number
  /** How the views of the first run went. */
  points: ReadonlyArray<Point>
  /** All runs' traces mixed: equal for equal series (M7). */
  trace: number
}

export const make = (plan: Plan.Plan): Series => ({
  plan,
  samples: new Map(),
  failures: [],
  packets: [],
  bytes: [],
  streamBytes: [],
  rejected: new Map(),
  undelivered: new Map(),
  runs: 0,
  falseDeaths: 0,
  falseDeathViews: 0,
  suspicions: 0,
  memberHours: 0,
  lasted: 0,
  steps: 0,
  points: [],
  trace: 0
})

const count = (into: Map<string, number>, from: ReadonlyArray<readonly [string, number]>): void => {
  for (const [reason, times] of from) into.set(reason, (into.get(reason) ?? 0) + times)
}

export const add = (self: Series, outcome: Outcome): void => {
  self.runs++
  for (const [name, samples] of Object.entries(outcome.samples)) {
    const runs = self.samples.get(name)
    if (runs === undefined) self.samples.set(name, [samples])
    else runs.push(samples)
  }
  if (outcome.violations.length > 0) {
    self.failures.push({ seed: outcome.plan.seed, violations: outcome.violations })
  }
  self.packets.push(outcome.packetsPerSecond)
  self.bytes.push(outcome.bytesPerSecond)
  self.streamBytes.push(outcome.streamBytesPerSecond)
  count(self.rejected, outcome.rejected)
  count(self.undelivered, outcome.undelivered)
  self.falseDeaths += outcome.falseDeaths
  self.falseDeathViews += outcome.falseDeathViews
  self.suspicions += outcome.suspicions
  self.memberHours += outcome.memberHours
  self.lasted += outcome.lasted
  self.steps += outcome.steps
  if (self.runs === 1) self.points = outcome.points
  self.trace = (Math.imul(self.trace, 31) + outcome.trace) >>> 0
}

export interface Row {
  readonly name: string
  readonly unit: "ms" | "1/s" | "B/s"
  readonly summary: Statistics.Summary
}

/** Order in a report: as things happen. */
const order = ["join", "leave", "crash", "update", "broadcast"].flatMap((kind) =>
  ["contact", "suspected", "first", "member", "all", "spread", "overtaken"].map((part) => `${kind}.${part}`)
).concat("known", "converged")

/** What was measured, in the order of a report. */
export const rows = (self: Series): Array<Row> => {
  const found: Array<Row> = []
  const push = (name: string, unit: Row["unit"], runs: ReadonlyArray<ReadonlyArray<number>>): void => {
    const summary = Statistics.summary(runs)
    if (summary !== undefined) found.push({ name, unit, summary })
  }
  for (const name of order) {
    const runs = self.samples.get(name)
    if (runs !== undefined) push(name, "ms", runs)
  }
  push("packets per member", "1/s", self.packets.map((value) => [value]))
  push("bytes per member", "B/s", self.bytes.map((value) => [value]))
  push("stream bytes per member", "B/s", self.streamBytes.map((value) => [value]))
  return found
}

export interface Rate {
  readonly deaths: number
  readonly memberHours: number
  readonly perMemberHour: number
  /** With 95 % confidence the true rate is below this (the rule of three for none). */
  readonly below: number
}

/** Deaths of members that were well, per member and hour. */
export const falseDeathRate = (self: Series): Rate => {
  const { falseDeaths: deaths, memberHours } = self
  // Upper bound of a Poisson mean: exact for none, Wilson and Hilferty otherwise.
  const k = deaths + 1
  const most = deaths === 0 ? 3 : k * (1 - 1 / (9 * k) + 1.645 / (3 * Math.sqrt(k))) ** 3
  const per = (value: number): number => memberHours === 0 ? 0 : value / memberHours
  return { deaths, memberHours, perMemberHour: per(deaths), below: per(most) }
}
