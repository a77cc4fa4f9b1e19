/** With what a client command proves that it may administrate: the token of the cluster's key.
 *
 * Boundary: commands without a key send nothing; the token goes to `/system/*` alone, never to a function. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { CommandError, UsageError } from "./Failure.ts"
import type * as KeyOption from "./KeyOption.ts"
import { Session } from "./Session.ts"

/** The token to send, if any. */
export const Credentials: Context.Reference<string | undefined> = Context.Reference<string | undefined>(
  "shoal/cli/Credentials",
  { defaultValue: () => undefined }
)

/** Runs a command with the token of the key that was given to it. Without one no cryptography is loaded. */
export const authorized = <A, E, R>(
  flags: KeyOption.Flags,
  command: Effect.Effect<A, E, R>
): Effect.Effect<A, E | CommandError | UsageError, R | Session> =>
  Effect.gen(function*() {
    const { env } = yield* Session
    const given = [flags.key, flags.keyFile, env["SHOAL_KEY"], env["SHOAL_KEY_FILE"]]
    if (given.every((text) => text === undefined || text === "")) return yield* command
    const { tokenOf } = yield* Effect.promise(() => import("./KeyToken.ts"))
    return yield* Effect.provideService(command, Credentials, yield* tokenOf(flags, env))
  })
