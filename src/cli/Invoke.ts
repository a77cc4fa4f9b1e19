/** `shoal invoke`: one call of a function.
 *
 * The body of the answer goes to stdout as it comes, whatever the status; a status of 400 and more is exit 1 with a line
 * on stderr. Without --data the call is a GET. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Option from "effect/Option"
import type { IncomingMessage } from "node:http"
import * as Client from "./Client.ts"
import { CommandError, UsageError } from "./Failure.ts"
import type { Flags } from "./Query.ts"
import { Session } from "./Session.ts"

export interface InvokeFlags extends Flags {
  readonly name: string
  readonly data: string | undefined
  readonly path: string | undefined
  readonly method: string | undefined
}

const namePattern = /^[A-Za-z0-9][A-Za-z0-9._-]*(?:[:@][A-Za-z0-9._-]+)?$/
const methods = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"] as const

export const invoke = Effect.fn("Invoke.invoke")(function*(flags: InvokeFlags) {
  const session = yield* Session
  const server = yield* Client.serverUrl(flags.server, session.env)
  const request = yield* requestOf(flags)
  const reply = yield* Client.open(server, request)
  const status = reply.statusCode ?? 0
  if (flags.json) {
    const body = yield* collect(reply)
    yield* session.print(`${Formatter.formatJson(summary(reply, body), { space: 2 })}\n`)
    if (status >= 400) return yield* refused(flags.name, status, body)
    return
  }
  if (status < 400) {
    let lastByte = 0x0a
    yield* Client.forEachChunk(reply, (chunk) => {
      lastByte = chunk.at(-1) ?? lastByte
      return session.print(chunk)
    })
    if (session.terminal.interactive && lastByte !== 0x0a) yield* session.print("\n")
    return
  }
  const body = yield* collect(reply)
  if (Option.isNone(Client.platformError(body))) yield* session.print(body)
  return yield* refused(flags.name, status, body)
})

const requestOf = (flags: InvokeFlags): Effect.Effect<Client.Request, UsageError> => {
  if (!namePattern.test(flags.name)) {
    return Effect.fail(new UsageError({ message: `"${flags.name}" is not NAME, NAME:ALIAS or NAME@VERSION` }))
  }
  const wanted = flags.method?.toUpperCase() ?? (flags.data === undefined ? "GET" : "POST")
  const method = methods.find((name) => name === wanted)
  if (method === undefined) {
    return Effect.fail(new UsageError({ message: `--method: "${flags.method}" is none of ${methods.join(", ")}` }))
  }
  const path = flags.path === undefined || flags.path === "" ? "" : flags.path.replace(/^(?=[^/?])/, "/")
  const url = `/function/${flags.name}${path}`
  if (flags.data === undefined) return Effect.succeed({ method, path: url })
  const isJson = Option.isSome(Client.parseJson(new TextEncoder().encode(flags.data)))
  const contentType = isJson ? "application/json" : "text/plain; charset=utf-8"
  return Effect.succeed({ method, path: url, body: flags.data, contentType })
}

/** What is kept of an answer that is shown only after its end. */
const collectBytes = 16 * 1024 * 1024

const collect = (reply: IncomingMessage): Effect.Effect<Uint8Array, CommandError> =>
  Effect.gen(function*() {
    const chunks: Array<Uint8Array> = []
    let size = 0
    yield* Client.forEachChunk(reply, (chunk) => {
      size += chunk.byteLength
      if (size > collectBytes) {
        return Effect.fail(new CommandError({ message: `the answer is longer than ${collectBytes} bytes` }))
      }
      chunks.push(chunk)
      return Effect.void
    })
    return Buffer.concat(chunks)
  })

const summary = (reply: IncomingMessage, body: Uint8Array) => ({
  status: reply.statusCode ?? 0,
  callId: reply.headers["x-call-id"] ?? null,
  node: reply.headers["x-shoal-node"] ?? null,
  start: reply.headers["x-shoal-start"] ?? null,
  version: reply.headers["x-shoal-version"] ?? null,
  hops: reply.headers["x-shoal-hops"] === undefined ? null : Number(reply.headers["x-shoal-hops"]),
  contentType: reply.headers["content-type"] ?? null,
  body: String(reply.headers["content-type"]).includes("json")
    ? Option.getOrElse(Client.parseJson(body), () => new TextDecoder().decode(body))
    : new TextDecoder().decode(body)
})

const refused = (name: string, status: number, body: Uint8Array): Effect.Effect<never, CommandError> => {
  const error = Client.platformError(body)
  return Effect.fail(
    new CommandError({
      message: Option.isSome(error) ? `${status} ${Client.explain(error.value)}` : `${name} answered ${status}`
    })
  )
}
