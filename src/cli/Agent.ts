/** `shoal agent`: membership only. Joins, prints what changes, keeps a members file current, leaves when it is ended.
 *
 * Boundary: `NodeSettings` judges the flags that `shoal up` has too, `src/node` is the member. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as References from "effect/References"
import * as Result from "effect/Result"
import type { Change } from "../membership/Changes.ts"
import * as Agent from "../node/Agent.ts"
import * as MembersFile from "../node/MembersFile.ts"
import type { Member } from "../swim/Member.ts"
import { CommandError, UsageError } from "./Failure.ts"
import * as KeyOption from "./KeyOption.ts"
import * as NodeSettings from "./NodeSettings.ts"
import { Session } from "./Session.ts"
import { configuration, logger, severities } from "./Up.ts"

export interface AgentFlags extends NodeSettings.Flags, KeyOption.Flags {
  readonly config: string | undefined
  readonly json: boolean
}

export const agent = Effect.fn("Agent.agent")(function*(flags: AgentFlags) {
  const session = yield* Session
  const { env, home, hostname, version } = session
  const file = yield* configuration(flags.config ?? env["SHOAL_CONFIG"])
  const keys = yield* KeyOption.read(flags, env, file?.values)
  const resolved = NodeSettings.resolve({ flags, env, file, hostname, home, version, keyed: keys.length > 0 })
  if (Result.isFailure(resolved)) return yield* new UsageError({ message: resolved.failure })
  const config = {
    ...resolved.success,
    keys,
    dataDir: NodeSettings.isGiven({ flags, env, file }, "dataDir") ? resolved.success.dataDir : undefined
  }
  yield* session.forget(["SHOAL_KEY"], flags.key !== undefined)
  yield* session.serving
  const print = flags.json
    ? (event: Line) => session.print(`${Formatter.formatJson(event)}\n`)
    : (event: Line) => session.print(`${sentence(event)}\n`)
  const hooks: Agent.Hooks = {
    onReady: ({ gossip, name }) => print({ event: "ready", name, gossip }),
    onChange: (change) => Effect.forEach(lines(change), print, { discard: true })
  }
  yield* Agent.run(config, hooks).pipe(
    Effect.mapError(({ message }) => new CommandError({ message: `${config.name} cannot run: ${message}` })),
    Effect.provideService(References.MinimumLogLevel, severities[config.logLevel]),
    Effect.provide(logger)
  )
})

type Shown = ReturnType<typeof MembersFile.describe>

type Line =
  | { readonly event: "ready"; readonly name: string; readonly gossip: string }
  | { readonly event: "known" | "joined" | "updated" | "suspected" | "refuted" | "failed" | "left" | "replaced" }
    & Shown

const events = {
  Joined: "joined",
  Updated: "updated",
  Suspected: "suspected",
  Refuted: "refuted",
  Failed: "failed",
  Left: "left",
  Replaced: "replaced"
} as const

const line = (event: Exclude<Line["event"], "ready">, member: Member): Line => ({
  event,
  ...MembersFile.describe(member)
})

/** What is printed of one change; after an overflow everybody is told again. */
const lines = (change: Change): ReadonlyArray<Line> => {
  if (change._tag === "Snapshot") return change.members.map((member) => line("known", member))
  if (change._tag === "ItemChanged") return []
  return [line(events[change._tag], change.member)]
}

const sentence = (event: Line): string =>
  event.event === "ready"
    ? `${event.name} is ready: gossip ${event.gossip}`
    : `${event.event.padEnd(9)} ${event.id} ${event.address} ${event.status}`
