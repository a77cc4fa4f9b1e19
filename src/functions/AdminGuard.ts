/** Who may use `/system/*`: holders of the cluster key, by its token; and, where the listener is on loopback, programs on
 * this machine that speak to it directly. PURE.
 *
 * Boundary: looks at what a request says of itself; only a node with a key binds its listener beyond loopback. A page in a browser
 * gives itself away by its `Origin`, a name that was rebound to 127.0.0.1 by its `Host`, a proxy by its headers. */

export interface Asked {
  /** Address of the other end of the connection. */
  readonly remote: string
  readonly headers: Readonly<Record<string, unknown>>
  /** Addresses this listener is bound to, without port. */
  readonly bound: ReadonlySet<string>
  /** Whether a token belongs to a key of the cluster; undefined when that has none. */
  readonly authorized?: ((token: string) => boolean) | undefined
}

const loopback = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|::ffff:127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/
const isLocal = (bound: ReadonlySet<string>): boolean =>
  [...bound].every((host) => loopback.test(host) || host === "localhost")

const local = new Set(["localhost", "127.0.0.1", "[::1]"])

/** The name in a `Host` header, without its port; brackets of IPv6 stay. Undefined when it is malformed. */
const hostName = (host: string): string | undefined => {
  const matched = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/.exec(host)
  return matched?.[1]?.toLowerCase()
}

/** Why the request is refused; undefined when it may pass. */
export const refusal = (asked: Asked): string | undefined => {
  const authorization = asked.headers["authorization"]
  if (asked.authorized !== undefined && typeof authorization === "string") {
    const token = /^Bearer ([A-Za-z0-9_-]{1,100})$/.exec(authorization)?.[1]
    return token !== undefined && asked.authorized(token) ? undefined : "the token is not of a key of this cluster"
  }
  if (!isLocal(asked.bound)) return "administration needs the token of the cluster key (shoal --key or SHOAL_KEY)"
  if (!loopback.test(asked.remote)) return "administration without a cluster key is for this machine only"
  for (const name in asked.headers) {
    if (name === "origin") return "administration is not for web pages (Origin)"
    if (name === "forwarded" || name.startsWith("x-forwarded-")) return `administration is not forwarded (${name})`
  }
  const host = asked.headers["host"]
  const name = typeof host === "string" ? hostName(host) : undefined
  if (name === undefined) return "administration needs a Host of this machine"
  const bare = name.startsWith("[") ? name.slice(1, -1) : name
  return local.has(name) || asked.bound.has(bare) ? undefined : "administration needs a Host of this machine"
}
