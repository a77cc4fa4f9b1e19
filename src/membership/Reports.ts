/** What the outside hears of the core's events: subscribers, logs, and those who wait for a moment.
 *
 * Job: one log line per change of state, with a constant message and the values as annotations.
 * Boundary: which events there are is the core's. Nothing here is called per packet. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type * as Member from "../swim/Member.ts"
import type * as Swim from "../swim/Swim.ts"
import type { Changes } from "./Changes.ts"
import type { SeedReports } from "./Discovery.ts"
import type { Counters } from "./Metrics.ts"
import { formatAddress } from "./Transport.ts"

/** Moments that others wait for. A dead loop fails all of them with its cause. */
export interface Signals {
  readonly ready: Deferred.Deferred<void>
  readonly left: Deferred.Deferred<void>
  /** the loops are over, for whatever reason */
  readonly ended: Deferred.Deferred<void>
  /** fails with the member that has our name */
  readonly conflict: Deferred.Deferred<never, Member.Member>
}

export const makeSignals: Effect.Effect<Signals> = Effect.gen(function*() {
  return {
    ready: yield* Deferred.make<void>(),
    left: yield* Deferred.make<void>(),
    ended: yield* Deferred.make<void>(),
    conflict: yield* Deferred.make<never, Member.Member>()
  }
})

/** Tells subscribers; runs inside the core's step. */
export const publish = (changes: Changes, counters: Counters, event: Swim.Event): void => {
  switch (event._tag) {
    case "Suspected":
      counters.suspicionsRaised++
      return changes.publish(event)
    case "Refuted":
      counters.suspicionsRefuted++
      return changes.publish(event)
    case "Failed":
      counters.suspicionsConfirmed++
      return changes.publish(event)
    case "Joined":
    case "Updated":
    case "Left":
    case "Replaced":
    case "ItemChanged":
      return changes.publish(event)
    case "Delivered":
    case "Received":
    case "Sent":
    case "NameConflict":
    case "LeaveDone":
    case "JoinDone":
    case "JoinRetry":
      return
  }
}

/** One log line per change of state, and the signals that others wait for. */
export const report = (
  event: Swim.Event,
  signals: Signals,
  reports: SeedReports,
  now: number
): Effect.Effect<unknown> => {
  switch (event._tag) {
    case "Joined":
      return Effect.annotateLogs(Effect.logInfo("Member joined"), describe(event.member))
    case "Updated":
      return Effect.annotateLogs(Effect.logInfo("Member updated"), describe(event.member))
    case "Suspected":
      return Effect.annotateLogs(Effect.logWarning("Member suspected"), describe(event.member))
    case "Refuted":
      return Effect.annotateLogs(Effect.logInfo("Suspicion refuted"), describe(event.member))
    case "Failed":
      return Effect.annotateLogs(Effect.logWarning("Member failed"), describe(event.member))
    case "Left":
      return Effect.annotateLogs(Effect.logInfo("Member left"), describe(event.member))
    case "Replaced":
      return Effect.annotateLogs(Effect.logInfo("Member replaced"), describe(event.member))
    case "ItemChanged":
      return Effect.annotateLogs(Effect.logDebug("Item changed"), { key: event.key })
    case "NameConflict":
      return Effect.andThen(
        Effect.annotateLogs(Effect.logError("Name taken by an older member"), describe(event.other)),
        Deferred.fail(signals.conflict, event.other)
      )
    case "LeaveDone":
      return Effect.andThen(
        Effect.annotateLogs(Effect.logInfo("Left the cluster"), { acknowledged: event.acknowledged }),
        Deferred.succeed(signals.left, undefined)
      )
    case "JoinDone":
      return Effect.andThen(
        Effect.annotateLogs(Effect.logInfo("Joined the cluster"), { contacted: event.contacted }),
        Deferred.succeed(signals.ready, undefined)
      )
    case "JoinRetry": {
      const seed = formatAddress(event.seed)
      if (!reports.due(seed, now)) return Effect.void
      return Effect.annotateLogs(Effect.logWarning("Seed cannot be reached, retrying"), { seed, error: event.error })
    }
    case "Delivered":
    case "Received":
    case "Sent":
      return Effect.void
  }
}

/** Something that a peer sent was refused. */
export const refused = (reason: string, from: Member.Address): Effect.Effect<void> =>
  Effect.annotateLogs(Effect.logWarning("Refused what a peer sent"), { reason, from: formatAddress(from) })

const describe = (member: Member.Member) => ({
  member: member.id,
  address: formatAddress(member.address),
  incarnation: member.incarnation
})
