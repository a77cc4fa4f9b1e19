/** `shoal up`: one node in this process, until it is asked to leave.
 *
 * Says one line when it takes requests. With --die-with-parent (for `shoal dev`) it also leaves when stdin ends, so that
 * no node outlives the process that started it.
 * Boundary: `NodeSettings` judges the flags, `src/node` is the node. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Logger from "effect/Logger"
import type { LogLevel } from "effect/LogLevel"
import * as References from "effect/References"
import * as Result from "effect/Result"
import { readFile } from "node:fs/promises"
import { CommandError, UsageError } from "./Failure.ts"
import * as KeyOption from "./KeyOption.ts"
import * as NodeSettings from "./NodeSettings.ts"
import { type Ready, Session } from "./Session.ts"

export interface UpFlags extends NodeSettings.Flags, KeyOption.Flags {
  readonly config: string | undefined
  readonly json: boolean
  readonly dieWithParent: boolean
}

/** One line per entry, `key=value`, on stderr. */
export const logger = Logger.layer([Logger.withConsoleError(Logger.formatLogFmt)])

export const severities = {
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error",
  none: "None"
} as const satisfies Record<NodeSettings.LogLevel, LogLevel>

/** A node whose parent is gone has nobody to wait for it: it may say goodbye, but not for long. */
const orphanLimit = "2 seconds"

export const up = Effect.fn("Up.up")(function*(flags: UpFlags) {
  const session = yield* Session
  const { env, home, hostname, version } = session
  const file = yield* configuration(flags.config ?? env["SHOAL_CONFIG"])
  const keys = yield* KeyOption.read(flags, env, file?.values)
  const resolved = NodeSettings.resolve({ flags, env, file, hostname, home, version, keyed: keys.length > 0 })
  if (Result.isFailure(resolved)) return yield* new UsageError({ message: resolved.failure })
  const config = { ...resolved.success, keys }
  yield* session.forget(["SHOAL_KEY"], flags.key !== undefined)
  const node = yield* session.loadNode
  yield* session.serving
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const say = (ready: Ready) => {
    const line = flags.json ? Formatter.formatJson({ event: "ready", ...ready }) : describe(ready)
    fork(session.print(`${line}\n`))
  }
  const running = node.run(config, say).pipe(
    Effect.mapError(({ message }) => new CommandError({ message: `${config.name} cannot run: ${message}` })),
    Effect.provideService(References.MinimumLogLevel, severities[config.logLevel]),
    Effect.provide(logger)
  )
  yield* flags.dieWithParent ? Effect.raceFirst(running, orphaned(session)) : running
})

export const configuration = (path: string | undefined) =>
  Effect.gen(function*() {
    if (path === undefined || path === "") return undefined
    const text = yield* Effect.tryPromise({
      try: () => readFile(path, "utf8"),
      catch: () => new CommandError({ message: `the configuration file ${path} does not exist or cannot be read` })
    })
    const file = NodeSettings.parseFile(path, text)
    return Result.isSuccess(file) ? file.success : yield* new UsageError({ message: file.failure })
  })

const describe = (ready: Ready): string =>
  `${ready.name} is ready: gossip ${ready.gossip}, http ${withScheme(ready.http)}`

const withScheme = (address: string): string => address.startsWith("http") ? address : `http://${address}`

const orphaned = (session: Session["Service"]): Effect.Effect<void> =>
  Effect.andThen(
    session.parentGone,
    Effect.forkDetach(Effect.andThen(Effect.sleep(orphanLimit), session.abandon))
  )
