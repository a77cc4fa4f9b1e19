import { assert, describe, it } from "@effect/vitest"
import * as Member from "../../src/swim/Member.ts"

describe("Member", () => {
  it("orders alive(i) < suspect(i) < dead(i) < left(i) < alive(i+1)", () => {
    const states: Array<Member.State> = []
    for (const incarnation of [0, 1, 2]) {
      for (const status of ["alive", "suspect", "dead", "left"] as const) states.push({ incarnation, status })
    }
    for (const [i, a] of states.entries()) {
      for (const [j, b] of states.entries()) {
        assert.strictEqual(Math.sign(Member.compareState(a, b)), Math.sign(i - j))
      }
    }
  })

  it("orders runs by start and then by bootId, so that one always wins", () => {
    const run = (startedAt: number, bootId: number): { startedAt: number; bootId: number } => ({ startedAt, bootId })
    assert.isBelow(Member.compareRun(run(1, 9), run(2, 1)), 0)
    assert.isAbove(Member.compareRun(run(2, 2), run(2, 1)), 0)
    assert.strictEqual(Member.compareRun(run(2, 2), run(2, 2)), 0)
  })

  it("gives a status back from its rank", () => {
    for (const status of ["alive", "suspect", "dead", "left"] as const) {
      assert.strictEqual(Member.statusOf(Member.rankOf(status)), status)
    }
  })
})
