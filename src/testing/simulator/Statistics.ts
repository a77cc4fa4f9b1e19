/** Percentiles of samples that come in runs, with confidence intervals.
 *
 * PURE. Boundary: numbers only. Samples of one run depend on each other, so the bootstrap draws whole runs; it is
 * seeded, so a report is the same every time. */
import * as Prng from "../../swim/Prng.ts"

export interface Percentile {
  readonly value: number
  /** Where 95 % of the redrawn series have it. */
  readonly low: number
  readonly high: number
}

export interface Summary {
  /** Samples and the runs they come from. */
  readonly n: number
  readonly runs: number
  readonly mean: number
  readonly p50: Percentile
  readonly p90: Percentile
  readonly p99: Percentile
  readonly max: number
}

const redraws = 200
const mostSamples = 20_000
const quantiles = [0.5, 0.9, 0.99] as const

/** Nearest rank. */
export const quantile = (sorted: ArrayLike<number>, q: number): number =>
  sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? Number.NaN

interface Sorted {
  readonly values: Float64Array
  readonly run: Uint32Array
}

/** Of too many samples a random part: samples of a run come in their order in time, so every k-th would not do. */
const sort = (runs: ReadonlyArray<ReadonlyArray<number>>, part: number): Sorted => {
  const random = Prng.make(runs.length)
  const pairs: Array<readonly [number, number]> = []
  for (const [run, samples] of runs.entries()) {
    for (const value of samples) if (part >= 1 || Prng.float(random) < part) pairs.push([value, run])
  }
  pairs.sort((a, b) => a[0] - b[0])
  return { values: Float64Array.from(pairs, ([value]) => value), run: Uint32Array.from(pairs, ([, run]) => run) }
}

/** The quantiles when run r counts `weights[r]` times. */
const weighted = ({ run, values }: Sorted, weights: Uint32Array): Array<number> => {
  let total = 0
  for (const index of run) total += weights[index] ?? 0
  const found: Array<number> = []
  let sum = 0
  for (let i = 0; i < values.length && found.length < quantiles.length; i++) {
    sum += weights[run[i] ?? 0] ?? 0
    while (found.length < quantiles.length && sum >= Math.max(1, Math.ceil((quantiles[found.length] ?? 1) * total))) {
      found.push(values[i] ?? Number.NaN)
    }
  }
  return found
}

const percentile = (value: number, redrawn: Array<number>): Percentile => {
  redrawn.sort((a, b) => a - b)
  return { value, low: quantile(redrawn, 0.025), high: quantile(redrawn, 0.975) }
}

/** Undefined without samples. */
export const summary = (runs: ReadonlyArray<ReadonlyArray<number>>): Summary | undefined => {
  const filled = runs.filter((samples) => samples.length > 0)
  const n = filled.reduce((sum, samples) => sum + samples.length, 0)
  if (n === 0) return undefined
  const all = sort(filled, 1)
  const drawn = n > mostSamples ? sort(filled, mostSamples / n) : all
  const random = Prng.make(n)
  const redrawn: ReadonlyArray<Array<number>> = quantiles.map(() => [])
  const weights = new Uint32Array(filled.length)
  for (let i = 0; i < redraws; i++) {
    weights.fill(0)
    for (let k = 0; k < weights.length; k++) {
      const run = Prng.below(random, weights.length)
      weights[run] = (weights[run] ?? 0) + 1
    }
    for (const [place, value] of weighted(drawn, weights).entries()) redrawn[place]?.push(value)
  }
  const [p50, p90, p99] = quantiles.map((q, i) => percentile(quantile(all.values, q), redrawn[i] ?? []))
  const none: Percentile = { value: Number.NaN, low: Number.NaN, high: Number.NaN }
  const mean = all.values.reduce((sum, value) => sum + value, 0) / n
  const max = all.values[n - 1] ?? Number.NaN
  return { n, runs: filled.length, mean, p50: p50 ?? none, p90: p90 ?? none, p99: p99 ?? none, max }
}
