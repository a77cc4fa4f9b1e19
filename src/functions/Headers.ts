/** Headers on their way through the gateway: which of them are a connection's own, which are ours. PURE.
 *
 * Boundary: names and values only; they are written and checked for forbidden characters by the HTTP server.
 * Headers that belong to one connection (RFC 9110 7.6.1) are passed in neither direction, and what the platform tells
 * about a call (`X-Shoal-*`, `X-Call-Id`, `Server-Timing`) cannot be said by a function in its place. */

export type Pair = [name: string, value: string]

const hopByHop = new Set([
  "connection",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade"
])

const longestCallId = 128
const callIdOf = /^[A-Za-z0-9._:+/=-]+$/

/** The caller's call id if it is one we would print: visible, short, without surprises. */
export const callId = (sent: string | undefined): string | undefined =>
  sent !== undefined && sent.length <= longestCallId && callIdOf.test(sent) ? sent : undefined

/** How deep in calls of functions by functions a request is, as it says itself: it can only make itself deeper. */
export const depth = (sent: string | undefined): number => {
  if (sent === undefined) return 0
  // A function that sets the header too makes two values of it.
  return sent.split(",", 8).reduce((deepest, text) => {
    const value = text.trim()
    return /^\d{1,4}$/.test(value) ? Math.max(deepest, Number(value)) : deepest
  }, 0)
}

/** Names listed in `Connection` belong to the connection too. */
const listed = (connection: string | undefined): ReadonlySet<string> | undefined => {
  if (connection === undefined || connection.length > 1024) return undefined
  const lower = connection.toLowerCase()
  if (lower === "keep-alive" || lower === "close") return undefined
  return new Set(lower.split(",").map((name) => name.trim()))
}

const isOurs = (lower: string): boolean =>
  lower.charCodeAt(0) === 0x78 && (lower === "x-call-id" || lower.startsWith("x-shoal-"))

/** A request's headers as the function gets them, from the flat name, value list of the HTTP server. */
export const request = (raw: ReadonlyArray<string>, connection: string | undefined): Array<Pair> => {
  const own = listed(connection)
  const pairs: Array<Pair> = []
  for (let at = 0; at + 1 < raw.length; at += 2) {
    const name = raw[at] ?? ""
    const lower = name.toLowerCase()
    if (hopByHop.has(lower) || lower === "expect" || isOurs(lower) || own?.has(lower) === true) continue
    pairs.push([lower, raw[at + 1] ?? ""])
  }
  return pairs
}

/** What a function's answer says of its body, and whether its headers were usable at all. */
export interface Reply {
  /** As it declared it, undefined when it did not or not as a number. */
  readonly length: number | undefined
}

/** Appends a function's reply headers to a flat list; `content-length` is left to the caller. */
export const reply = (pairs: ReadonlyArray<readonly [string, string]>, into: Array<string>): Reply => {
  let length: number | undefined
  for (const [name, value] of pairs) {
    const lower = name.toLowerCase()
    if (lower === "content-length") {
      length = /^\d{1,15}$/.test(value) ? Number(value) : undefined
      continue
    }
    if (hopByHop.has(lower) || isOurs(lower) || lower === "server-timing") continue
    into.push(name, value)
  }
  return { length }
}
