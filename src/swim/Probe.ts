/** Probing: shuffled round robin, direct ping, relays with the time left, nacks, verdict at the end of the interval.
 *
 * PURE. Boundary: finds out whether a member answers; what a failure means is `Rumor.claim`, the score `Awareness`.
 * Rules: MEMBERSHIP 1 and 2. Invariants: M3 (order in `Members.nextProbe`; one regular probe per stretched interval). */
import * as Awareness from "./Awareness.ts"
import * as Core from "./Core.ts"
import * as Member from "./Member.ts"
import * as Members from "./Members.ts"
import type * as Message from "./Message.ts"
import * as Prng from "./Prng.ts"
import * as Routes from "./Routes.ts"
import * as Rumor from "./Rumor.ts"
import * as Suspicion from "./Suspicion.ts"

const maxRelays = 1024
const maxExtra = 16
/** A nack leaves at this share of the time the asker has left. */
const nackAt = 0.8

const interval = (core: Core.Core): number => core.params.probeInterval * Awareness.factor(core.awareness)
const timeout = (core: Core.Core): number => core.params.probeTimeout * Awareness.factor(core.awareness)

/** The suspect hears of its suspicion first, with every ping, also from relays. */
const withAccusation = (core: Core.Core, row: number, ping: Message.Ping): ReadonlyArray<Message.Message> => {
  const suspicion = core.suspicions.get(row)
  return suspicion === undefined ? [ping] : [ping, Suspicion.message(core, suspicion)]
}

const ping = (core: Core.Core, seq: number, target: Member.MemberId): Message.Ping => ({
  _tag: "Ping",
  seq,
  target,
  from: core.self.id,
  bootId: core.self.bootId,
  digest: Core.digest(core)
})

const begin = (core: Core.Core, row: number, regular: boolean): Core.Probe => {
  const target = Members.identity(core.table, row)
  const probe: Core.Probe = {
    seq: Core.nextSeq(core),
    row,
    bootId: target.bootId,
    incarnation: Members.incarnation(core.table, row),
    regular,
    sentAt: core.now,
    interval: interval(core),
    timeout: timeout(core),
    acked: false,
    direct: false,
    late: false,
    relayed: false,
    streamed: false,
    relays: [],
    nacks: 0,
    stream: 0
  }
  core.probes.set(probe.seq, probe)
  Core.send(core, target.address, withAccusation(core, row, ping(core, probe.seq, target.id)))
  Core.timer(core, probe.timeout, Core.Kind.probeTimeout, probe.seq)
  return probe
}

/** The end of one interval and the begin of the next. */
export const onTick = (core: Core.Core): void => {
  finish(core)
  if (core.status === "alive") {
    const row = Members.nextProbe(core.table, core.random)
    if (row >= 0) core.current = begin(core, row, true)
  }
  Core.timer(core, core.current?.interval ?? interval(core), Core.Kind.probe)
}

const finish = (core: Core.Core): void => {
  const probe = core.current
  core.current = undefined
  if (probe === undefined) return
  if (probe.acked) succeed(core, probe)
  else core.judging.push(probe)
}

const succeed = (core: Core.Core, probe: Core.Probe): void => {
  core.probes.delete(probe.seq)
  if (!probe.regular) return
  Routes.note(core, probe)
  Awareness.apply(core.awareness, -1)
  Awareness.record(core.awareness, !probe.direct)
}

/** Checks a suspect out of turn, so that a confirmation does not wait for its place in the round. */
export const extra = (core: Core.Core, row: number): void => {
  let running = 0
  for (const probe of core.probes.values()) {
    if (probe.row === row) return
    if (!probe.regular) running++
  }
  if (running >= maxExtra) return
  const probe = begin(core, row, false)
  Core.timer(core, probe.interval, Core.Kind.extraEnd, probe.seq)
}

export const onExtraEnd = (core: Core.Core, seq: number): void => {
  const probe = core.probes.get(seq)
  if (probe === undefined) return
  if (probe.acked) succeed(core, probe)
  else core.judging.push(probe)
}

const relays = (core: Core.Core): number =>
  Awareness.isLossy(core.awareness) ? core.params.relaysUnderLoss : core.params.relays

const relayed: Array<number> = []

/** No answer in time: relays, and a ping over a stream beside them. */
export const onTimeout = (core: Core.Core, seq: number, openStream: (probe: Core.Probe) => void): void => {
  const probe = core.probes.get(seq)
  if (probe === undefined || probe.acked || !stands(core, probe)) return
  const target = Members.identity(core.table, probe.row)
  relayed.length = 0
  Members.sample(core.table, core.random, {
    count: relays(core),
    accept: (row) => row !== probe.row && !core.suspicions.has(row),
    into: relayed
  })
  const left = Math.max(1, Math.round(probe.sentAt + probe.interval - core.now))
  for (const row of relayed) {
    probe.relays.push(row)
    Core.send(core, Members.identity(core.table, row).address, [{
      _tag: "PingReq",
      seq,
      target: target.id,
      address: target.address,
      from: core.self.id,
      left
    }])
  }
  if (core.params.streamPing) openStream(probe)
}

/** The probe is still about the run it began with, and that run is still active. */
const stands = (core: Core.Core, probe: Core.Probe): boolean =>
  Members.isActive(core.table, probe.row) && Members.identity(core.table, probe.row).bootId === probe.bootId

/** Judges the failed probes; called once everything received has been processed. */
export const judge = (core: Core.Core): void => {
  if (core.judging.length === 0) return
  const judging = core.judging.splice(0)
  for (const probe of judging) {
    if (probe.acked) {
      succeed(core, probe)
      continue
    }
    core.probes.delete(probe.seq)
    if (core.status !== "alive" || !stands(core, probe)) continue
    if (probe.regular) {
      Routes.note(core, probe)
      Awareness.record(core.awareness, true)
      Awareness.apply(core.awareness, penalty(core, probe))
    }
    const target = Members.identity(core.table, probe.row)
    const incarnation = Math.max(probe.incarnation, Members.incarnation(core.table, probe.row))
    // A refutation that came meanwhile is a sign of life: the failed probe says nothing about it.
    if (incarnation > probe.incarnation) continue
    Rumor.claim(core, { id: target.id, bootId: probe.bootId, incarnation }, "suspect", { spread: true })
  }
}

/** Silence of all relays that should have answered speaks against us; without relays the failure itself does. One nack in
 * time shows that we hear and are heard: then missing ones are the fault of their relays, of which several may have died
 * together. */
const penalty = (core: Core.Core, probe: Core.Probe): number => {
  if (!core.params.nacks || probe.relays.length === 0) return 1
  let expected = 0
  for (const row of probe.relays) if (Members.isActive(core.table, row) && !core.suspicions.has(row)) expected++
  return probe.nacks > 0 ? 0 : expected
}

/** An answer to a ping of ours, direct or through a relay, or to one made for somebody else; `from` is undefined where it
 * came over a stream. */
export const onAck = (core: Core.Core, seq: number, from: Member.Address | undefined): void => {
  const relay = core.relays.get(seq)
  if (relay !== undefined) {
    if (relay.acked) return
    relay.acked = true
    return Core.send(core, relay.origin, [{ _tag: "Ack", seq: relay.originSeq, digest: Core.digest(core) }])
  }
  const probe = core.probes.get(seq)
  if (probe === undefined) return
  if (core.now - probe.sentAt > probe.timeout) remember(core, probe, from)
  if (probe.acked) return
  probe.acked = true
  // Relays are asked only after the timeout.
  probe.direct = core.now - probe.sentAt <= probe.timeout
}

/** By which way an answer came after the timeout. */
const remember = (core: Core.Core, probe: Core.Probe, from: Member.Address | undefined): void => {
  if (from === undefined) probe.streamed = true
  else if (!Members.has(core.table, probe.row)) return
  else if (Member.sameAddress(from, Members.identity(core.table, probe.row).address)) probe.late = true
  else probe.relayed = true
}

/** A late wake-up is not the peers' fault. */
export const shift = (core: Core.Core, by: number): void => {
  for (const probe of core.probes.values()) probe.sentAt += by
}

export const onNack = (core: Core.Core, seq: number): void => {
  const probe = core.probes.get(seq)
  if (probe !== undefined && probe.nacks < probe.relays.length) probe.nacks++
}

/** Somebody asks us to ping for it. */
export const onPingReq = (core: Core.Core, message: Message.PingReq, from: Member.Address): void => {
  if (core.relays.size >= maxRelays) return Core.reject(core, "too-many-relays", from)
  const seq = Core.nextSeq(core)
  core.relays.set(seq, { origin: from, originSeq: message.seq, acked: false })
  const row = Members.find(core.table, message.target)
  Core.send(core, message.address, withAccusation(core, row, ping(core, seq, message.target)))
  if (core.params.nacks) Core.timer(core, message.left * nackAt, Core.Kind.nack, seq)
  Core.timer(core, message.left * 2, Core.Kind.relayEnd, seq)
}

export const onNackTimer = (core: Core.Core, seq: number): void => {
  const relay = core.relays.get(seq)
  if (relay !== undefined && !relay.acked) Core.send(core, relay.origin, [{ _tag: "Nack", seq: relay.originSeq }])
}

const asked: Array<number> = []

/** One interval before a suspicion fires: the suspect once more, and a few who may know better. */
export const ask = (core: Core.Core, suspicion: Core.Suspicion): void => {
  const { row } = suspicion
  const suspect = Members.identity(core.table, row)
  Core.send(core, suspect.address, withAccusation(core, row, ping(core, Core.nextSeq(core), suspect.id)))
  asked.length = 0
  const count = Math.max(1, relays(core))
  Members.sample(core.table, core.random, { count, accept: (other) => other !== row, into: asked })
  for (const other of asked) {
    Core.send(core, Members.identity(core.table, other).address, [{
      _tag: "Ask",
      id: suspect.id,
      bootId: suspicion.bootId,
      incarnation: suspicion.incarnation,
      from: core.self.id
    }])
  }
}

/** On first hearing of a suspicion about K + 1 of the members check it themselves. */
export const maybeConfirm = (core: Core.Core, row: number): void => {
  if (!core.params.confirmProbes || core.status !== "alive") return
  const suspicion = core.suspicions.get(row)
  const others = Core.living(core) - 2
  if (suspicion === undefined || suspicion.needed === 0 || others < 1) return
  if (Prng.float(core.random) * others < suspicion.needed + 1) extra(core, row)
}
