/** Talks HTTP to the administration of one node.
 *
 * Boundary: sends, reads and explains what went wrong; what a reply means is up to the commands. Replies held in memory
 * are at most `replyBytes`; a longer one is a failure, a streamed one has no limit. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { IncomingMessage, RequestOptions } from "node:http"
import { Credentials } from "./Credentials.ts"
import { CommandError, UsageError } from "./Failure.ts"

export const defaultServer = "http://127.0.0.1:8080"

/** The node that is spoken to: `--server`, else SHOAL_SERVER, else this machine. */
export const serverUrl = (
  flag: string | undefined,
  env: Readonly<Record<string, string | undefined>>
): Effect.Effect<URL, UsageError> => {
  const variable = env["SHOAL_SERVER"] === "" ? undefined : env["SHOAL_SERVER"]
  const [text, from] = flag === undefined && variable !== undefined
    ? [variable, "SHOAL_SERVER"]
    : [flag ?? defaultServer, "--server"]
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
    return Effect.fail(new UsageError({ message: `${from}: "${text}" is not a URL, such as ${defaultServer}` }))
  }
  return Effect.succeed(url)
}

export interface Request {
  readonly method: "GET" | "POST" | "PUT" | "DELETE" | "PATCH" | "HEAD"
  /** Path and query, from the root of the server. */
  readonly path: string
  readonly body?: string | Uint8Array
  readonly contentType?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingMessage["headers"]
  readonly body: Uint8Array
}

const replyBytes = 64 * 1024 * 1024

/** The head of a reply; the body is in the message. Interruption closes the connection. */
export const open = (server: URL, request: Request): Effect.Effect<IncomingMessage, CommandError> =>
  Effect.flatMap(
    Effect.all([
      Effect.promise(() => server.protocol === "https:" ? import("node:https") : import("node:http")),
      Credentials
    ]),
    ([http, token]) =>
      Effect.callback<IncomingMessage, CommandError>((resume) => {
        const body = typeof request.body === "string" ? new TextEncoder().encode(request.body) : request.body
        const options: RequestOptions = {
          method: request.method,
          headers: {
            accept: "application/json, */*;q=0.8",
            ...(body === undefined ? {} : {
              "content-type": request.contentType ?? "application/octet-stream",
              "content-length": String(body.byteLength)
            }),
            ...(token !== undefined && request.path.startsWith("/system/") ? { authorization: `Bearer ${token}` } : {}),
            ...request.headers
          }
        }
        const sent = http.request(new URL(request.path, server), options)
        sent.on("response", (message) => resume(Effect.succeed(message)))
        sent.on("error", (error) => resume(Effect.fail(unreachable(server, error))))
        sent.end(body)
        return Effect.sync(() => sent.destroy())
      })
  )

/** Passes every piece of a body on, waiting for each. */
export const forEachChunk = <R>(
  message: IncomingMessage,
  use: (chunk: Uint8Array) => Effect.Effect<void, CommandError, R>
): Effect.Effect<void, CommandError, R> =>
  Effect.gen(function*() {
    const chunks: AsyncIterator<Uint8Array> = message[Symbol.asyncIterator]()
    while (true) {
      const next = yield* Effect.tryPromise({
        try: () => chunks.next(),
        catch: (cause) => new CommandError({ message: `the reply broke off: ${messageOf(cause)}` })
      })
      if (next.done === true) return
      yield* use(next.value)
    }
  }).pipe(Effect.onInterrupt(() => Effect.sync(() => message.destroy())))

/** A whole reply, whatever its status. */
export const call = (
  server: URL,
  request: Request,
  timeout: Duration.Input = "15 seconds"
): Effect.Effect<Reply, CommandError> =>
  Effect.gen(function*() {
    const message = yield* open(server, request)
    const parts: Array<Uint8Array> = []
    let size = 0
    yield* forEachChunk(message, (chunk) => {
      parts.push(chunk)
      size += chunk.byteLength
      if (size <= replyBytes) return Effect.void
      message.destroy()
      return Effect.fail(
        new CommandError({ message: `the reply of ${server.origin} is longer than ${replyBytes} bytes` })
      )
    })
    return { status: message.statusCode ?? 0, headers: message.headers, body: Buffer.concat(parts) }
  }).pipe(
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () =>
        Effect.fail(
          new CommandError({
            message: `no answer from ${server.origin} to ${request.method} ${request.path} in time`,
            remedy: "The node may be overloaded or stopped (kill -STOP); ask another one with --server URL."
          })
        )
    })
  )

/** The JSON of a reply with status 2xx; anything else is a failure that says what the node said. */
export const json = (server: URL, request: Request, timeout?: Duration.Input): Effect.Effect<unknown, CommandError> =>
  Effect.flatMap(call(server, request, timeout), (reply) => {
    const value = parseJson(reply.body)
    if (reply.status >= 200 && reply.status < 300 && Option.isSome(value)) return Effect.succeed(value.value)
    return Effect.fail(refused(server, request, reply))
  })

/** Fails like `json` unless the status is 2xx; the body does not matter. */
export const accepted = (server: URL, request: Request, reply: Reply): Effect.Effect<void, CommandError> =>
  reply.status >= 200 && reply.status < 300 ? Effect.void : Effect.fail(refused(server, request, reply))

const PlatformError = Schema.Struct({
  component: Schema.String,
  reason: Schema.String,
  callId: Schema.optional(Schema.String),
  retryable: Schema.optional(Schema.Boolean),
  message: Schema.optional(Schema.String)
})
export type PlatformError = typeof PlatformError.Type

/** The error that a node puts into its own refusals, if this reply is one. */
export const platformError = (body: Uint8Array): Option.Option<PlatformError> =>
  Option.flatMap(parseJson(body), (value) => Result.getSuccess(Schema.decodeUnknownResult(PlatformError)(value)))

/** Says in one line what a platform error means. */
export const explain = (error: PlatformError): string => {
  const notes = [
    ...(error.retryable === true ? ["it may be tried again"] : []),
    ...(error.callId === undefined || error.callId === "" ? [] : [`call id ${error.callId}`])
  ]
  const suffix = notes.length === 0 ? "" : ` (${notes.join(", ")})`
  return `${error.component}: ${error.reason}${error.message === undefined ? "" : `: ${error.message}`}${suffix}`
}

const refused = (server: URL, request: Request, reply: Reply): CommandError => {
  const error = platformError(reply.body)
  if (Option.isSome(error)) {
    return new CommandError({ message: explain(error.value), retryable: error.value.retryable === true })
  }
  const type = reply.headers["content-type"] ?? "no content type"
  return new CommandError({
    message:
      `${server.origin} does not answer like a Shoal node: ${request.method} ${request.path} gave ${reply.status}, ` +
      type,
    remedy: "Name the HTTP address of a node with --server URL or SHOAL_SERVER."
  })
}

const Json = Schema.fromJsonString(Schema.Unknown)

/** Unknown JSON, or nothing when the bytes are not JSON. */
export const parseJson = (body: Uint8Array): Option.Option<unknown> =>
  Result.getSuccess(Schema.decodeResult(Json)(new TextDecoder().decode(body)))

const unreachable = (server: URL, error: NodeJS.ErrnoException): CommandError =>
  new CommandError({
    message: `cannot reach ${server.origin}: ${reasonOf(error)}`,
    remedy: "Start a node with `shoal up` or `shoal dev`, or name another one with --server URL or SHOAL_SERVER."
  })

const reasonOf = (error: NodeJS.ErrnoException): string => {
  switch (error.code) {
    case "ECONNREFUSED":
      return "nothing listens there"
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return "the host name is not known"
    case "ECONNRESET":
      return "the connection was closed before an answer came"
    default:
      return messageOf(error)
  }
}

const messageOf = (cause: unknown): string =>
  cause instanceof Error && cause.message !== "" ? cause.message : String(cause)
