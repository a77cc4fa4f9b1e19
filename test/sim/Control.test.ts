/** The whole control plane under faults: a bounded number of seeds, and a mutant for every checker. `npm run test:sim` runs
 * thousands of seeds. */
import { assert, describe, it } from "@effect/vitest"
import * as ControlTrial from "./control/ControlTrial.ts"
import type { Mutant } from "./control/Doors.ts"
import * as Sweep from "./control/Sweep.ts"

const again = ({ failures }: Sweep.Summary): ReadonlyArray<string> =>
  failures.map(({ seed, violations }) => `${Sweep.again(seed)}: ${violations[0]}`)

describe("the control plane", () => {
  for (const from of [1, 11, 21]) {
    it(`holds R1 to R5 and H1 under faults of networks, processes, disks and clocks (seeds from ${from})`, () => {
      const summary = Sweep.run({ from, seeds: 10 })
      assert.deepStrictEqual(again(summary), [])
      assert.isAbove(summary.acknowledged, 50)
      assert.isAbove(summary.reigns, 50)
    }, 60_000)
  }

  it("is the same run for the same seed", () => {
    const first = ControlTrial.run({ seed: 4 })
    const second = ControlTrial.run({ seed: 4 })
    assert.strictEqual(second.events, first.events)
    assert.deepStrictEqual(second.trace, first.trace)
  }, 30_000)
})

/** By which checker a mutant is caught, and in which seed it is for the first time. */
const caught: ReadonlyArray<readonly [mutant: Mutant, by: RegExp, seed: number]> = [
  ["no-fence", /^R1/, 1],
  ["no-order", /^R2/, 1],
  ["no-evidence", /^evidence/, 1],
  ["no-floor", /^R2/, 1],
  ["no-filter", /^filter/, 1],
  ["no-fsync", /^R4/, 1],
  ["no-seal", /^H1/, 1],
  ["no-age", /^R3/, 1]
]

describe("the checkers", () => {
  for (const [mutant, by, seed] of caught) {
    it(`${by.source.slice(1)} catches ${mutant}`, () => {
      // a change of the program moves the seed: it is found anew within a few
      const { failures } = Sweep.run({
        from: seed,
        seeds: 60,
        mutant,
        until: by,
        // what is not synced is lost with the power only
        machines: mutant === "no-fsync" ? ["powerLoss"] : undefined
      })
      assert.isTrue(failures.some(({ violations }) => violations.some((violation) => by.test(violation))))
    }, 60_000)
  }
})
