import { assert, describe, it } from "@effect/vitest"
import * as CallError from "../../src/functions/CallError.ts"

describe("CallError", () => {
  it("tells component, reason, call id and whether to try again, and nothing undefined", () => {
    assert.deepStrictEqual(JSON.parse(CallError.body("not-found", "c1")), {
      component: "router",
      reason: "not-found",
      callId: "c1",
      retryable: false
    })
  })

  it("says what a reason means, unless there is something more exact to say", () => {
    assert.include(JSON.parse(CallError.body("handler-error", "c1")).message, "under this call id")
    assert.strictEqual(JSON.parse(CallError.body("timeout", "c1", { message: "exact" })).message, "exact")
  })

  it("has the documented status for each reason", () => {
    const table: ReadonlyArray<[CallError.Reason, number]> = [
      ["not-found", 404],
      ["body-too-large", 413],
      ["concurrency", 429],
      ["handler-error", 500],
      ["crashed", 502],
      ["out-of-memory", 502],
      ["over-cpu", 502],
      ["host-crash", 502],
      ["no-capacity", 503],
      ["timeout", 504],
      ["loop", 508]
    ]
    for (const [reason, status] of table) assert.strictEqual(CallError.status(reason), status, reason)
  })

  it("calls a crash or a timeout retryable only for an idempotent method", () => {
    const retryable = (reason: CallError.Reason, idempotent: boolean): boolean =>
      JSON.parse(CallError.body(reason, "c", { idempotent })).retryable
    for (const reason of ["crashed", "peer-lost", "timeout"] as const) {
      assert.isTrue(retryable(reason, true))
      assert.isFalse(retryable(reason, false))
    }
    assert.isFalse(retryable("body-too-large", true))
    assert.isFalse(retryable("loop", true))
  })

  it("says when to come back for 429 and 503", () => {
    assert.strictEqual(CallError.retryAfter("concurrency"), 1)
    assert.strictEqual(CallError.retryAfter("draining"), 1)
    assert.isUndefined(CallError.retryAfter("timeout"))
  })

  it("knows its own reasons from other text", () => {
    assert.isTrue(CallError.isReason("host-crash"))
    assert.isFalse(CallError.isReason("toString"))
    assert.isFalse(CallError.isReason("host crash"))
  })
})
