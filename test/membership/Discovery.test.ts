import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Discovery from "../../src/membership/Discovery.ts"

const problemOf = (text: string): string => {
  const parsed = Discovery.parseAddress(text)
  return Result.isFailure(parsed) ? parsed.failure.problem : "none"
}

describe("Discovery", () => {
  it("parses names, IPv4 and bracketed IPv6 addresses", () => {
    assert.deepStrictEqual(
      Discovery.parseAddress("node-1.example.org:7946"),
      Result.succeed({ host: "node-1.example.org", port: 7946 })
    )
    assert.deepStrictEqual(Discovery.parseAddress("10.0.0.1:1"), Result.succeed({ host: "10.0.0.1", port: 1 }))
    assert.deepStrictEqual(
      Discovery.parseAddress("[fe80::1%eth0]:65535"),
      Result.succeed({ host: "fe80::1%eth0", port: 65535 })
    )
  })

  it("says what is wrong with a seed and shows the seed", () => {
    assert.strictEqual(problemOf(""), "it is empty")
    assert.strictEqual(problemOf("http://a:1"), "it is a URL")
    assert.strictEqual(problemOf("node1"), "the port is missing")
    assert.strictEqual(problemOf(":7946"), "the host is missing")
    assert.strictEqual(problemOf("a:b"), `the port "b" is not a number`)
    assert.strictEqual(problemOf("a:70000"), "the port 70000 is larger than 65535")
    assert.strictEqual(problemOf("a:0"), "the port must not be 0")
    assert.strictEqual(problemOf("::1:7946"), "an IPv6 address needs brackets, as in [::1]:7946")
    assert.strictEqual(problemOf("a b:1"), `"a b" is neither a host name nor an IP address`)
    const parsed = Discovery.parseSeeds(["10.0.0.1:7946", "nowhere"])
    assert.isTrue(Result.isFailure(parsed) && parsed.failure.message.includes(`"nowhere"`))
  })

  it("accepts port 0 only where any port will do", () => {
    assert.deepStrictEqual(
      Discovery.parseAddress("127.0.0.1:0", { anyPort: true }),
      Result.succeed({ host: "127.0.0.1", port: 0 })
    )
  })

  it("reports an unreachable seed once a minute", () => {
    const reports = new Discovery.SeedReports()
    assert.isTrue(reports.due("a:1", 0))
    assert.isFalse(reports.due("a:1", 59_999))
    assert.isTrue(reports.due("b:1", 59_999))
    assert.isTrue(reports.due("a:1", 60_000))
  })
})
