/** Who may use `/system/*` while the cluster has no key: programs on this machine that speak to it directly. PURE.
 *
 * Boundary: looks at what a request says of itself; the listener is bound to loopback by the node. A page in a browser
 * gives itself away by its `Origin`, a name that was rebound to 127.0.0.1 by its `Host`, a proxy by its headers. */

export interface Asked {
  /** Address of the other end of the connection. */
  readonly remote: string
  readonly headers: Readonly<Record<string, unknown>>
  /** Addresses this listener is bound to, without port. */
  readonly bound: ReadonlySet<string>
}

const loopback = /^(127\.\d{1,3}\.\d{1,3}\.\d{1,3}|::1|::ffff:127\.\d{1,3}\.\d{1,3}\.\d{1,3})$/
const local = new Set(["localhost", "127.0.0.1", "[::1]"])

/** The name in a `Host` header, without its port; brackets of IPv6 stay. Undefined when it is malformed. */
const hostName = (host: string): string | undefined => {
  const matched = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?$/.exec(host)
  return matched?.[1]?.toLowerCase()
}

/** Why the request is refused; undefined when it may pass. */
export const refusal = (asked: Asked): string | undefined => {
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
