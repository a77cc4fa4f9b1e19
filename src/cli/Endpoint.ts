/** HOST:PORT as people type it.
 *
 * Boundary: no name is looked up here; whether a port is free is found out by whoever binds it. PURE. */
import * as Result from "effect/Result"

export interface Endpoint {
  /** An IPv4 or IPv6 address without brackets, or a host name. */
  readonly host: string
  readonly port: number
}

/** `127.0.0.1:7946`, `[::1]:7946`, `node-a.example:7946`. The failure says what was expected. */
export const parse = (text: string): Result.Result<Endpoint, string> => {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]*)):(\d*)$/.exec(text)
  if (match === null) {
    return Result.fail(
      text.split(":").length > 2
        ? `"${text}" is not HOST:PORT; an IPv6 address goes into brackets, such as [::1]:7946`
        : `"${text}" is not HOST:PORT, such as 127.0.0.1:7946`
    )
  }
  const host = match[1] ?? match[2] ?? ""
  if (host === "") return Result.fail(`"${text}" has no host, write it as 127.0.0.1:${match[3] || "7946"}`)
  if (match[3] === "" || match[3] === undefined) return Result.fail(`"${text}" has no port, such as ${host}:7946`)
  const port = Number(match[3])
  if (port > 65_535) return Result.fail(`"${text}" has a port above 65535`)
  if (match[1] !== undefined && !isIPv6(host)) return Result.fail(`"${text}" is not an IPv6 address in brackets`)
  if (match[1] === undefined && !isIPv4(host) && !isHostName(host)) {
    return Result.fail(`"${host}" in "${text}" is neither an IP address nor a host name`)
  }
  return Result.succeed({ host, port })
}

export const format = ({ host, port }: Endpoint): string => host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`

/** True for addresses that only this machine reaches. Of names only `localhost` counts. */
export const isLoopback = (host: string): boolean =>
  host.toLowerCase() === "localhost" || host === "::1" || (isIPv4(host) && host.startsWith("127."))

export const isIPv4 = (host: string): boolean => {
  const parts = host.split(".")
  return parts.length === 4 && parts.every((part) => /^\d{1,3}$/.test(part) && Number(part) <= 255)
}

/** Groups and at most one `::`; an embedded IPv4 tail counts as two groups. */
export const isIPv6 = (host: string): boolean => {
  const halves = host.split("::")
  if (halves.length > 2) return false
  const groups = halves.flatMap((half) => half === "" ? [] : half.split(":"))
  const tail = groups.at(-1)
  const embedded = tail !== undefined && tail.includes(".")
  if (embedded && !isIPv4(tail)) return false
  const plain = embedded ? groups.slice(0, -1) : groups
  if (!plain.every((group) => /^[0-9a-fA-F]{1,4}$/.test(group))) return false
  const count = plain.length + (embedded ? 2 : 0)
  return halves.length === 2 ? count <= 7 : count === 8
}

const isHostName = (host: string): boolean =>
  host.length <= 253 && !/^[\d.]+$/.test(host) &&
  host.split(".").every((label) => /^[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?$/.test(label))
