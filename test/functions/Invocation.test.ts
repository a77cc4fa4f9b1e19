import { assert, describe, it } from "@effect/vitest"
import * as Schema from "effect/Schema"
import * as Invocation from "../../src/functions/Invocation.ts"

const node = (id: string) => ({ id, bootId: 1 })

const around = (local: Invocation.Local, nodes: ReadonlyArray<string> = []): Invocation.Surroundings => ({
  local: () => local,
  pick: (tried) => nodes.filter((id) => !tried.includes(id)).map(node)[0]
})

const entry = (method = "POST") => Invocation.make({ entry: true, method })
const handedOver = () => Invocation.make({ entry: false, method: "POST" })
const begin = Invocation.begin(false)
const tag = (action: Invocation.Action) => action._tag

describe("Invocation", () => {
  it("runs a call on a warm instance here without asking anyone", () => {
    assert.deepStrictEqual(Invocation.step(entry(), begin, around("ready", ["b"])), { _tag: "Run" })
  })

  it("queues a call behind a start that is on its way here", () => {
    assert.strictEqual(tag(Invocation.step(entry(), begin, around("starting", ["b"]))), "Join")
    assert.strictEqual(tag(Invocation.step(entry(), begin, around("grow", ["b"]))), "Join")
  })

  it("forwards to a known warm node when it is not warm here, or full", () => {
    const forward = { _tag: "Forward", node: node("b") } as const
    assert.deepStrictEqual(Invocation.step(entry(), begin, around("none", ["b"])), forward)
    assert.deepStrictEqual(Invocation.step(entry(), begin, around("full", ["b"])), forward)
  })

  it("asks for a lease only when it could start the version itself", () => {
    assert.deepStrictEqual(Invocation.step(entry(), begin, around("none")), { _tag: "Locate", lease: true })
    assert.deepStrictEqual(Invocation.step(entry(), begin, around("full")), { _tag: "Locate", lease: false })
  })

  it("starts when the lease is granted, waits while another node has it, and starts when nobody is left", () => {
    const located = (lease: "granted" | "wait" | "none", local: Invocation.Local = "none") => {
      const call = entry()
      Invocation.step(call, begin, around("none"))
      return tag(Invocation.step(call, { _tag: "Located", lease }, around(local)))
    }
    assert.strictEqual(located("granted"), "Start")
    assert.strictEqual(located("wait"), "Wait")
    assert.strictEqual(located("none"), "Start")
    assert.strictEqual(located("granted", "ready"), "Run")
    assert.strictEqual(located("granted", "starting"), "Join")
    assert.strictEqual(located("none", "full"), "Fail")
  })

  it("sends a waiting call to the node that starts it, and waits when it came there too early", () => {
    const call = entry()
    Invocation.step(call, begin, around("none"))
    assert.strictEqual(tag(Invocation.step(call, { _tag: "Located", lease: "wait" }, around("none", ["b"]))), "Forward")
    const refused = { _tag: "Refused", node: "b", refusal: "not-warm", replayable: true } as const
    assert.strictEqual(tag(Invocation.step(call, refused, around("none"))), "Locate")
    assert.strictEqual(tag(Invocation.step(call, { _tag: "Located", lease: "wait" }, around("none", ["b"]))), "Wait")
    assert.strictEqual(tag(Invocation.step(call, { _tag: "Located", lease: "wait" }, around("none", ["b"]))), "Forward")
  })

  it("never starts a version while another node holds its lease, however often that node was asked too early", () => {
    const call = entry()
    let action = Invocation.step(call, begin, around("none"))
    for (let i = 0; i < 100; i++) {
      switch (action._tag) {
        case "Locate":
        case "Wait":
          action = Invocation.step(call, { _tag: "Located", lease: "wait" }, around("none", ["b"]))
          break
        case "Forward": {
          const refused = { _tag: "Refused", node: "b", refusal: "not-warm", replayable: true } as const
          action = Invocation.step(call, refused, around("none"))
          break
        }
        default:
          assert.fail(`${action._tag} in step ${i}`)
      }
    }
    assert.strictEqual(tag(Invocation.step(call, { _tag: "Located", lease: "none" }, around("none", ["b"]))), "Forward")
  })

  it("gives up on a route that is wrong each time and starts the version", () => {
    const call = entry()
    let action = Invocation.step(call, begin, around("none"))
    let steps = 0
    while (action._tag !== "Start" && steps++ < 50) {
      const refused = { _tag: "Refused", node: "b", refusal: "not-warm", replayable: true } as const
      action = action._tag === "Forward"
        ? Invocation.step(call, refused, around("none"))
        : Invocation.step(call, { _tag: "Located", lease: "none" }, around("none", ["b"]))
    }
    assert.strictEqual(action._tag, "Start")
  })

  it("never forwards a call that another node handed over", () => {
    const table: ReadonlyArray<[Invocation.Local, string]> = [
      ["ready", "Run"],
      ["starting", "Join"],
      ["grow", "Join"],
      ["full", "Refuse"],
      ["stuck", "Refuse"],
      ["none", "Refuse"],
      ["failing", "Refuse"]
    ]
    for (const [local, expected] of table) {
      assert.strictEqual(tag(Invocation.step(handedOver(), begin, around(local, ["c"]))), expected, local)
    }
  })

  it("gives calls back while it drains, and still serves its own", () => {
    const draining = Invocation.begin(true)
    assert.deepStrictEqual(Invocation.step(handedOver(), draining, around("ready")), {
      _tag: "Refuse",
      refusal: "draining"
    })
    assert.strictEqual(tag(Invocation.step(entry(), draining, around("ready"))), "Run")
  })

  it("runs a call itself when every warm node is busy", () => {
    const call = entry()
    Invocation.step(call, begin, around("none", ["b", "c"]))
    const busy = (id: string) => ({ _tag: "Refused", node: id, refusal: "busy", replayable: true }) as const
    assert.deepStrictEqual(Invocation.step(call, busy("b"), around("none", ["b", "c"])), {
      _tag: "Forward",
      node: node("c")
    })
    assert.strictEqual(tag(Invocation.step(call, busy("c"), around("none", ["b", "c"]))), "Start")
  })

  it("answers 429 when it is full here and busy everywhere", () => {
    const call = entry()
    Invocation.step(call, begin, around("full", ["b"]))
    const busy = { _tag: "Refused", node: "b", refusal: "busy", replayable: true } as const
    assert.deepStrictEqual(Invocation.step(call, busy, around("full", ["b"])), { _tag: "Fail", reason: "concurrency" })
  })

  it("waits for an instance that computes when no other node has a place, instead of a refusal", () => {
    const call = entry()
    const busy = (id: string) => ({ _tag: "Refused", node: id, refusal: "busy", replayable: true }) as const
    assert.strictEqual(tag(Invocation.step(call, begin, around("stuck", ["b"]))), "Forward")
    assert.strictEqual(tag(Invocation.step(call, busy("b"), around("stuck", ["b"]))), "Join")
    const alone = entry()
    assert.deepStrictEqual(Invocation.step(alone, begin, around("stuck")), { _tag: "Locate", lease: false })
    assert.strictEqual(tag(Invocation.step(alone, { _tag: "Located", lease: "none" }, around("stuck"))), "Join")
  })

  it("repeats a call that may have started only when its method is idempotent", () => {
    const lost = (method: string, sent: boolean, replayable = true) => {
      const call = entry(method)
      Invocation.step(call, begin, around("none", ["b", "c"]))
      return Invocation.step(call, { _tag: "PeerLost", node: "b", sent, replayable }, around("none", ["b", "c"]))
    }
    assert.strictEqual(tag(lost("POST", false)), "Forward")
    assert.strictEqual(tag(lost("GET", true)), "Forward")
    assert.deepStrictEqual(lost("POST", true), { _tag: "Fail", reason: "peer-lost" })
    assert.deepStrictEqual(lost("GET", true, false), { _tag: "Fail", reason: "peer-lost" })
  })

  it("places a call anew when its instance went before it was looked at, but not for ever", () => {
    const call = entry()
    Invocation.step(call, begin, around("starting"))
    const gone = { _tag: "InstanceLost", replayable: true } as const
    assert.strictEqual(tag(Invocation.step(call, gone, around("starting"))), "Join")
    assert.strictEqual(tag(Invocation.step(call, gone, around("starting"))), "Join")
    assert.deepStrictEqual(Invocation.step(call, gone, around("starting")), { _tag: "Fail", reason: "crashed" })
  })

  it("finds a loop by hops, depth and path", () => {
    const fine = { self: "a", hops: 1, depth: 0, path: ["b"] }
    assert.isUndefined(Invocation.breach(fine))
    assert.isUndefined(Invocation.breach({ ...fine, hops: 2, depth: 16 }))
    assert.strictEqual(Invocation.breach({ ...fine, hops: 3 }), "loop")
    assert.strictEqual(Invocation.breach({ ...fine, depth: 17 }), "loop")
    assert.strictEqual(Invocation.breach({ ...fine, path: ["b", "a"] }), "loop")
  })

  const local = Schema.Literals(["ready", "starting", "grow", "full", "stuck", "none", "failing"])
  const Answers = Schema.Array(Schema.Struct({
    local,
    lease: Schema.Literals(["granted", "none"]),
    refusal: Schema.Literals(["busy", "not-warm", "draining", "failing"]),
    lost: Schema.Boolean
  }))

  it.prop("places every call after a bounded number of forwards and look-ups, unless another node is starting it", [
    Answers
  ], ([
    answers
  ]) => {
    const call = entry("GET")
    let forwards = 0
    let lookups = 0
    let now: Invocation.Local = "none"
    const surroundings: Invocation.Surroundings = {
      local: () => now,
      pick: (tried) => ["b", "c", "d", "e", "f", "g"].filter((id) => !tried.includes(id)).map(node)[0]
    }
    let action = Invocation.step(call, begin, surroundings)
    for (const answer of answers) {
      now = answer.local
      if (action._tag === "Forward") {
        forwards++
        const { id } = action.node
        action = answer.lost
          ? Invocation.step(call, { _tag: "PeerLost", node: id, sent: true, replayable: true }, surroundings)
          : Invocation.step(
            call,
            { _tag: "Refused", node: id, refusal: answer.refusal, replayable: true },
            surroundings
          )
      } else if (action._tag === "Locate") {
        lookups++
        action = Invocation.step(call, { _tag: "Located", lease: answer.lease }, surroundings)
      } else break
    }
    assert.isAtMost(forwards, Invocation.maxForwards)
    assert.isAtMost(lookups, Invocation.maxLookups)
  })
})
