/** The commands that change what a cluster runs: deploy, remove, leave.
 *
 * Boundary: bundles here, so that a file that does not compile never reaches a node; everything else is the node's. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Client from "./Client.ts"
import { CommandError, UsageError } from "./Failure.ts"
import type { Flags } from "./Query.ts"
import * as Query from "./Query.ts"
import * as Report from "./Report.ts"
import { Session } from "./Session.ts"

export interface DeployFlags extends Flags {
  readonly path: string
  readonly name: string | undefined
  readonly env: ReadonlyArray<string>
  readonly timeout: string | undefined
  readonly memory: string | undefined
  readonly concurrency: string | undefined
  readonly instances: string | undefined
}

export interface Bundle {
  readonly name: string
  readonly code: Uint8Array
}

/** What a node says about a deploy it acknowledged. */
export const Deployed = Schema.Struct({
  name: Schema.String,
  version: Schema.String,
  nodes: Schema.optional(Schema.Unknown)
})
export type Deployed = typeof Deployed.Type

/** Compiles and bundles a file or folder. A failure carries the compiler's place, `file:line:column`. */
export const bundle = Effect.fn("Deploy.bundle")(function*(path: string) {
  const session = yield* Session
  const bundler = yield* session.loadBundler
  const { code } = yield* Effect.mapError(bundler.bundle(path), ({ message }) => new CommandError({ message }))
  const bundle: Bundle = { name: bundler.nameOf(path), code }
  return bundle
})

export interface Wanted {
  readonly bundle: Bundle
  readonly name: string
  readonly env: Readonly<Record<string, string>>
  readonly limits: Readonly<Record<string, number>>
}

/** Hands a bundle to a node; done when the cluster has acknowledged it. */
export const send = Effect.fn("Deploy.send")(function*(server: URL, wanted: Wanted) {
  const body = Formatter.formatJson({
    service: wanted.name,
    bundle: Buffer.from(wanted.bundle.code).toString("base64"),
    ...(Object.keys(wanted.env).length === 0 ? {} : { env: wanted.env }),
    ...(Object.keys(wanted.limits).length === 0 ? {} : { limits: wanted.limits })
  })
  const request = { method: "POST", path: "/system/functions", body, contentType: "application/json" } as const
  const value = yield* Client.json(server, request, "30 seconds")
  return { value, deployed: yield* Query.decode(Deployed, value, "the deploy") }
})

export const deploy = Effect.fn("Deploy.deploy")(function*(flags: DeployFlags) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const env = yield* envOf(flags.env)
  const limits = yield* limitsOf(flags)
  const built = yield* bundle(flags.path)
  const { deployed, value } = yield* send(server, { bundle: built, name: flags.name ?? built.name, env, limits })
  if (flags.json) return yield* session.print(`${Formatter.formatJson(value, { space: 2 })}\n`)
  const url = new URL(`/function/${deployed.name}`, server)
  yield* session.print(
    `deployed ${deployed.name} (${
      Report.shortVersion(deployed.version)
    }, ${built.code.byteLength} bytes)\n${url.href}\n`
  )
})

export const remove = Effect.fn("Deploy.remove")(function*(flags: Flags & { readonly name: string }) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const body = Formatter.formatJson({ functionName: flags.name })
  const reply = yield* Client.call(server, {
    method: "DELETE",
    path: "/system/functions",
    body,
    contentType: "application/json"
  })
  yield* Client.accepted(server, { method: "DELETE", path: "/system/functions" }, reply)
  yield* session.print(
    flags.json ? `${Formatter.formatJson({ name: flags.name, removed: true })}\n` : `removed ${flags.name}\n`
  )
})

export const leave = Effect.fn("Deploy.leave")(function*(flags: Flags) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const request = { method: "POST", path: "/system/leave" } as const
  yield* Client.accepted(server, request, yield* Client.call(server, request))
  yield* session.print(
    flags.json
      ? `${Formatter.formatJson({ server: server.origin, leaving: true })}\n`
      : `the node at ${server.host} leaves\n`
  )
})

const envOf = (given: ReadonlyArray<string>): Effect.Effect<Record<string, string>, UsageError> => {
  const env: Record<string, string> = {}
  for (const text of given) {
    const match = /^([A-Za-z_][A-Za-z0-9_]*)=([\s\S]*)$/.exec(text)
    if (match === null) return Effect.fail(new UsageError({ message: `--env: "${text}" is not NAME=VALUE` }))
    env[match[1] ?? ""] = match[2] ?? ""
  }
  return Effect.succeed(env)
}

const limitsOf = (flags: DeployFlags): Effect.Effect<Record<string, number>, UsageError> =>
  Effect.gen(function*() {
    const limits: Record<string, number> = {}
    const whole = [["memory", "memoryMb"], ["concurrency", "concurrency"], ["instances", "instances"]] as const
    for (const [flag, limit] of whole) {
      const text = flags[flag]
      if (text === undefined) continue
      if (!/^[1-9]\d{0,8}$/.test(text)) {
        return yield* new UsageError({ message: `--${flag}: "${text}" is not a whole number above 0` })
      }
      limits[limit] = Number(text)
    }
    if (flags.timeout !== undefined) {
      const duration = parseDuration(flags.timeout)
      if (Option.isNone(duration)) {
        return yield* new UsageError({
          message: `--timeout: "${flags.timeout}" is not a duration, such as 500ms, 30s or 5m`
        })
      }
      limits["timeoutMs"] = Duration.toMillis(duration.value)
    }
    return limits
  })

/** `500ms`, `30s`, `5m`. */
export const parseDuration = (text: string): Option.Option<Duration.Duration> => {
  const match = /^(\d{1,9})(ms|s|m)$/.exec(text)
  if (match === null || Number(match[1]) === 0) return Option.none()
  const units = { ms: Duration.millis, s: Duration.seconds, m: Duration.minutes }
  return Option.some(units[match[2] as keyof typeof units](Number(match[1])))
}
