import { assert, describe, it } from "@effect/vitest"
import * as DevView from "../../src/cli/DevView.ts"
import type * as Report from "../../src/cli/Report.ts"

const member = (id: string, role: string, status = "alive", startedAt = 3_000): Report.Member => ({
  id,
  address: "127.0.0.1:1",
  status,
  role,
  incarnation: 0,
  startedAt,
  release: "1"
})

const snapshot = (more: Partial<DevView.Snapshot> & { readonly epoch?: number; readonly master?: string } = {}) => ({
  members: [member("n1", "master"), member("n2", "worker")],
  status: {
    self: "n1",
    reign: { epoch: more.epoch ?? 1, master: more.master ?? "n1" },
    role: "master",
    replicas: [],
    members: { alive: 2, suspect: 0, dead: 0, left: 0 },
    functions: 1,
    routes: 1
  },
  functions: [{ name: "hello", version: "0123456789abcdef", warm: ["n2"] }],
  ...more
})

const processes = ["n1", "n2"].map((name, index) => ({
  name,
  pid: 10 + index,
  http: `127.0.0.1:808${index}`,
  running: true
}))

describe("DevView.changes", () => {
  it("tells everything at the first look", () => {
    assert.deepStrictEqual(DevView.changes(undefined, snapshot()).map(DevView.describe), [
      "reign     n1 is master, epoch 1",
      "member    n1 is alive, master",
      "member    n2 is alive, worker",
      "function  hello (0123456789ab) is warm on n2"
    ])
  })

  it("tells nothing when nothing changed", () => {
    assert.deepStrictEqual(DevView.changes(snapshot(), snapshot()), [])
  })

  it("tells a failure, the new reign, and a function that moved or went away", () => {
    const after = snapshot({
      epoch: 2,
      master: "n2",
      members: [member("n1", "worker", "dead"), member("n2", "master")],
      functions: [{ name: "other", version: "f", warm: ["n2", "n1"] }]
    })
    assert.deepStrictEqual(DevView.changes(snapshot(), after).map(DevView.describe), [
      "reign     n2 is master, epoch 2",
      "member    n1 is dead",
      "member    n2 is alive, master",
      "function  other (f) is warm on n1, n2",
      "function  hello is removed"
    ])
  })

  it("tells a restart under the same name", () => {
    const after = snapshot({ members: [member("n1", "master"), member("n2", "worker", "alive", 9_000)] })
    assert.deepStrictEqual(DevView.changes(snapshot(), after), [
      { event: "member", id: "n2", status: "alive", role: "worker" }
    ])
  })
})

describe("DevView.frame", () => {
  it("shows who rules, every node with its process, and what is warm where", () => {
    assert.strictEqual(
      DevView.frame(snapshot(), processes, { color: false, height: 20 }),
      [
        "reign 1: n1 is master",
        "NODE  ROLE    STATUS  STARTED    HTTP            PID  WARM",
        "n1    master  alive   00:00:03Z  127.0.0.1:8080  10",
        "n2    worker  alive   00:00:03Z  127.0.0.1:8081  11   hello"
      ].join("\n")
    )
  })

  it("gives a dead member no role and an ended process no id", () => {
    const dead = snapshot({ members: [member("n1", "master"), member("n2", "worker", "dead")], functions: [] })
    const ended = processes.map((process) => ({ ...process, running: process.name === "n1" }))
    assert.match(
      DevView.frame(dead, ended, { color: false, height: 20 }),
      /n2 +- +dead +00:00:03Z +127.0.0.1:8081 +ended$/
    )
  })

  it("shows members that joined from elsewhere", () => {
    const more = snapshot({ members: [...snapshot().members, member("guest", "worker")] })
    assert.match(DevView.frame(more, processes, { color: false, height: 20 }), /guest +worker +alive +00:00:03Z +- +-$/)
  })

  it("fits into the height of the terminal", () => {
    const text = DevView.frame(snapshot(), processes, { color: false, height: 3 })
    assert.strictEqual(text.split("\n").length, 3)
    assert.match(text, /and 2 more$/)
  })
})
