/** The members that a node knew, kept in its folder from one run to the next.
 *
 * Boundary: `wire/Saved` is the format, `Store` the disk; what a saved member means is the membership's. A file that
 * cannot be read is as good as none: seeds lead back to the cluster too. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Store from "../cluster/Store.ts"
import type { Membership } from "../membership/Membership.ts"
import * as Saved from "../wire/Saved.ts"

const path = "membership/members"
const every = "30 seconds"

/** What the last run has saved. */
export interface Loaded {
  readonly bytes: Uint8Array
  /** Some of them may still live. */
  readonly living: boolean
}

export const load: Effect.Effect<Loaded | undefined, never, Store.Store> = Effect.gen(function*() {
  const store = yield* Store.Store
  const file = yield* store.read(path)
  if (Option.isNone(file)) return undefined
  const bytes = Option.getOrUndefined(Store.unseal(file.value))
  const saved = bytes === undefined ? Result.fail("the file is damaged") : Saved.decode(bytes)
  if (bytes === undefined || Result.isFailure(saved)) {
    const problem = Result.isFailure(saved) ? saved.failure : ""
    yield* Effect.annotateLogs(Effect.logWarning("Saved members cannot be used"), { problem })
    return undefined
  }
  return { bytes, living: saved.success.states.some(({ status }) => status === "alive" || status === "suspect") }
}).pipe(
  Effect.catch((error) =>
    Effect.as(
      Effect.annotateLogs(Effect.logWarning("Saved members cannot be read"), { problem: error.message }),
      undefined
    )
  )
)

/** Saves them now; a full disk is logged and stops nothing. */
export const save = (membership: Membership["Service"]): Effect.Effect<void, never, Store.Store> =>
  Effect.gen(function*() {
    const store = yield* Store.Store
    yield* store.replace(path, Store.seal(yield* membership.saved))
  }).pipe(
    Effect.catch((error) =>
      Effect.annotateLogs(Effect.logWarning("Members cannot be saved"), { problem: error.message })
    )
  )

/** Saves them again and again. */
export const keep = (membership: Membership["Service"]): Effect.Effect<never, never, Store.Store> =>
  Effect.forever(Effect.andThen(Effect.sleep(every), save(membership)))
