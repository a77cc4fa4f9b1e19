/** Gives a target as many mutated inputs as asked, and counts what becomes of them.
 *
 * Boundary: a target throws when something happened that must not; the report then names the seed and the number of the
 * case, which make it again. Memory is looked at every `sampleEvery` cases: what is kept must not grow with the count. */
import process from "node:process"
import * as Prng from "../../src/swim/Prng.ts"
import * as Mutation from "./Mutation.ts"
import type { Target } from "./Targets.ts"

export interface Report {
  readonly name: string
  readonly cases: number
  readonly outcomes: Readonly<Record<string, number>>
  /** most bytes in use above the beginning */
  readonly bytes: number
  readonly millis: number
  /** undefined: nothing wrong */
  readonly failure: string | undefined
}

const sampleEvery = 2048
/** The garbage of a few thousand small cases, and no more. */
export const memoryLimit = 400 * 1024 * 1024

const inUse = (): number => {
  const { arrayBuffers, heapUsed } = process.memoryUsage()
  return arrayBuffers + heapUsed
}

export const fuzz = (target: Target, options: { readonly count: number; readonly seed: number }): Report => {
  const random = Prng.make(options.seed)
  const { corpus, take } = target.make(random)
  const outcomes = new Map<string, number>()
  const before = inUse()
  const start = performance.now()
  let bytes = 0
  let failure: string | undefined
  let cases = 0
  while (cases < options.count && failure === undefined) {
    const input = Mutation.mutate(random, corpus)
    try {
      const outcome = take(input)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1)
    } catch (error) {
      const what = error instanceof Error ? error.stack ?? error.message : String(error)
      failure = `seed ${options.seed}, case ${cases}, ${Buffer.from(input).toString("hex")}: ${what}`
    }
    cases++
    if (cases % sampleEvery !== 0) continue
    bytes = Math.max(bytes, inUse() - before)
    if (bytes > memoryLimit) failure = `seed ${options.seed}, case ${cases}: ${bytes} bytes more in use`
    if (outcomes.size > 200) failure = `seed ${options.seed}, case ${cases}: reasons are not a bounded set`
  }
  const sorted = [...outcomes].sort((a, b) => b[1] - a[1])
  return {
    name: target.name,
    cases,
    outcomes: Object.fromEntries(sorted),
    bytes,
    millis: performance.now() - start,
    failure
  }
}
