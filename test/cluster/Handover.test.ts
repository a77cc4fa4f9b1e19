import { assert, describe, it } from "@effect/vitest"
import * as SchemaBinary from "effect/encoding/SchemaBinary"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Handover from "../../src/cluster/Handover.ts"
import type * as HandoverEvent from "../../src/cluster/HandoverEvent.ts"
import * as HandoverMessage from "../../src/cluster/HandoverMessage.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import type { Run } from "../../src/cluster/RoutingTable.ts"
import * as Member from "../../src/swim/Member.ts"
import { messages, nameOf } from "./HandoverFixtures.ts"
import * as Model from "./HandoverModel.ts"
import { walk } from "./HandoverWalk.ts"

const whole: Model.Budget = { starts: 1, writes: 1, crashes: ["O", "T"], elections: 1, cancels: true }

describe("Handover (H1), every run", () => {
  it(
    "keeps one side writing, loses no acknowledged write and ends with one master, whatever is lost, doubled, late, out of order or crashes",
    () => {
      const { states, steps, violation } = walk(whole)
      assert.isUndefined(violation)
      assert.isAbove(states, 30_000)
      assert.isAbove(steps, 300_000)
    },
    60_000
  )

  it("keeps both apart with writes before, during and after it", () => {
    const { violation } = walk({ starts: 1, writes: 3, crashes: ["T"], elections: 0, cancels: false })
    assert.isUndefined(violation)
  }, 60_000)

  it("takes no message of a former attempt for one of the next", () => {
    const { violation } = walk({ starts: 2, writes: 0, crashes: [], elections: 0, cancels: true }, Model.rules, 60_000)
    assert.isUndefined(violation)
  }, 60_000)
})

/** Each breaks one rule; the walk must find out. */
const mutants: ReadonlyArray<readonly [string, Partial<Model.Rules>, RegExp]> = [
  [
    "an old master that does not close when it commits",
    { isOpen: (hand) => hand.phase._tag === "Committing" || Handover.isOpen(hand) },
    /both sides/
  ],
  [
    "an old master that serves on while it seals",
    { isOpen: (hand) => hand.phase._tag === "Sealing" || Handover.isOpen(hand) },
    /without an acknowledged write/
  ],
  [
    "a target that writes before it was granted the reign",
    { eager: (hand) => hand.phase._tag === "Following" && hand.phase.phase === "sealed" },
    /without an acknowledged write|both sides/
  ],
  ["an old master that claims while its target lives", { deems: () => true }, /both sides|without/],
  [
    "an old master that does not wait for the writes in flight",
    { drains: () => true },
    /without an acknowledged write/
  ],
  ["a target that says it is ready before it has loaded", { loads: false }, /without an acknowledged write/],
  [
    "an old master that goes on when its commit is not answered",
    {
      step: (hand, event, context, out) => {
        const next = Handover.step(hand, event, context, out)
        return next.phase._tag === "Committing" && event._tag === "Settle" && hand.phase._tag === "Committing"
          ? { ...next, phase: { _tag: "Idle" } }
          : next
      }
    },
    /both sides/
  ],
  [
    "a target that forgets what it refused",
    {
      step: (hand, event, context, out) => ({
        ...Handover.step({ ...hand, over: undefined }, event, context, out),
        over: undefined
      })
    },
    /both sides|without/
  ],
  [
    "a target that refuses what it accepted",
    {
      step: (hand, event, context, out) => {
        const next = Handover.step(hand, event, context, out)
        return next.over?.accepted === true ? { ...next, over: { ...next.over, accepted: false } } : next
      }
    },
    /both sides/
  ]
]

describe("Handover (H1), the checker", () => {
  for (const [name, change, expected] of mutants) {
    it(`catches ${name}`, () => {
      const { violation } = walk({ ...whole, writes: 2 }, { ...Model.rules, ...change }, 120_000)
      assert.match(violation?.what ?? "nothing", expected, violation?.way.join("\n"))
    }, 60_000)
  }
})

// ---- single steps

const old: Run = { id: Member.id("a"), bootId: 1 }
const target: Run = { id: Member.id("b"), bootId: 2 }
const reign: Reign.Reign = { ...old, epoch: 4, startedAt: 10, predecessor: undefined, kind: "plain", witnesses: 0 }
const need = { sequence: 5, marks: { catalog: "x" } }

const drive = (run: Run, obeyed: Reign.Reign = reign) => {
  let hand = Handover.make(run)
  const context = { now: 0, reign: obeyed, startOf: () => 20 }
  return {
    give: (event: HandoverEvent.Event, now = 0): Array<HandoverEvent.Output> => {
      const out: Array<HandoverEvent.Output> = []
      hand = Handover.step(hand, event, { ...context, now }, out)
      return out
    },
    hear: (from: Run, message: HandoverMessage.Message, now = 0): Array<HandoverEvent.Output> => {
      const out: Array<HandoverEvent.Output> = []
      hand = Handover.step(hand, { _tag: "Received", from, message }, { ...context, now }, out)
      return out
    },
    phase: () => hand.phase._tag,
    open: () => Handover.isOpen(hand),
    wake: () => Handover.nextWake(hand)
  }
}

const tags = (out: ReadonlyArray<HandoverEvent.Output>): ReadonlyArray<string> =>
  out.map((output) => output._tag === "Send" ? output.message._tag : output._tag)

describe("Handover, step by step", () => {
  it("waits for no timer in a run without faults: three messages pass while writes wait", () => {
    const a = drive(old)
    const b = drive(target)
    assert.deepStrictEqual(tags(a.give({ _tag: "Start", target, need })), ["Prepare"])
    assert.deepStrictEqual(tags(b.hear(old, { _tag: "Prepare", reign, attempt: 1, need })), ["Load"])
    assert.deepStrictEqual(tags(b.give({ _tag: "Loaded", attempt: 1, sealed: false })), ["Ready"])
    assert.deepStrictEqual(tags(a.hear(target, { _tag: "Ready", reign, attempt: 1, sealed: false })), ["Reserve"])
    assert.isTrue(a.open())
    assert.deepStrictEqual(tags(a.give({ _tag: "Reserved", attempt: 1, epoch: 5, ok: true })), ["Close"])
    assert.isFalse(a.open())
    assert.deepStrictEqual(tags(a.give({ _tag: "Drained", attempt: 1, need })), ["Seal"])
    assert.deepStrictEqual(tags(b.hear(old, { _tag: "Seal", reign, attempt: 1, need })), ["Load"])
    assert.deepStrictEqual(tags(b.give({ _tag: "Loaded", attempt: 1, sealed: true })), ["Ready"])
    const [commit] = a.hear(target, { _tag: "Ready", reign, attempt: 1, sealed: true })
    assert.isTrue(commit?._tag === "Send" && commit.message._tag === "Commit")
    if (commit?._tag !== "Send" || commit.message._tag !== "Commit") return
    const { grant } = commit.message
    assert.deepStrictEqual(
      { epoch: grant.epoch, kind: grant.kind, id: grant.id, predecessor: grant.predecessor },
      { epoch: 5, kind: "granted", id: target.id, predecessor: { epoch: 4, bootId: 1 } }
    )
    assert.deepStrictEqual(tags(b.hear(old, commit.message)), ["Accepted", "Obey"])
    assert.deepStrictEqual(tags(a.hear(target, { _tag: "Accepted", reign, attempt: 1 })), ["Obey"])
    assert.isFalse(a.open())
  })

  it("aborts what is not ready in time and serves on", () => {
    const a = drive(old)
    a.give({ _tag: "Start", target, need })
    assert.deepStrictEqual(tags(a.give({ _tag: "Settle" }, Handover.defaults.prepareWithin)), ["Abort", "Ended"])
    assert.isTrue(a.open())
  })

  it("opens again when sealing takes too long, and commits no late answer to it", () => {
    const a = drive(old)
    a.give({ _tag: "Start", target, need })
    a.hear(target, { _tag: "Ready", reign, attempt: 1, sealed: false })
    a.give({ _tag: "Reserved", attempt: 1, epoch: 5, ok: true })
    a.give({ _tag: "Drained", attempt: 1, need })
    const late = a.hear(target, { _tag: "Ready", reign, attempt: 1, sealed: true }, Handover.defaults.sealWithin)
    assert.deepStrictEqual(tags(late), ["Abort", "Open", "Ended"])
    assert.isTrue(a.open())
  })

  it("does not close when the epoch of the grant cannot be written down", () => {
    const a = drive(old)
    a.give({ _tag: "Start", target, need })
    a.hear(target, { _tag: "Ready", reign, attempt: 1, sealed: false })
    assert.deepStrictEqual(tags(a.give({ _tag: "Reserved", attempt: 1, epoch: 5, ok: false })), ["Abort", "Ended"])
  })

  it("makes one attempt at a time, as master only, and to another only", () => {
    const a = drive(old)
    assert.deepStrictEqual(tags(a.give({ _tag: "Start", target: old, need })), ["Ended"])
    a.give({ _tag: "Start", target, need })
    assert.deepStrictEqual(tags(a.give({ _tag: "Start", target, need })), ["Ended"])
    assert.strictEqual(a.phase(), "Preparing")
    assert.deepStrictEqual(tags(drive(target).give({ _tag: "Start", target: old, need })), ["Ended"])
  })

  it("follows nobody but its master", () => {
    const b = drive(target)
    const other: Run = { id: Member.id("c"), bootId: 3 }
    assert.deepStrictEqual(tags(b.hear(other, { _tag: "Prepare", reign, attempt: 1, need })), ["Abort"])
    const higher: Reign.Reign = { ...reign, epoch: 9 }
    assert.deepStrictEqual(tags(b.hear(old, { _tag: "Prepare", reign: higher, attempt: 1, need })), ["Abort"])
    assert.strictEqual(b.phase(), "Idle")
  })
})

// ---- the wire

const folder = Path.join(import.meta.dirname, "fixtures")
const Json = Schema.toCodecJson(HandoverMessage.Message)

describe("HandoverMessage", () => {
  it("is written as the frozen fixtures say, byte for byte", () => {
    const encodeJson = Schema.encodeSync(Json)
    const binary = SchemaBinary.toCodec(HandoverMessage.Message)
    for (const message of messages) {
      const bytes = Schema.encodeSync(binary)(message)
      const text = `${
        JSON.stringify({ json: encodeJson(message), binary: Buffer.from(bytes).toString("hex") }, null, 2)
      }\n`
      const file = Path.join(folder, nameOf(message))
      assert.strictEqual(text, Fs.readFileSync(file, "utf8"), nameOf(message))
      assert.deepStrictEqual(Schema.decodeSync(binary)(bytes), message)
    }
  })

  it("is read from the frozen fixtures", () => {
    const decode = Schema.decodeUnknownSync(Json)
    for (const message of messages) {
      const { json } = JSON.parse(Fs.readFileSync(Path.join(folder, nameOf(message)), "utf8"))
      assert.deepStrictEqual(decode(json), message)
      assert.isTrue(HandoverMessage.isValid(message))
    }
  })

  it("is refused when a number or a text is out of its range", () => {
    const bad: ReadonlyArray<HandoverMessage.Message> = [
      { _tag: "Accepted", reign, attempt: 0 },
      { _tag: "Accepted", reign: { ...reign, epoch: Reign.limit }, attempt: 1 },
      { _tag: "Commit", reign, attempt: 1, grant: { ...reign, epoch: -1 } },
      { _tag: "Prepare", reign, attempt: 1, need: { sequence: 0.5, marks: {} } },
      { _tag: "Seal", reign, attempt: 1, need: { sequence: 0, marks: { catalog: "x".repeat(300) } } },
      { _tag: "Abort", reign, attempt: 1, reason: "x".repeat(301) }
    ]
    for (const message of bad) assert.isFalse(HandoverMessage.isValid(message), message._tag)
  })
})
