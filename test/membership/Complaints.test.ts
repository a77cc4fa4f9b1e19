import { assert, describe, it } from "@effect/vitest"
import { Complaints } from "../../src/membership/Complaints.ts"

describe("Complaints", () => {
  it("are due once per peer and minute", () => {
    const complaints = new Complaints()
    assert.isTrue(complaints.due("a", 0))
    assert.isFalse(complaints.due("a", 59_999))
    assert.isTrue(complaints.due("b", 1000))
    assert.isTrue(complaints.due("a", 60_000))
    assert.isFalse(complaints.due("a", 60_001))
  })

  it("are bounded per minute, whoever may send, and go on in the next", () => {
    const complaints = new Complaints()
    let lines = 0
    for (let i = 0; i < 10_000; i++) if (complaints.due(`peer ${i}`, i)) lines++
    assert.strictEqual(lines, 64)
    assert.isTrue(complaints.due("another", 60_000))
  })
})
