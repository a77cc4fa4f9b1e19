/** One line of a benchmark's result, and how it is computed from samples. */
import * as Os from "node:os"

export interface Row {
  readonly name: string
  readonly unit: string
  readonly n: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
  /** the same measurement of something bare in the same run: its name and its median */
  readonly control: { readonly name: string; readonly p50: number } | null
  readonly machine: string
}

export const machine = `${Os.cpus().length} x ${
  Os.cpus()[0]?.model.trim() ?? "unknown"
}, node ${process.versions.node}, ${process.platform}`

const rounded = (value: number): number => Number(value.toPrecision(4))

export const quantile = (sorted: ReadonlyArray<number>, q: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN

export const median = (samples: ReadonlyArray<number>): number => quantile(samples.toSorted((a, b) => a - b), 0.5)

/** For rates the "high" percentiles are the low rates: `p99` is the rate that 99 % of the samples reach. */
export const row = (
  name: string,
  unit: string,
  samples: ReadonlyArray<number>,
  control: Row["control"] = null
): Row => {
  const higherIsBetter = unit.endsWith("/s")
  const sorted = samples.toSorted((a, b) => higherIsBetter ? b - a : a - b)
  return {
    name,
    unit,
    n: samples.length,
    p50: rounded(quantile(sorted, 0.5)),
    p95: rounded(quantile(sorted, 0.95)),
    p99: rounded(quantile(sorted, 0.99)),
    max: rounded(sorted.at(-1) ?? Number.NaN),
    control: control === null ? null : { ...control, p50: rounded(control.p50) },
    machine
  }
}
