/** The membership protocol as one deterministic machine: `step(state, input)` appends outputs.
 *
 * PURE. Boundary: no clock, no sockets, no randomness but its own seeded generator. It asks for one wake-up
 * (`SetTimer`) and keeps its own heap. Timers run on `TimerFired` and `Drained` only, so that received packets are
 * always processed before a deadline; verdicts (a failed probe, a suspicion that ran out) wait for `Drained`, at most
 * 250 ms. The shell gives `Drained` after a poll turn without a datagram, in particular after each `TimerFired`.
 * Invariants: M1, M2, M3, M5, M6, M7. */
import * as Broadcasts from "./Broadcasts.ts"
import * as Core from "./Core.ts"
import * as Direct from "./Direct.ts"
import * as Flaps from "./Flaps.ts"
import type * as Identities from "./Identities.ts"
import * as Items from "./Items.ts"
import * as Leaving from "./Leaving.ts"
import * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import type * as Params from "./Params.ts"
import * as Prng from "./Prng.ts"
import * as Probe from "./Probe.ts"
import * as Recovery from "./Recovery.ts"
import * as Routes from "./Routes.ts"
import * as Rumor from "./Rumor.ts"
import type * as Signal from "./Signal.ts"
import * as Spread from "./Spread.ts"
import * as Suspicion from "./Suspicion.ts"
import * as Sync from "./Sync.ts"
import * as Timers from "./Timers.ts"

export type Swim = Core.Core
export type Input = Signal.Input
export type Output = Signal.Output
export type Event = Signal.Event
export type Command = Signal.Command
export interface Health extends Core.Health {
  /** Peers that direct datagrams do not reach now, and which other ways do. */
  readonly routes: ReadonlyArray<Routes.Route>
  /** Members that die and come back again and again: better not relied upon for a while. */
  readonly quarantined: ReadonlyArray<Flaps.Quarantined>
}

export interface Options {
  readonly self: Member.Identity
  readonly params: Params.Params
  readonly seed: number
  /** Monotonic milliseconds at the start. */
  readonly now: number
  /** Encoded size of one part with its length prefix (`Packet.sizeOf`). */
  readonly sizeOf: (message: Message.Message) => number
  /** Bytes of header and envelopes around the parts of one datagram. */
  readonly packetOverhead: number
  /** Shared by several machines of one process (the simulator), so that identities are stored once. */
  readonly identities?: Identities.Identities | undefined
  /** Expected number of members. */
  readonly capacity?: number | undefined
}

const judgeAfter = 250

/** The first output of `SetTimer` comes with the first step: give `TimerFired` once to start. */
export const make = (options: Options): Swim => {
  const core = Core.make(options)
  const { params, random } = core
  Core.timer(core, Prng.float(random) * params.probeInterval, Core.Kind.probe)
  Core.timer(core, Math.min(60_000, params.tombstoneRetention / 4), Core.Kind.reap)
  Recovery.schedulePushPull(core)
  Recovery.scheduleDead(core, true)
  return core
}

/** Ourselves first, then everybody known, the dead and the left included. */
export const members = (self: Swim): Array<Member.Member> => {
  const all = [Core.selfMember(self)]
  Members.forEach(self.table, (row) => all.push(Members.member(self.table, row)))
  return all
}

export const self = (core: Swim): Member.Member => Core.selfMember(core)

export const member = (core: Swim, id: Member.MemberId): Member.Member | undefined => {
  if (id === core.self.id) return Core.selfMember(core)
  const row = Members.find(core.table, id)
  return row < 0 ? undefined : Members.member(core.table, row)
}

export const item = (core: Swim, key: string): Uint8Array | undefined => core.items.get(key)?.value

export const items = (core: Swim): ReadonlyArray<{ readonly key: string; readonly value: Uint8Array }> => [
  ...core.items.values()
]

export const health = (core: Swim): Health => ({
  ...Core.health(core),
  routes: Routes.all(core),
  quarantined: Flaps.quarantined(core)
})

/** What another run needs to start from (`Restore`). */
export const saved = (core: Swim): Array<Message.State> => {
  const states: Array<Message.State> = []
  Members.forEach(core.table, (row) => states.push(Rumor.state(core, row)))
  return states
}

/** Advances the machine and appends what it wants done. */
export const step = (core: Swim, input: Input, out: Array<Output>): void => {
  core.out = out
  if (input.now > core.now) core.now = input.now
  shiftWhenLate(core)
  switch (input._tag) {
    case "Received": {
      for (const message of input.messages) receive(core, message, input.from)
      Core.flushReply(core, input.from)
      break
    }
    case "Drained": {
      runTimers(core)
      judge(core)
      break
    }
    case "TimerFired": {
      core.wake = Infinity
      runTimers(core)
      break
    }
    case "StreamOpened": {
      Sync.onOpened(core, input.stream, input.remote, input.initiator)
      break
    }
    case "StreamReceived": {
      const stream = core.streams.get(input.stream)
      if (stream === undefined) break
      for (const message of input.messages) onStream(core, stream, message)
      // Answers to what a stream said go to the stream's peer by datagram only when it is a member's address.
      core.reply.length = 0
      break
    }
    case "StreamClosed": {
      onStreamClosed(core, input.stream, input.error)
      break
    }
    case "Command": {
      command(core, input.command)
      break
    }
  }
  if (core.healed !== undefined) Recovery.heal(core)
  if (core.settle) Recovery.settle(core)
  dropPointless(core)
  const first = Timers.first(core.timers)
  if (first !== core.wake) {
    core.wake = first
    out.push({ _tag: "SetTimer", at: first })
  }
}

/** Nobody is woken for the timeout of a ping that was answered, nor for a suspicion's deadline that has moved. */
const dropPointless = (core: Core.Core): void => {
  for (let timer = Timers.peek(core.timers); timer !== undefined; timer = Timers.peek(core.timers)) {
    if (timer.kind === Core.Kind.probeTimeout) {
      if (core.probes.get(timer.a)?.acked === false) return
    } else if (timer.kind !== Core.Kind.suspicion || core.suspicions.get(timer.a)?.timer === timer.b) return
    Timers.due(core.timers, Infinity)
  }
}

/** We were stopped or starved: nobody else's silence during that time counts. Comes before anything sets new timers. */
const shiftWhenLate = (core: Core.Core): void => {
  const late = core.now - Timers.first(core.timers)
  if (late <= core.params.lateness) return
  Timers.shift(core.timers, late)
  Suspicion.shift(core, late)
  Probe.shift(core, late)
}

const runTimers = (core: Core.Core): void => {
  for (let timer = Timers.due(core.timers, core.now); timer !== undefined; timer = Timers.due(core.timers, core.now)) {
    fire(core, timer)
  }
  if (core.verdicts.length === 0 && core.judging.length === 0) return
  if (!core.params.drainThenJudge) return judge(core)
  if (core.judgeSet) return
  core.judgeSet = true
  Core.timer(core, judgeAfter, Core.Kind.judge)
}

const fire = (core: Core.Core, timer: Timers.Timer): void => {
  const { Kind } = Core
  switch (timer.kind) {
    case Kind.probe:
      return Probe.onTick(core)
    case Kind.probeTimeout:
      return Probe.onTimeout(core, timer.a, (probe) => streamPing(core, probe))
    case Kind.extraEnd:
      return Probe.onExtraEnd(core, timer.a)
    case Kind.nack:
      return Probe.onNackTimer(core, timer.a)
    case Kind.relayEnd: {
      core.relays.delete(timer.a)
      return
    }
    case Kind.suspicion:
      return Suspicion.onTimer(core, timer.a, timer.b, { ask: (suspicion) => Probe.ask(core, suspicion) })
    case Kind.judge: {
      core.judgeSet = false
      return judge(core)
    }
    case Kind.gossip:
      return Spread.onTick(core)
    case Kind.eager:
      return Spread.onEager(core)
    case Kind.pushPull:
      return Recovery.onPushPull(core, timer.a)
    case Kind.recovery:
      return Recovery.onDead(core, timer.a)
    case Kind.stream:
      return onStreamTimeout(core, timer.a)
    case Kind.leave:
      return Leaving.onTimer(core)
    case Kind.reap:
      Broadcasts.reap(core)
      Direct.reap(core)
      Routes.reap(core)
      Flaps.reap(core)
      return Recovery.reap(core)
    case Kind.repair:
      return Broadcasts.onRepair(core)
    case Kind.direct:
      return Direct.onTimer(core)
    case Kind.join:
      return Recovery.onJoinTimer(core, timer.a)
  }
}

/** Everything received has been processed: now silence means something. */
const judge = (core: Core.Core): void => {
  Probe.judge(core)
  if (core.verdicts.length === 0) return
  for (const suspicion of core.verdicts.splice(0)) {
    // Refuted, replaced or removed meanwhile.
    if (core.suspicions.get(suspicion.row) !== suspicion || core.status === "left") continue
    const { id } = Members.identity(core.table, suspicion.row)
    const { bootId, incarnation } = suspicion
    Rumor.claim(core, { id, bootId, incarnation }, "dead", { spread: true })
    if (core.params.eagerDelay > 0) Core.tellAll(core, { _tag: "Dead", id, bootId, incarnation, from: core.self.id })
    Recovery.scheduleDead(core, true)
  }
}

const streamPing = (core: Core.Core, probe: Core.Probe): void => {
  const { address } = Members.identity(core.table, probe.row)
  probe.stream = Sync.open(core, { purpose: "ping", address, argument: probe.seq })?.id ?? 0
}

/** One part of a datagram. */
const receive = (core: Core.Core, message: Message.Message, from: Member.Address): void => {
  switch (message._tag) {
    case "Ping":
      return onPing(core, message, from)
    case "PingReq":
      return Probe.onPingReq(core, message, from)
    case "Ack": {
      const row = core.probes.get(message.seq)?.row
      Probe.onAck(core, message.seq, from)
      if (row !== undefined) Recovery.compare(core, message.digest, row)
      return
    }
    case "Nack":
      return Probe.onNack(core, message.seq)
    case "Alive":
      return Rumor.introduce(core, { ...message, status: "alive" }, { from, spread: true, message })
    case "State":
      return Rumor.introduce(core, message, { from, spread: true, since: core.now - message.age })
    case "Suspect":
      return onSuspect(core, message, from)
    case "Dead": {
      const dead = core.table.counts[2]
      Rumor.claim(core, message, "dead", { from, spread: true }, message.from)
      if (core.table.counts[2] > dead) Recovery.scheduleDead(core, true)
      return
    }
    case "Left":
      return onLeft(core, message, from)
    case "LeftAck":
      return Leaving.onAck(core, message.bootId, message.from)
    case "Ask":
      return onAsk(core, message, from)
    case "Who": {
      if (core.status === "alive") Core.reply(core, Core.selfAlive(core))
      return
    }
    case "Item": {
      Items.learn(core, message, true)
      return
    }
    case "Broadcast":
      return Broadcasts.receive(core, message)
    case "Skip":
      return Broadcasts.onSkip(core, message)
    case "Want":
      return Broadcasts.onWant(core, message)
    case "Have":
      return Broadcasts.onHave(core, message)
    case "Direct":
      return Direct.receive(core, message, from)
    case "DirectAck":
      return Direct.onAck(core, message)
    default:
      return Core.reject(core, "unexpected-in-datagram", from)
  }
}

/** A ping shows who pings: the dead are told, strangers are asked who they are. */
const onPing = (core: Core.Core, message: Message.Ping, from: Member.Address): void => {
  if (message.target !== core.self.id) return Core.reject(core, "ping-for-another", from)
  Core.reply(core, { _tag: "Ack", seq: message.seq, digest: Core.digest(core) })
  for (const have of Broadcasts.heads(core)) Core.reply(core, have)
  if (message.from === core.self.id) return
  if (core.status === "left") return Core.reply(core, Core.selfLeft(core))
  const row = Members.find(core.table, message.from)
  const known = row >= 0 && Members.identity(core.table, row).bootId === message.bootId
  if (known && Members.status(core.table, row) === "alive") return Recovery.compare(core, message.digest, row)
  if (!Core.mayAnswer(core, from)) return
  Core.reply(core, known ? Rumor.stateOf(core, row) : { _tag: "Who" })
}

const onSuspect = (core: Core.Core, message: Message.Suspect, from: Member.Address): void => {
  const before = core.generation
  Rumor.claim(core, message, "suspect", { from, spread: true }, message.from)
  if (core.generation === before) return
  const row = Members.find(core.table, message.id)
  if (row >= 0 && core.suspicions.get(row)?.accusers.length === 1) Probe.maybeConfirm(core, row)
}

const onLeft = (core: Core.Core, message: Message.Left, from: Member.Address): void => {
  Rumor.claim(core, message, "left", { from, spread: true })
  const row = Members.find(core.table, message.id)
  if (row < 0 || Members.status(core.table, row) !== "left") return
  const { address, bootId } = Members.identity(core.table, row)
  // From the leaver itself: it waits for our word.
  if (bootId === message.bootId && Member.sameAddress(address, from)) {
    Core.reply(core, { _tag: "LeftAck", bootId, from: core.self.id })
  }
}

/** Somebody is about to declare a member dead: what is higher here saves it. Whoever has not heard of the accusation
 * passes it on, so that the accused itself can answer. */
const onAsk = (core: Core.Core, message: Message.Ask, from: Member.Address): void => {
  if (message.id === core.self.id) {
    if (message.bootId === core.self.bootId) Rumor.refute(core, message.incarnation, from)
    return
  }
  const row = Members.find(core.table, message.id)
  if (row < 0) return
  const known = Members.member(core.table, row)
  if (known.bootId !== message.bootId) return Core.reply(core, Rumor.stateOf(core, row))
  const asked = { incarnation: message.incarnation, status: "suspect" } as const
  if (Member.compareState(known, asked) > 0) return Core.reply(core, Rumor.stateOf(core, row))
  onSuspect(core, { ...message, _tag: "Suspect" }, from)
}

const onStream = (core: Core.Core, stream: Core.Stream, message: Message.Message): void => {
  if (!core.streams.has(stream.id)) return
  if (message._tag === "Ping" && !stream.initiator) {
    if (message.target !== core.self.id) return Sync.close(core, stream)
    const ack: Message.Message = { _tag: "Ack", seq: message.seq, digest: Core.digest(core) }
    core.out.push({ _tag: "StreamSend", stream: stream.id, messages: [ack], end: true })
    return
  }
  if (message._tag === "Ack" && stream.purpose === "ping") {
    Probe.onAck(core, message.seq, undefined)
    return Sync.close(core, stream)
  }
  if (!Sync.receive(core, stream, message)) return
  if (!stream.initiator) return
  if (stream.purpose === "join" && !stream.sent) Recovery.onJoinPulled(core, stream)
  if (stream.equal) Sync.close(core, stream)
  stream.reported = true
  Recovery.onOutcome(core, stream, undefined)
}

const onStreamClosed = (core: Core.Core, id: number, error: string | undefined): void => {
  const stream = core.streams.get(id)
  if (stream === undefined) return
  core.streams.delete(id)
  if (stream.initiator && !stream.reported) Recovery.onOutcome(core, stream, error ?? "closed")
}

const onStreamTimeout = (core: Core.Core, id: number): void => {
  const stream = core.streams.get(id)
  if (stream === undefined) return
  Sync.close(core, stream)
  if (stream.initiator && !stream.reported) Recovery.onOutcome(core, stream, "timeout")
}

const command = (core: Core.Core, input: Command): void => {
  switch (input._tag) {
    case "Join":
      return Recovery.join(core, input.seeds, input.limit)
    case "Leave": {
      Leaving.start(core)
      return Recovery.farewell(core)
    }
    case "SetMeta": {
      if (input.meta.length > Member.maxMeta) return Core.reject(core, "oversized-metadata")
      core.self = { ...core.self, meta: input.meta.slice() }
      core.incarnation++
      return Rumor.announce(core)
    }
    case "SetItem": {
      Items.learn(core, { _tag: "Item", key: input.key, value: input.value.slice() }, true)
      return
    }
    case "Broadcast":
      return Broadcasts.publish(core, input)
    case "Send":
      return Direct.send(core, input)
    case "Restore": {
      for (const state of input.states) {
        // Restored lives are hearsay: they have to show themselves, and never stand above a known death.
        const row = Members.find(core.table, state.id)
        if (row >= 0 || state.id === core.self.id) continue
        Rumor.introduce(core, state, { spread: false, since: core.now - state.age })
      }
      return
    }
  }
}
