import { assert, describe, it } from "@effect/vitest"
import * as Report from "../../src/cli/Report.ts"

const plain = { color: false }
const member = (id: string, more: Partial<Report.Member> = {}): Report.Member => ({
  id,
  address: "127.0.0.1:7946",
  status: "alive",
  role: "worker",
  incarnation: 0,
  startedAt: 0,
  release: "1.0.0",
  ...more
})

describe("Report", () => {
  it("lists members in the order people count in", () => {
    const text = Report.members([member("n10"), member("n9", { role: "master", startedAt: 1_000 })], plain)
    assert.strictEqual(
      text,
      [
        "MEMBER  ROLE    STATUS  ADDRESS         STARTED               RELEASE",
        "n9      master  alive   127.0.0.1:7946  1970-01-01 00:00:01Z  1.0.0",
        "n10     worker  alive   127.0.0.1:7946  1970-01-01 00:00:00Z  1.0.0"
      ].join("\n")
    )
  })

  it("shows a dash for what a member does not tell", () => {
    assert.match(Report.members([member("a", { role: null, release: null })], plain), /a +- +alive .* -$/)
  })

  it("shows no role of a member that is gone", () => {
    const text = Report.members([member("a", { status: "left" }), member("b", { status: "dead" })], plain)
    assert.notInclude(text, "worker")
  })

  const status: Report.Status = {
    self: "n1",
    reign: { epoch: 7, master: "n2" },
    role: "worker",
    replicas: ["n3", "n4"],
    members: { alive: 4, suspect: 1, dead: 0, left: 2 },
    functions: 3,
    routes: 1
  }

  it("tells the reign, and counts only what there is", () => {
    assert.strictEqual(
      Report.status(status, plain),
      [
        "node      n1 (worker)",
        "reign     n2 is master, epoch 7",
        "replicas  n3, n4",
        "members   4 alive, 1 suspect, 2 left",
        "functions 3, warm in 1 place"
      ].join("\n")
    )
  })

  it("says so when there is no reign", () => {
    assert.include(Report.status({ ...status, reign: null, replicas: [] }, plain), "no reign is known")
  })

  it("names the nodes where a function is warm, in order", () => {
    const text = Report.functions([
      { name: "b", version: "0123456789abcdef", warm: ["n2", "n1"] },
      { name: "a", version: "f", warm: [] },
      { name: "c", version: null, warm: ["n3"] }
    ], plain)
    assert.strictEqual(
      text,
      [
        "FUNCTION  VERSION       WARM ON",
        "a         f             nowhere yet",
        "b         0123456789ab  n1, n2",
        "c         -             n3"
      ].join("\n")
    )
  })

  it("tells a newcomer what to do when there are no functions", () => {
    assert.include(Report.functions([], plain), "shoal deploy")
  })
})
