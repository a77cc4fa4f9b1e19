/** A series as text for people and as plain data for machines.
 *
 * PURE. Boundary: no colours, no terminal; `cli` prints it. */
import type * as Plan from "./Plan.ts"
import * as Series from "./Series.ts"
import type * as Statistics from "./Statistics.ts"

const number = (value: number): string =>
  !Number.isFinite(value)
    ? "-"
    : value === 0
    ? "0"
    : Math.abs(value) >= 1000
    ? value.toFixed(0)
    : String(Number(value.toPrecision(3)))

/** 850 ms, 14.2 s */
export const time = (ms: number): string => ms < 1000 ? `${number(ms)} ms` : `${number(ms / 1000)} s`

const format = (value: number, unit: Series.Row["unit"]): string =>
  unit === "ms" ? time(value) : `${number(value)} ${unit}`

const interval = ({ high, low, value }: Statistics.Percentile, unit: Series.Row["unit"]): string =>
  low === high && low === value
    ? format(value, unit)
    : `${format(value, unit)} [${format(low, unit)}, ${format(high, unit)}]`

export const head = ["measure", "n", "p50 [95 %]", "p90", "p99 [95 %]", "max"] as const

/** One line per measure, in the columns of `head`. */
export const cells = (series: Series.Series): Array<Array<string>> =>
  Series.rows(series).map(({ name, summary, unit }) => [
    name,
    String(summary.n),
    interval(summary.p50, unit),
    format(summary.p90.value, unit),
    interval(summary.p99, unit),
    format(summary.max, unit)
  ])

const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`

export const title = ({ plan, runs }: Series.Series): string =>
  `${plan.name}: ${plural(runs, "run")}, ${plural(plan.nodes, "member")} at the start, ${plan.profile}, ` +
  `${plan.settings}, loss ${number(plan.network.loss * 100)} %, seeds from ${plan.seed}`

/** What is not a percentile. */
export const notes = (series: Series.Series): Array<string> => {
  const rate = Series.falseDeathRate(series)
  const lines = [
    `false deaths: ${rate.deaths} in ${number(rate.memberHours)} member-hours, ` +
    `${number(rate.perMemberHour)} per member-hour (below ${number(rate.below)} with 95 % confidence), ` +
    `in ${series.falseDeathViews} views; ${plural(series.suspicions, "suspicion")} heard of`,
    `virtual time ${time(series.lasted)}, ${plural(series.steps, "step")}, trace ${series.trace.toString(16)}`
  ]
  if (series.rejected.size > 0) {
    lines.push(`refused by members: ${[...series.rejected].map(([reason, count]) => `${reason} ${count}`).join(", ")}`)
  }
  return lines
}

/** One line per failing seed. */
export const failures = (series: Series.Series): Array<string> =>
  series.failures.flatMap(({ seed, violations }) =>
    violations.slice(0, 3).map(({ at, invariant, what }) => `seed ${seed}: ${invariant} at ${time(at)}: ${what}`)
  )

/** What happens in a plan, a line each. */
export const story = (plan: Plan.Plan): Array<string> => [
  `${plural(plan.nodes, "member")}, ${time(plan.duration)}`,
  ...plan.actions.map(({ _tag, at, ...rest }) =>
    `${time(at)}: ${_tag} ${
      Object.entries(rest).map(([name, value]) => `${name} ${Array.isArray(value) ? value.join(" ") : String(value)}`)
        .join(", ")
    }`
  )
]

/** Plain data: the same names and numbers as the text. */
export const data = (series: Series.Series) => ({
  scenario: series.plan.name,
  nodes: series.plan.nodes,
  profile: series.plan.profile,
  settings: series.plan.settings,
  params: series.plan.params,
  network: series.plan.network,
  seed: series.plan.seed,
  runs: series.runs,
  measures: Series.rows(series).map(({ name, summary: { max, mean, n, p50, p90, p99, runs }, unit }) => ({
    name,
    unit,
    n,
    runs,
    mean,
    p50,
    p90,
    p99,
    max
  })),
  falseDeaths: { ...Series.falseDeathRate(series), views: series.falseDeathViews },
  suspicions: series.suspicions,
  virtualMs: series.lasted,
  steps: series.steps,
  rejected: Object.fromEntries(series.rejected),
  undelivered: Object.fromEntries(series.undelivered),
  failures: series.failures,
  convergence: series.points,
  trace: series.trace
})
