/** The data plane of a node, opened and closed with its scope: executor and gateway, and where their log lines go. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type * as Executor from "../functions/Executor.ts"
import type * as Link from "../functions/Link.ts"
import * as ExecutorPool from "./executor/ExecutorPool.ts"
import * as Gateway from "./gateway/Gateway.ts"
import type { NodeConfig } from "./NodeConfig.ts"
import type { Security } from "./NodeSecurity.ts"

export const make = Effect.fnUntraced(function*(options: {
  readonly config: NodeConfig
  readonly bootId: number
  readonly port: Link.GatewayPort
  readonly security: Pick<Security, "authorized" | "tcp">
}): Effect.fn.Return<Gateway.Gateway, Gateway.ListenError, Scope.Scope> {
  const { bootId, config, port, security } = options
  const context = yield* Effect.context<never>()
  const say = Effect.runForkWith(context)
  const executor = yield* Effect.acquireRelease(
    Effect.sync(() => ExecutorPool.make({ spares: config.spares ?? 2, onLog: (line) => void say(written(line)) })),
    (pool) => Effect.promise(() => pool.close())
  )
  return yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () =>
        Gateway.makeGateway({
          http: config.http,
          data: config.data,
          self: { id: config.name, bootId, label: config.label },
          executor,
          link: port,
          tcp: security.tcp,
          authorized: security.authorized,
          log: ({ fields, level, message }) => void say(Effect.annotateLogs(levels[level](message), fields))
        }),
      catch: (error) => Schema.is(Gateway.ListenError)(error) ? error : unexpected(config, error)
    }),
    (gateway) => Effect.promise(() => gateway.close())
  )
})

const levels = {
  debug: Effect.logDebug,
  info: Effect.logInfo,
  warn: Effect.logWarning,
  error: Effect.logError
} as const

/** A line that a function wrote. */
const written = ({ callId, dropped, instance, level, name, text, version }: Executor.Log): Effect.Effect<void> =>
  Effect.annotateLogs(levels[level]("a function wrote a line"), {
    function: name,
    version,
    instance,
    ...(callId === undefined ? {} : { callId }),
    ...(dropped === 0 ? {} : { dropped }),
    text
  })

const unexpected = (config: NodeConfig, error: unknown): Gateway.ListenError =>
  new Gateway.ListenError({
    reason: "failed",
    listener: "http",
    ...config.http,
    message: error instanceof Error ? error.message : String(error)
  })
