/** The commands that only look: members, status, functions.
 *
 * Boundary: asks one node and prints; `Report` decides how it reads. With --json the node's answer is printed as it came. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Schema from "effect/Schema"
import * as Client from "./Client.ts"
import { CommandError } from "./Failure.ts"
import * as Report from "./Report.ts"
import { Session } from "./Session.ts"
import type * as Table from "./Table.ts"

export interface Flags {
  readonly server: string | undefined
  readonly json: boolean
}

/** The style of text for this session's stdout. */
export const style = (session: Session["Service"]): Table.Style => ({
  color: session.terminal.color,
  width: session.terminal.interactive ? session.terminal.columns() || undefined : undefined
})

/** A reply of the administration, decoded. */
export const decode = <A, I>(
  schema: Schema.Codec<A, I>,
  value: unknown,
  what: string
): Effect.Effect<A, CommandError> =>
  Effect.mapError(
    Schema.decodeUnknownEffect(schema)(value),
    (error) =>
      new CommandError({
        message: `the answer to ${what} has another shape than expected: ${error.message.split("\n", 1)[0]}`,
        remedy: "The node may be of another release; use --json to see its answer as it is."
      })
  )

const ask = <A, I>(
  path: string,
  schema: Schema.Codec<A, I>,
  render: (value: A, style: Table.Style) => string
) =>
  Effect.fn("Query.ask")(function*(flags: Flags) {
    const session = yield* Session
    const server = yield* Client.serverUrl(flags.server, session.env)
    const value = yield* Client.json(server, { method: "GET", path })
    if (flags.json) return yield* session.print(`${Formatter.formatJson(value, { space: 2 })}\n`)
    const decoded = yield* decode(schema, value, path)
    yield* session.print(`${render(decoded, style(session))}\n`)
  })

export const members = ask("/system/members", Report.Members, Report.members)
export const status = ask("/system/status", Report.Status, Report.status)
export const functions = ask("/system/functions", Report.Functions, Report.functions)
