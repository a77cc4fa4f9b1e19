/** What the membership counts, and the metrics that show it.
 *
 * Job: plain numbers that the actor increments, and one registration that lets exporters read them: nothing is paid per
 * packet, everything is read at the scrape.
 * Boundary: no per-member labels. Several members in one process give their context `Metric.CurrentMetricAttributes`
 * or a `Metric.MetricRegistry` of its own; otherwise the last one registered is shown. */
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import type { Status } from "../swim/Member.ts"
import type { Health } from "../swim/Swim.ts"

/** Numbers since the layer was built. */
export interface Statistics {
  readonly datagramsIn: number
  readonly datagramsOut: number
  readonly bytesIn: number
  readonly bytesOut: number
  /** datagrams lost in this process because its receive buffer was full */
  readonly datagramsDropped: number
  /** datagrams that the system did not take, by reason */
  readonly datagramsUnsent: Readonly<Record<string, number>>
  /** how often the datagram socket was opened again */
  readonly socketsReopened: number
  readonly streamsAccepted: number
  readonly streamsDialed: number
  readonly streamsOpen: number
  readonly streamsFailed: number
  readonly suspicionsRaised: number
  readonly suspicionsRefuted: number
  readonly suspicionsConfirmed: number
  /** snapshots sent to readers of changes that were too slow */
  readonly resyncs: number
  /** user messages given to readers */
  readonly messagesDelivered: number
  /** user messages that nobody here reads */
  readonly messagesSkipped: number
  /** turns of the actor */
  readonly turns: number
  /** inputs waiting in the mailbox */
  readonly mailbox: number
  /** what was refused, by reason */
  readonly rejected: Readonly<Record<string, number>>
}

const nothing = () => {}

/** The counters behind `Statistics`; only the actor's side writes them. */
export class Counters {
  datagramsIn = 0
  datagramsOut = 0
  bytesIn = 0
  bytesOut = 0
  streamsAccepted = 0
  streamsDialed = 0
  streamsFailed = 0
  suspicionsRaised = 0
  suspicionsRefuted = 0
  suspicionsConfirmed = 0
  messagesDelivered = 0
  messagesSkipped = 0
  turns = 0
  readonly rejected = new Map<string, number>()
  readonly unsent = new Map<string, number>()
  /** called with the round-trip time of each answered ping, milliseconds */
  onRoundTrip: (millis: number) => void = nothing
  /** called when a reason is counted for the first time */
  onReason: (reason: string) => void = nothing

  /** Counts one refusal; reasons beyond the first 64 are counted together. */
  reject(reason: string): void {
    const known = this.rejected.get(reason)
    if (known !== undefined) {
      this.rejected.set(reason, known + 1)
      return
    }
    if (this.rejected.size >= reasonsKept && reason !== otherReason) return this.reject(otherReason)
    this.rejected.set(reason, 1)
    this.onReason(reason)
  }
}

const unsentReasons = ["too-large", "unreachable", "refused", "forbidden", "no-address", "closed", "unknown"]
const reasonsKept = 64
const otherReason = "other"

export const members = Metric.gauge("shoal_members", { description: "Members known, by state" })
export const suspicions = Metric.counter("shoal_suspicions_total", {
  description: "Suspicions this node learned of, by outcome",
  incremental: true
})
export const datagrams = Metric.counter("shoal_datagrams_total", {
  description: "Gossip datagrams, by direction",
  incremental: true
})
export const datagramBytes = Metric.counter("shoal_datagram_bytes_total", {
  description: "Bytes of gossip datagrams, by direction",
  incremental: true
})
export const datagramsDropped = Metric.counter("shoal_datagrams_dropped_total", {
  description: "Datagrams lost because the receive buffer was full",
  incremental: true
})
export const datagramsUnsent = Metric.counter("shoal_datagrams_unsent_total", {
  description: "Datagrams that the system did not take, by reason",
  incremental: true
})
export const socketsReopened = Metric.counter("shoal_sockets_reopened_total", {
  description: "How often the datagram socket failed and was opened again",
  incremental: true
})
export const rejected = Metric.counter("shoal_membership_rejected_total", {
  description: "Inputs from the network that were refused, by reason",
  incremental: true
})
export const streams = Metric.counter("shoal_membership_streams_total", {
  description: "State exchange streams, by kind",
  incremental: true
})
export const messages = Metric.counter("shoal_messages_total", {
  description: "User messages that arrived, by outcome",
  incremental: true
})
export const mailbox = Metric.gauge("shoal_membership_mailbox", { description: "Inputs waiting for the actor" })
export const gossipQueue = Metric.gauge("shoal_gossip_queue", {
  description: "News waiting to be passed on, by kind"
})
export const score = Metric.gauge("shoal_membership_health_score", {
  description: "Lifeguard's local health: 0 is healthy, more is slower"
})
export const detours = Metric.gauge("shoal_membership_detours", {
  description: "Peers that direct datagrams do not reach, by what does: relays, streams, nothing"
})
export const failures = Metric.counter("shoal_membership_loops_died_total", {
  description: "Loops of the membership that ended by a defect",
  incremental: true
})
export const probeRtt = Metric.histogram("shoal_probe_rtt_milliseconds", {
  description: "Round-trip times of answered pings",
  boundaries: [0.25, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
})

/** What the scrape reads. */
export interface Sources {
  readonly counters: Counters
  readonly membersByStatus: () => Readonly<Record<Status, number>>
  readonly mailbox: () => number
  readonly health: () => Health
  readonly dropped: () => number
  readonly reopened: () => number
}

/** Shows the counters as metrics until the scope closes. */
export const register = Effect.fnUntraced(function*(sources: Sources): Effect.fn.Return<void, never, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const registrations: Array<Metric.Registration> = []
  const { counters } = sources
  const count = (
    metric: Metric.Counter<number>,
    attributes: Record<string, string>,
    read: () => number
  ) => {
    registrations.push(
      Metric.registerUnsafe(Metric.withAttributes(metric, attributes), context, {
        get: () => ({ count: read(), incremental: true }),
        update: nothing,
        modify: nothing
      })
    )
  }
  const gauge = (metric: Metric.Gauge<number>, attributes: Record<string, string>, read: () => number) => {
    registrations.push(
      Metric.registerUnsafe(Metric.withAttributes(metric, attributes), context, {
        get: () => ({ value: read() }),
        update: nothing,
        modify: nothing
      })
    )
  }
  for (const status of ["alive", "suspect", "dead", "left"] as const) {
    gauge(members, { status }, () => sources.membersByStatus()[status])
  }
  count(datagrams, { direction: "in" }, () => counters.datagramsIn)
  count(datagrams, { direction: "out" }, () => counters.datagramsOut)
  count(datagramBytes, { direction: "in" }, () => counters.bytesIn)
  count(datagramBytes, { direction: "out" }, () => counters.bytesOut)
  count(datagramsDropped, {}, sources.dropped)
  count(socketsReopened, {}, sources.reopened)
  for (const reason of unsentReasons) count(datagramsUnsent, { reason }, () => counters.unsent.get(reason) ?? 0)
  count(suspicions, { outcome: "raised" }, () => counters.suspicionsRaised)
  count(suspicions, { outcome: "refuted" }, () => counters.suspicionsRefuted)
  count(suspicions, { outcome: "confirmed" }, () => counters.suspicionsConfirmed)
  count(streams, { kind: "accepted" }, () => counters.streamsAccepted)
  count(streams, { kind: "dialed" }, () => counters.streamsDialed)
  count(streams, { kind: "failed" }, () => counters.streamsFailed)
  count(messages, { outcome: "delivered" }, () => counters.messagesDelivered)
  count(messages, { outcome: "skipped" }, () => counters.messagesSkipped)
  count(messages, { outcome: "missed" }, () => sources.health().broadcastsMissed)
  gauge(mailbox, {}, sources.mailbox)
  gauge(score, {}, () => sources.health().score)
  const routes = (by: "relays" | "streams" | "nothing") =>
    sources.health().routes.filter(({ relayed, stream }) =>
      by === (relayed ? "relays" : stream ? "streams" : "nothing")
    ).length
  for (const by of ["relays", "streams", "nothing"] as const) gauge(detours, { by }, () => routes(by))
  gauge(gossipQueue, { kind: "updates" }, () => sources.health().updatesQueued)
  gauge(gossipQueue, { kind: "broadcasts" }, () => sources.health().broadcastsQueued)
  const showReason = (reason: string) => count(rejected, { reason }, () => counters.rejected.get(reason) ?? 0)
  for (const reason of counters.rejected.keys()) showReason(reason)
  counters.onReason = showReason
  counters.onRoundTrip = (millis) => probeRtt.updateUnsafe(millis, context)
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      counters.onReason = nothing
      counters.onRoundTrip = nothing
      for (const registration of registrations) registration.remove()
    })
  )
})
