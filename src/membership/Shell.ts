/** The loops of one member: what runs between the pure core and the network.
 *
 * Job: opens the sockets, runs the actor, the reader, the sender, the acceptor and the sleeper, performs what the actor
 * left for the end of its turn, and supervises: the first loop that dies ends all of them, visibly.
 * Boundary: `Actor` translates, `Membership` is the face. Invariants: M5. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import * as Member from "../swim/Member.ts"
import * as Swim from "../swim/Swim.ts"
import * as Envelope from "../wire/Envelope.ts"
import * as Packet from "../wire/Packet.ts"
import * as Saved from "../wire/Saved.ts"
import * as StreamFrame from "../wire/StreamFrame.ts"
import { Actor, type Mail } from "./Actor.ts"
import * as Alarm from "./Alarm.ts"
import { Changes } from "./Changes.ts"
import { Complaints } from "./Complaints.ts"
import { type Config, InvalidConfig, WireCodec } from "./Config.ts"
import * as Discovery from "./Discovery.ts"
import { Keyring } from "./Keyring.ts"
import * as LastingDatagrams from "./LastingDatagrams.ts"
import { Messages } from "./Messages.ts"
import * as Metrics from "./Metrics.ts"
import * as Reports from "./Reports.ts"
import * as Sealing from "./Sealing.ts"
import { Streams } from "./Streams.ts"
import * as Transport from "./Transport.ts"

/** What `Membership` shows of a running member. */
export interface Shell {
  readonly swim: Swim.Swim
  readonly changes: Changes
  readonly counters: Metrics.Counters
  readonly statistics: () => Metrics.Statistics
  readonly messages: Messages
  readonly post: (mail: Mail) => Effect.Effect<void>
  /** Gives a command to the core and waits for its answer: undefined, or why it refused; "stopped" when it is gone. */
  readonly ask: (command: Swim.Command) => Effect.Effect<string | undefined>
  readonly signals: Reports.Signals
  /** Stops all loops, after what is queued was sent; idempotent. */
  readonly stop: Effect.Effect<void>
}

/** Polling for further datagrams before a suspicion is judged: at most so many turns ... */
const maxDrainTurns = 100
/** ... and this long. */
const maxDrainMs = 250
/** Batches that wait for a slow socket; beyond it the oldest are lost like datagrams. */
const maxUnsentBatches = 256
/** How long the last batches may take when the membership stops. */
const flushMs = 500
/** How long closing the sockets may take. */
const closeMs = 1000
/** Tries to find one port that is free for datagrams and streams. */
const portTries = 16

export const make = Effect.fnUntraced(function*(config: Config) {
  const clock = yield* Clock.Clock
  const transport = yield* Transport.Transport
  const running = yield* Scope.make()
  yield* Effect.addFinalizer(() => close(running))
  const sockets = yield* open(transport, config).pipe(Scope.provide(running))
  const mailbox = yield* Queue.bounded<Mail, Cause.Done>(config.mailbox)
  const post = postTo(mailbox)
  const counters = new Metrics.Counters()
  const { complain, packet, ...framed } = yield* wire(config, transport, clock)
  const streams = new Streams({
    transport,
    ...framed,
    complain,
    counters,
    scope: running,
    maxStreams: config.params.maxStreams,
    maxBytes: config.maxStreamBytes,
    timeoutMs: config.params.streamTimeout,
    openTimeoutMs: config.dialTimeoutMs,
    post
  })
  const swim = yield* machine(config, clock, packet, sockets.address)
  const changes = new Changes({
    capacity: config.changesBuffer,
    snapshot: () => ({ _tag: "Snapshot", members: Swim.members(swim), items: Swim.items(swim) })
  })
  const messages = new Messages(counters)
  const actor = new Actor({
    swim,
    packet,
    streams,
    counters,
    publish: (event) => {
      messages.publish(event)
      Reports.publish(changes, counters, event)
    }
  })
  const signals = yield* Reports.makeSignals
  yield* contact(config, { clock, post, signals, self: Swim.self(swim).address })
  const stop = yield* launch({
    actor,
    changes,
    clock,
    complain,
    counters,
    mailbox,
    messages,
    post,
    running,
    signals,
    sockets,
    streams
  })
  const shell: Shell = {
    swim,
    changes,
    counters,
    messages,
    post,
    ask: ask(mailbox, signals),
    signals,
    stop,
    statistics: () => ({
      ...numbers(counters),
      datagramsDropped: sockets.datagrams.dropped(),
      socketsReopened: sockets.datagrams.reopened(),
      streamsOpen: streams.open,
      resyncs: changes.resyncs,
      mailbox: Queue.sizeUnsafe(mailbox)
    })
  }
  yield* show(shell, mailbox, sockets)
  return shell
})

/** Shows the numbers of a shell as metrics. */
const show = (
  { counters, swim }: Shell,
  mailbox: Queue.Queue<Mail, Cause.Done>,
  { datagrams }: Sockets
): Effect.Effect<void, never, Scope.Scope> =>
  Metrics.register({
    counters,
    membersByStatus: () => countByStatus(swim),
    mailbox: () => Queue.sizeUnsafe(mailbox),
    health: () => Swim.health(swim),
    dropped: datagrams.dropped,
    reopened: datagrams.reopened
  })

/** After a loop died the mailbox carries its cause: whoever posts hears of it. After a stop mail is ignored. */
const postTo = (mailbox: Queue.Queue<Mail, Cause.Done>): Shell["post"] => (mail) =>
  Effect.flatMap(
    Queue.offer(mailbox, mail),
    (taken) => taken ? Effect.void : Effect.asVoid(Queue.clear(mailbox))
  )

/** Tells the core whom to contact; without anybody the member is ready. */
const contact = Effect.fnUntraced(function*(
  config: Config,
  { clock, post, self, signals }: {
    readonly clock: Clock.Clock
    readonly post: Shell["post"]
    readonly self: Member.Address
    readonly signals: Reports.Signals
  }
) {
  const restored = yield* restore(config, clock, post)
  const alone = [...config.seeds, ...restored].every((seed) => Member.sameAddress(seed, self))
  if (alone) yield* Deferred.succeed(signals.ready, undefined)
  else if (config.seeds.length > 0) yield* post({ _tag: "Command", command: { _tag: "Join", seeds: config.seeds } })
})

/** What goes around packets and in front of streams, and who hears of what does not fit. */
const wire = Effect.fnUntraced(function*(
  config: Config,
  transport: Transport.Transport["Service"],
  clock: Clock.Clock
) {
  const codec = yield* WireCodec
  const label = Envelope.label(config.label)
  const complaints = new Complaints()
  return {
    packet: Sealing.around(Packet.make(codec), yield* sealingOf(label, transport)),
    framing: Sealing.greeted(StreamFrame.make(codec), label),
    greeting: Envelope.greeting(label),
    complain: (reason: string, from: Member.Address): Effect.Effect<void> =>
      complaints.due(from.host, Alarm.monotonicMillis(clock)) ? Reports.refused(reason, from) : Effect.void
  }
})

/** Saved members that are contacted; the core takes up to 64 seeds. */
const maxContacts = 32

/** Gives the core what an earlier run has saved; returns whom it contacts. */
const restore = Effect.fnUntraced(function*(config: Config, clock: Clock.Clock, post: Shell["post"]) {
  if (config.restore === undefined) return []
  const { rejoinFor, tombstoneRetention } = config.params
  const { contacts, tombstones } = Saved.restore(config.restore, {
    now: clock.currentTimeMillisUnsafe(),
    retention: tombstoneRetention,
    maxContacts
  })
  yield* post({ _tag: "Command", command: { _tag: "Restore", states: tombstones } })
  if (contacts.length === 0) return contacts
  yield* post({ _tag: "Command", command: { _tag: "Join", seeds: contacts, limit: rejoinFor } })
  return contacts
})

interface Parts {
  readonly actor: Actor
  readonly changes: Changes
  readonly clock: Clock.Clock
  readonly complain: (reason: string, from: Member.Address) => Effect.Effect<void>
  readonly counters: Metrics.Counters
  readonly mailbox: Queue.Queue<Mail, Cause.Done>
  readonly messages: Messages
  readonly post: (mail: Mail) => Effect.Effect<void>
  readonly running: Scope.Closeable
  readonly signals: Reports.Signals
  readonly sockets: Sockets
  readonly streams: Streams
}

/** Starts the loops under supervision; the result stops them. */
const launch = Effect.fnUntraced(function*(parts: Parts): Effect.fn.Return<Effect.Effect<void>, never, Scope.Scope> {
  const { changes, clock, mailbox, messages, post, running, signals, sockets, streams } = parts
  const { datagrams, listener } = sockets
  const outbox = yield* Queue.sliding<NonEmptyReadonlyArray<Transport.Outgoing>, Cause.Done>(maxUnsentBatches)
  const alarm = Alarm.make({ clock, scope: running, ring: () => Queue.offerUnsafe(mailbox, { _tag: "Wake" }) })
  yield* post({ _tag: "Wake" }) // the first turn starts the core
  const loops = yield* FiberSet.make<void, Transport.TransportError>().pipe(Scope.provide(running))
  yield* FiberSet.run(loops, turns({ ...parts, alarm, outbox }))
  yield* FiberSet.run(loops, read(datagrams, post))
  const sender = yield* FiberSet.run(loops, send(datagrams, outbox, parts.counters))
  yield* FiberSet.run(loops, listener.run((socket, remote) => streams.accept(socket, remote)))
  yield* supervise(loops, parts)
  const ended = Effect.sync(() => {
    changes.end(done)
    messages.end(done)
    Deferred.doneUnsafe(signals.ended, Effect.void)
  })
  yield* Effect.addFinalizer(() => ended)
  return yield* Effect.cached(
    Queue.end(mailbox).pipe(
      Effect.andThen(Queue.end(outbox)),
      Effect.andThen(Fiber.await(sender)),
      Effect.timeoutOption(flushMs),
      Effect.andThen(close(running)),
      Effect.andThen(ended)
    )
  )
})

const done = Cause.fail(Cause.Done())

/** A command that waits for its answer; when the loops are gone nobody answers any more. */
const ask = (mailbox: Queue.Queue<Mail, Cause.Done>, signals: Reports.Signals): Shell["ask"] => (command) =>
  Effect.suspend(() => {
    const answered = Deferred.makeUnsafe<string | undefined>()
    const answer = (refused: string | undefined) => void Deferred.doneUnsafe(answered, Effect.succeed(refused))
    return Effect.flatMap(
      Queue.offer(mailbox, { _tag: "Command", command, answer }),
      (taken) =>
        taken
          ? Effect.raceFirst(Deferred.await(answered), Effect.as(Deferred.await(signals.ended), "stopped"))
          : Effect.succeed("stopped")
    )
  })

/** Closes the sockets and loops; whatever does not end within its time goes on without anybody waiting for it. */
const close = (running: Scope.Closeable): Effect.Effect<void> =>
  Effect.forkDetach(Scope.close(running, Exit.void), { startImmediately: true }).pipe(
    Effect.flatMap((closing) => Effect.interruptible(Effect.timeoutOption(Fiber.await(closing), closeMs))),
    Effect.asVoid
  )

/** How packets are sealed: by the `Keyring` in the context, in clear without one. */
const sealingOf = Effect.fnUntraced(function*(label: Envelope.Label, transport: Transport.Transport["Service"]) {
  const keyring = yield* Effect.serviceOption(Keyring)
  if (keyring._tag === "None") return Sealing.clear(label)
  if (transport.secured !== true) {
    return yield* new InvalidConfig({
      field: "transport",
      problem: "its streams are open, which a cluster key forbids"
    })
  }
  return Sealing.sealed({ label, ...keyring.value })
})

/** The core, with its identity and seed drawn from Effect's `Random`. */
const machine = Effect.fnUntraced(function*(
  config: Config,
  clock: Clock.Clock,
  packet: Packet.Packet,
  bound: Member.Address
) {
  const { advertise } = config
  return Swim.make({
    self: {
      id: config.name,
      bootId: config.bootId ?? (yield* Random.nextIntBetween(1, Member.maxBootId)),
      startedAt: clock.currentTimeMillisUnsafe(),
      address: advertise === undefined ? bound : { host: advertise.host, port: advertise.port || bound.port },
      meta: config.metadata.slice()
    },
    params: config.params,
    seed: yield* Random.nextIntBetween(0, 0xffffffff),
    now: Alarm.monotonicMillis(clock),
    sizeOf: packet.sizeOf,
    packetOverhead: packet.overhead
  })
})

interface Sockets {
  readonly datagrams: LastingDatagrams.LastingDatagrams
  readonly listener: Transport.Listener
  readonly address: Member.Address
}

/** Opens datagrams and streams on one port; with port 0 on one that is free for both. */
const open = Effect.fnUntraced(function*(
  transport: Transport.Transport["Service"],
  config: Config
): Effect.fn.Return<Sockets, Transport.TransportError, Scope.Scope> {
  const scope = yield* Effect.scope
  for (let attempt = 1;; attempt++) {
    const both = yield* Scope.fork(scope)
    const exit = yield* Effect.exit(
      Effect.gen(function*() {
        const datagrams = yield* LastingDatagrams.open(transport, config.bind)
        // the address that was bound: one IP for both, also where the setting is a name
        const listener = yield* transport.listen(datagrams.address)
        return { datagrams, listener, address: datagrams.address }
      }).pipe(Scope.provide(both))
    )
    if (Exit.isSuccess(exit)) return exit.value
    yield* Scope.close(both, exit)
    const error = Exit.findErrorOption(exit)
    const taken = error._tag === "Some" && error.value.reason === "AddressInUse"
    if (!(taken && config.bind.port === 0 && attempt < portTries)) return yield* exit
  }
})

/** Reads datagrams into the mailbox; while that is full, the socket's own buffer fills and drops. */
const read = (
  datagrams: Transport.Datagrams,
  post: (mail: Mail) => Effect.Effect<void>
): Effect.Effect<never, Transport.TransportError> =>
  datagrams.pull.pipe(
    Effect.flatMap((batch) => post({ _tag: "Datagrams", batch })),
    Effect.forever({ disableYield: true })
  )

/** Sends what each turn produced, so that a slow socket never delays the actor. */
const send = (
  datagrams: Transport.Datagrams,
  outbox: Queue.Dequeue<NonEmptyReadonlyArray<Transport.Outgoing>, Cause.Done>,
  counters: Metrics.Counters
): Effect.Effect<void> =>
  Queue.take(outbox).pipe(
    Effect.flatMap(datagrams.sendAll),
    Effect.catchTag("NotSent", ({ count, reason }) =>
      Effect.sync(() => {
        counters.unsent.set(reason, (counters.unsent.get(reason) ?? 0) + count)
      })),
    Effect.forever({ disableYield: true }),
    Effect.catchTag("Done", () => Effect.void)
  )

const ended: ReadonlyArray<Mail> = []

interface Loop extends Parts {
  readonly alarm: Alarm.Alarm
  readonly outbox: Queue.Enqueue<NonEmptyReadonlyArray<Transport.Outgoing>, Cause.Done>
}

/** The actor's fiber: waits for mail, takes all of it, then does what came out. */
const turns = Effect.fnUntraced(function*(loop: Loop): Effect.fn.Return<void> {
  const { actor, clock, counters, mailbox } = loop
  const reports = new Discovery.SeedReports()
  while (true) {
    const mails = yield* Effect.catchTag(Queue.takeAll(mailbox), "Done", () => Effect.succeed(ended))
    if (mails.length === 0) return
    counters.turns++
    const now = Alarm.monotonicMillis(clock)
    actor.take(mails, now)
    if (actor.fire(now)) {
      yield* perform(loop, reports)
      yield* drain(loop, now)
    }
    yield* perform(loop, reports)
  }
})

/** Takes mail until one poll turn brought no datagram, then lets the core judge its suspicions. */
const drain = Effect.fnUntraced(function*(loop: Loop, start: number): Effect.fn.Return<void> {
  const { actor, clock, mailbox } = loop
  let now = start
  for (let turn = 0; turn < maxDrainTurns && now - start < maxDrainMs; turn++) {
    yield* Effect.yieldNow // one turn of the event loop: the kernel's datagrams reach the mailbox
    const mails = yield* Queue.clear(mailbox)
    now = Alarm.monotonicMillis(clock)
    if (actor.take(mails, now) === 0) break
  }
  actor.drained(now)
})

/** Does what the turn asked for. */
const perform = Effect.fnUntraced(function*(loop: Loop, reports: Discovery.SeedReports): Effect.fn.Return<void> {
  const { actor, alarm, clock, outbox, signals, streams } = loop
  const [first, ...rest] = actor.datagrams
  if (first !== undefined) {
    actor.datagrams = []
    Queue.offerUnsafe(outbox, [first, ...rest])
  }
  if (actor.dials.length > 0) {
    const dials = actor.dials
    actor.dials = []
    for (const { stream, to } of dials) yield* streams.dial(stream, to)
  }
  if (actor.events.length > 0) {
    const events = actor.events
    actor.events = []
    for (const event of events) yield* Reports.report(event, signals, reports, Alarm.monotonicMillis(clock))
  }
  if (actor.refused.length > 0) {
    const refused = actor.refused
    actor.refused = []
    for (const { from, reason } of refused) yield* loop.complain(reason, from)
  }
  yield* alarm.arm(actor.timerAt)
})

/** Ends everything, visibly, when a loop dies. */
const supervise = Effect.fnUntraced(function*(
  loops: FiberSet.FiberSet<void, Transport.TransportError>,
  { changes, mailbox, messages, running, signals }: Parts
) {
  const died = Effect.fnUntraced(function*(cause: Cause.Cause<Transport.TransportError>) {
    if (Cause.hasInterruptsOnly(cause)) return // stopped
    yield* Effect.logFatal("Membership died", cause)
    yield* Metric.update(Metrics.failures, 1)
    const defect = Cause.die(Cause.squash(cause))
    yield* Deferred.failCause(signals.ready, defect)
    yield* Deferred.failCause(signals.left, defect)
    changes.end(defect)
    messages.end(defect)
    yield* Deferred.succeed(signals.ended, undefined)
    Queue.failCauseUnsafe(mailbox, defect)
    yield* Deferred.failCause(signals.conflict, defect)
    yield* close(running)
  })
  yield* Effect.forkScoped(Effect.catchCause(FiberSet.join(loops), died))
})

const numbers = (counters: Metrics.Counters) => ({
  datagramsIn: counters.datagramsIn,
  datagramsOut: counters.datagramsOut,
  bytesIn: counters.bytesIn,
  bytesOut: counters.bytesOut,
  streamsAccepted: counters.streamsAccepted,
  streamsDialed: counters.streamsDialed,
  streamsFailed: counters.streamsFailed,
  suspicionsRaised: counters.suspicionsRaised,
  suspicionsRefuted: counters.suspicionsRefuted,
  suspicionsConfirmed: counters.suspicionsConfirmed,
  messagesDelivered: counters.messagesDelivered,
  messagesSkipped: counters.messagesSkipped,
  turns: counters.turns,
  rejected: Object.fromEntries(counters.rejected),
  datagramsUnsent: Object.fromEntries(counters.unsent)
})

const countByStatus = (swim: Swim.Swim): Record<Member.Status, number> => {
  const counts = { alive: 0, suspect: 0, dead: 0, left: 0 }
  for (const member of Swim.members(swim)) counts[member.status]++
  return counts
}
