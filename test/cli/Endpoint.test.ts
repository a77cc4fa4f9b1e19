import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import * as Endpoint from "../../src/cli/Endpoint.ts"

describe("Endpoint", () => {
  const good: ReadonlyArray<readonly [string, string, number]> = [
    ["127.0.0.1:7946", "127.0.0.1", 7946],
    ["[::1]:80", "::1", 80],
    ["[fe80::1:2]:65535", "fe80::1:2", 65_535],
    ["[::ffff:10.0.0.1]:1", "::ffff:10.0.0.1", 1],
    ["localhost:0", "localhost", 0],
    ["node-a.example.org:7946", "node-a.example.org", 7946]
  ]
  for (const [text, host, port] of good) {
    it(`reads ${text} and writes it again`, () => {
      const parsed = Endpoint.parse(text)
      assert.deepStrictEqual(parsed, Result.succeed({ host, port }))
      assert.strictEqual(Endpoint.format({ host, port }), text)
    })
  }

  const bad: ReadonlyArray<readonly [string, RegExp]> = [
    ["", /is not HOST:PORT/],
    ["7946", /is not HOST:PORT/],
    ["127.0.0.1", /is not HOST:PORT/],
    ["127.0.0.1:", /has no port/],
    [":7946", /has no host/],
    ["127.0.0.1:65536", /port above 65535/],
    ["127.0.0.1:x", /is not HOST:PORT/],
    ["127.0.0.1:-1", /is not HOST:PORT/],
    ["256.0.0.1:1", /neither an IP address nor a host name/],
    ["1.2.3:1", /neither an IP address nor a host name/],
    ["under score:1", /is not HOST:PORT/],
    ["-bad-:1", /neither an IP address nor a host name/],
    ["::1:7946", /goes into brackets/],
    ["[::1", /goes into brackets/],
    ["[1::2::3]:1", /not an IPv6 address/],
    ["[1:2:3]:1", /not an IPv6 address/]
  ]
  for (const [text, why] of bad) {
    it(`refuses "${text}" and says why`, () => {
      const parsed = Endpoint.parse(text)
      assert.isTrue(Result.isFailure(parsed))
      if (Result.isFailure(parsed)) assert.match(parsed.failure, why)
    })
  }

  it("takes only addresses of this machine for loopback", () => {
    for (const host of ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST"]) {
      assert.isTrue(Endpoint.isLoopback(host), host)
    }
    for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.example.org", "localhost.example.org", "128.0.0.1"]) {
      assert.isFalse(Endpoint.isLoopback(host), host)
    }
  })
})
