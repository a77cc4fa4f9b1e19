/** Seeds: how a member finds the first others.
 *
 * Job: parses `host:port` with an error that says what is wrong with it, and reports unreachable seeds without flooding.
 * Boundary: retrying seeds (for ever, with backoff and jitter) is the pure core's; names are looked up by the transport
 * each time it dials, so that a name that moves is followed. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Address } from "../swim/Member.ts"

/** A text that should name an address does not. Fault: whoever wrote it. State: unchanged. Retry: useless. */
export class InvalidAddress extends Schema.TaggedError<InvalidAddress>()("InvalidAddress", {
  text: Schema.String,
  problem: Schema.String
}) {
  override get message(): string {
    return `"${this.text}" is not an address: ${this.problem} (expected host:port, for example 10.0.0.1:7946)`
  }
}

/** The longest host name of DNS, and far above the longest IP address. */
const maxHostLength = 253
const hostName = /^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?$/
const ipv4 = /^[0-9]{1,3}(\.[0-9]{1,3}){3}$/
const ipv6 = /^[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?$/

/** Parses `host:port`; IPv6 hosts stand in brackets. Port 0 is only allowed where `anyPort` says so. */
export const parseAddress = (
  text: string,
  options: { readonly anyPort?: boolean } = {}
): Result.Result<Address, InvalidAddress> => {
  const problem = (problem: string) => Result.fail(new InvalidAddress({ text: text.slice(0, 300), problem }))
  const colon = text.lastIndexOf(":")
  if (text.trim() === "") return problem("it is empty")
  if (text.includes("://")) return problem("it is a URL")
  if (colon < 0) return problem("the port is missing")
  const bracketed = text.startsWith("[") && text[colon - 1] === "]"
  const host = bracketed ? text.slice(1, colon - 1) : text.slice(0, colon)
  if (host === "") return problem("the host is missing")
  if (host.length > maxHostLength) return problem(`the host is longer than ${maxHostLength} characters`)
  if (!bracketed && host.includes(":")) return problem("an IPv6 address needs brackets, as in [::1]:7946")
  if (bracketed ? !ipv6.test(host) : !hostName.test(host)) {
    return problem(`"${host}" is neither a host name nor an IP address`)
  }
  const digits = text.slice(colon + 1)
  if (!/^[0-9]{1,5}$/.test(digits)) return problem(`the port "${digits.slice(0, 20)}" is not a number`)
  const port = Number(digits)
  if (port > 65535) return problem(`the port ${port} is larger than 65535`)
  if (port === 0 && options.anyPort !== true) return problem("the port must not be 0")
  return Result.succeed({ host, port })
}

/** Whether `host` is an IP address and no name: only those travel in gossip. */
export const isIp = (host: string): boolean => ipv4.test(host) || (host.includes(":") && ipv6.test(host))

/** Parses all seeds; the first that is wrong is reported. */
export const parseSeeds = (texts: ReadonlyArray<string>): Result.Result<Array<Address>, InvalidAddress> => {
  const seeds: Array<Address> = []
  for (const text of texts) {
    const parsed = parseAddress(text)
    if (Result.isFailure(parsed)) return Result.fail(parsed.failure)
    seeds.push(parsed.success)
  }
  return Result.succeed(seeds)
}

/** Says when an unreachable seed is worth another log line: once per seed and minute. */
export class SeedReports {
  private readonly last = new Map<string, number>()

  /** True when `seed` was not reported within the minute before `now` (monotonic milliseconds). */
  due(seed: string, now: number): boolean {
    const last = this.last.get(seed)
    if (last !== undefined && now - last < reportEveryMs) return false
    if (this.last.size >= reportsKept) this.last.clear()
    this.last.set(seed, now)
    return true
  }
}

const reportEveryMs = 60_000
const reportsKept = 1024
