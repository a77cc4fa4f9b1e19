/** Tells the gateways how deep a function's own calls of functions are: the limit on loops stands on it.
 *
 * Boundary: every request of `fetch` and `node:http` whose path looks like that of a function gets the header, wherever
 * it goes, because a gateway may be reached by any name. Code that speaks HTTP by itself tells nothing; what bounds it are
 * time limits and concurrency. */
import * as DiagnosticsChannel from "node:diagnostics_channel"
import * as Target from "../../functions/Target.ts"
import * as Lines from "./Lines.ts"

export const header = "x-shoal-depth"

/** The depth of what the running call sends there; undefined when nothing is to be told. */
const below = (path: unknown): number | undefined => {
  if (typeof path !== "string" || !path.startsWith(Target.prefix)) return undefined
  const depth = Lines.currentCall.getStore()?.depth
  return depth === undefined ? undefined : depth + 1
}

interface Outgoing {
  readonly path?: unknown
  readonly addHeader?: unknown
  readonly setHeader?: unknown
  readonly headersSent?: unknown
}

const requestOf = (message: unknown): Outgoing =>
  typeof message === "object" && message !== null && "request" in message && typeof message.request === "object"
    ? message.request ?? {}
    : {}

/** From now on, in this thread. */
export const install = (): void => {
  DiagnosticsChannel.subscribe("undici:request:create", (message) => {
    const request = requestOf(message)
    const depth = below(request.path)
    if (depth !== undefined && typeof request.addHeader === "function") request.addHeader(header, String(depth))
  })
  DiagnosticsChannel.subscribe("http.client.request.created", (message) => {
    const request = requestOf(message)
    const depth = below(request.path)
    if (depth === undefined || request.headersSent === true || typeof request.setHeader !== "function") return
    request.setHeader(header, String(depth))
  })
}
