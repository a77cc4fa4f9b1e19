/** The command that moves the master: `shoal handover --to NODE`.
 *
 * Boundary: asks one node, which finds the master; how it is done is the cluster's. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Schema from "effect/Schema"
import * as Client from "./Client.ts"
import { UsageError } from "./Failure.ts"
import * as Query from "./Query.ts"
import { Session } from "./Session.ts"

export interface Flags extends Query.Flags {
  readonly to: string | undefined
}

const Done = Schema.Struct({
  from: Schema.NullOr(Schema.String),
  to: Schema.String,
  epoch: Schema.Finite,
  tookMs: Schema.Finite,
  closedMs: Schema.Finite
})

/** Longer than the cluster's own deadline for it. */
const patience = "20 seconds"

export const handover = Effect.fn("Handover.handover")(function*(flags: Flags) {
  const session = yield* Session
  const { to } = flags
  if (to === undefined || to === "") {
    return yield* new UsageError({ message: "--to: name the member that is to be master, as `shoal members` lists it" })
  }
  const server = yield* Client.serverUrl(flags.server, session.env)
  if (!flags.json && session.terminal.interactive) yield* session.complain(`handing over to ${to} ...\n`)
  const value = yield* Client.json(server, {
    method: "POST",
    path: "/system/handover",
    body: Formatter.formatJson({ to }),
    contentType: "application/json"
  }, patience)
  if (flags.json) return yield* session.print(`${Formatter.formatJson(value, { space: 2 })}\n`)
  const done = yield* Query.decode(Done, value, "/system/handover")
  yield* session.print(
    `${done.to} is master in reign ${done.epoch}, handed over by ${
      done.from ?? "nobody"
    } in ${done.tookMs} ms; writes waited ${done.closedMs} ms\n`
  )
})
