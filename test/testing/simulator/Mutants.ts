/** Deliberately broken protocol machines: each breaks one invariant, so that its checker can be seen to work.
 *
 * A mutant stands in place of `Swim.step` and changes inputs, outputs or the machine's state around it. */
import * as Core from "../../../src/swim/Core.ts"
import * as Members from "../../../src/swim/Members.ts"
import type * as Message from "../../../src/swim/Message.ts"
import * as Prng from "../../../src/swim/Prng.ts"
import * as Spread from "../../../src/swim/Spread.ts"
import * as Swim from "../../../src/swim/Swim.ts"
import type { Id } from "../../../src/testing/simulator/Invariants.ts"
import type { Step } from "../../../src/testing/simulator/Simulation.ts"

export interface Mutant {
  readonly breaks: Id
  readonly how: string
  /** A scenario in which the defect shows, and how many of its seeds are looked at. */
  readonly scenario: string
  readonly seeds: number
  /** Fresh for every run. */
  readonly step: () => Step
}

const messagesOf = (input: Swim.Input): ReadonlyArray<Message.Message> =>
  input._tag === "Received" || input._tag === "StreamReceived" ? input.messages : []

/** Changes what the machine hears. */
const hearing =
  (change: (swim: Swim.Swim, message: Message.Message) => Message.Message): () => Step => () => (swim, input, out) => {
    if (input._tag !== "Received" && input._tag !== "StreamReceived") return Swim.step(swim, input, out)
    Swim.step(swim, { ...input, messages: input.messages.map((message) => change(swim, message)) }, out)
  }

/** The mutant of M7 draws from a generator that outlives the run. */
const ambient = Prng.make(7)

export const mutants: ReadonlyArray<Mutant> = [
  {
    breaks: "M1",
    how: "forgets a death as soon as somebody says that the member lives",
    scenario: "crash",
    seeds: 20,
    step: () => (swim, input, out) => {
      for (const message of messagesOf(input)) {
        if (message._tag !== "Ping") continue
        Members.forEach(swim.table, (row) => {
          if (Members.status(swim.table, row) !== "dead") return
          const { incarnation, ...identity } = Members.member(swim.table, row)
          Members.remove(swim.table, row)
          Members.put(swim.table, { identity, incarnation, status: "alive", since: swim.now }, swim.random)
        })
      }
      Swim.step(swim, input, out)
    }
  },
  {
    breaks: "M1",
    how: "takes an older word for a newer one: incarnations are read one too low",
    scenario: "chaos",
    seeds: 20,
    step: () => (swim, input, out) => {
      for (const message of messagesOf(input)) {
        if (message._tag !== "Alive" || message.incarnation === 0) continue
        const row = Members.find(swim.table, message.id)
        if (row >= 0 && Members.incarnation(swim.table, row) > message.incarnation) Members.remove(swim.table, row)
      }
      Swim.step(swim, input, out)
    }
  },
  {
    breaks: "M2",
    how: "raises the incarnation of a suspect to clear it",
    scenario: "crash",
    seeds: 5,
    step: hearing((_, message) =>
      message._tag === "Suspect" ? { ...message, incarnation: message.incarnation + 1 } : message
    )
  },
  {
    breaks: "M2",
    how: "forgets its own incarnation",
    scenario: "update",
    seeds: 5,
    step: () => (swim, input, out) => {
      Swim.step(swim, input, out)
      if (input._tag === "TimerFired" && swim.incarnation > 0) swim.incarnation--
    }
  },
  {
    breaks: "M3",
    how: "probes at random instead of in rounds",
    scenario: "steady",
    seeds: 5,
    step: () => (swim, input, out) => {
      if (input._tag === "TimerFired") {
        swim.table.cursor = 0
        swim.table.made = 0
      }
      Swim.step(swim, input, out)
    }
  },
  {
    breaks: "M4",
    how: "never opens a stream and never tries the dead again",
    scenario: "partition",
    seeds: 2,
    step: () => (swim, input, out) => {
      Swim.step(swim, input, out)
      for (let i = out.length - 1; i >= 0; i--) {
        const output = out[i]
        if (output === undefined) continue
        const toTheDead = output._tag === "Send" && output.messages.some(({ _tag }) => _tag === "Dead")
        if (output._tag === "OpenStream" || toTheDead) out.splice(i, 1)
      }
    }
  },
  {
    breaks: "M5",
    how: "repeats its own news for ever",
    scenario: "crash",
    seeds: 1,
    step: () => (swim, input, out) => {
      swim.out = out
      if (swim.updates.byKey.size === 0) Spread.update(swim, swim.self.id, Core.selfAlive(swim))
      Swim.step(swim, input, out)
    }
  },
  {
    breaks: "M5",
    how: "keeps every probe it ever made",
    scenario: "steady",
    seeds: 2,
    step: () => {
      const kept = new Map<Swim.Swim, Swim.Swim["probes"]>()
      return (swim, input, out) => {
        const probes = kept.get(swim) ?? new Map()
        kept.set(swim, probes)
        Swim.step(swim, input, out)
        for (const [seq, probe] of swim.probes) probes.set(seq, probe)
        for (const [seq, probe] of probes) swim.probes.set(seq, probe)
      }
    }
  },
  {
    breaks: "M6",
    how: "pads its datagrams beyond the limit",
    scenario: "join",
    seeds: 1,
    step: () => (swim, input, out) => {
      Swim.step(swim, input, out)
      for (const [i, output] of out.entries()) {
        if (output._tag !== "Send") continue
        out[i] = {
          ...output,
          messages: output.messages.flatMap((message) => Array.from({ length: 80 }, () => message))
        }
      }
    }
  },
  {
    breaks: "M7",
    how: "draws from a generator of the process",
    scenario: "crash",
    seeds: 1,
    step: () => (swim, input, out) => {
      if (input._tag === "TimerFired" && Prng.below(ambient, 50) === 0) swim.random.a = Prng.next(ambient) | 0
      Swim.step(swim, input, out)
    }
  }
]
