/** One wake-up at a time.
 *
 * Job: calls `ring` at or after the armed moment, never before it. Arming a later moment costs nothing: the sleeper
 * wakes early, the owner finds nothing due and arms again; only an earlier moment starts a new sleeper.
 * Boundary: the moment itself is judged by the owner, who reads the clock. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Scope from "effect/Scope"

export interface Alarm {
  /** Rings at `at` (monotonic milliseconds); `Infinity` disarms. */
  readonly arm: (at: number) => Effect.Effect<void>
}

export const make = (options: {
  readonly clock: Clock.Clock
  readonly scope: Scope.Scope
  readonly ring: () => void
}): Alarm => {
  const { clock, ring, scope } = options
  let wakesAt = Infinity
  let sleeper: Fiber.Fiber<void> | undefined
  const sleep = (at: number) =>
    Effect.sleep(Math.max(0, Math.ceil(at - monotonicMillis(clock)))).pipe(
      Effect.andThen(Effect.sync(() => {
        wakesAt = Infinity
        sleeper = undefined
        ring()
      }))
    )
  return {
    arm: (at) => {
      if (at >= wakesAt) return Effect.void
      return Effect.suspend(() => {
        sleeper?.interruptUnsafe()
        wakesAt = at
        return Effect.map(Effect.forkIn(sleep(at), scope), (fiber) => {
          sleeper = fiber
        })
      })
    }
  }
}

const nanosPerMilli = 1e6

/** The monotonic clock in milliseconds, with fractions. */
export const monotonicMillis = (clock: Clock.Clock): number => Number(clock.monotonicTimeNanosUnsafe()) / nanosPerMilli
