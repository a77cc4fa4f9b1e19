import { assert, describe, it } from "@effect/vitest"
import * as AdminGuard from "../../src/functions/AdminGuard.ts"

const bound = new Set(["127.0.0.1"])
const ask = (headers: Record<string, string>, remote = "127.0.0.1") =>
  AdminGuard.refusal({ remote, headers: { host: "127.0.0.1:8080", ...headers }, bound })

describe("AdminGuard", () => {
  it("lets programs of this machine pass, by any of its names", () => {
    for (const host of ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1", "[::1]:9", "127.0.0.1:65535"]) {
      assert.isUndefined(ask({ host }), host)
    }
    assert.isUndefined(ask({}, "::1"))
    assert.isUndefined(ask({}, "::ffff:127.0.0.1"))
  })

  it("refuses other machines", () => {
    for (const remote of ["10.0.0.1", "::ffff:10.0.0.1", "", "2001:db8::1"]) assert.isDefined(ask({}, remote))
  })

  it("refuses a foreign or malformed Host, as a rebound name would send", () => {
    for (
      const host of [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.",
        "localhost:x",
        "",
        "10.0.0.1",
        "a@localhost"
      ]
    ) {
      assert.isDefined(ask({ host }), host)
    }
    assert.isDefined(AdminGuard.refusal({ remote: "127.0.0.1", headers: {}, bound }))
  })

  it("refuses web pages and proxies", () => {
    assert.isDefined(ask({ origin: "null" }))
    assert.isDefined(ask({ origin: "http://localhost:8080" }))
    assert.isDefined(ask({ forwarded: "for=1" }))
    assert.isDefined(ask({ "x-forwarded-for": "127.0.0.1" }))
    assert.isDefined(ask({ "x-forwarded-anything": "" }))
  })

  it("lets holders of the key pass from anywhere, and only them where the listener is open to others", () => {
    const authorized = (token: string) => token === "right"
    const from = (headers: Record<string, string>, host: string, remote = "10.0.0.9") =>
      AdminGuard.refusal({ remote, headers: { host: "n1", ...headers }, bound: new Set([host]), authorized })
    for (const host of ["127.0.0.1", "0.0.0.0", "10.0.0.1", "::"]) {
      assert.isUndefined(from({ authorization: "Bearer right", origin: "http://console.example" }, host))
      assert.isDefined(from({ authorization: "Bearer wrong" }, host, "127.0.0.1"))
      assert.isDefined(from({ authorization: "Basic right" }, host))
      assert.isDefined(from({ authorization: `Bearer ${"x".repeat(200)}` }, host))
      assert.isDefined(from({}, host))
    }
    assert.isDefined(from({ host: "127.0.0.1:1" }, "0.0.0.0", "127.0.0.1"))
    assert.isUndefined(from({ host: "127.0.0.1:1" }, "127.0.0.1", "127.0.0.1"))
  })

  it("knows no token without a cluster key", () => {
    assert.isUndefined(ask({ authorization: "Bearer anything" }))
    assert.isDefined(ask({ authorization: "Bearer anything" }, "10.0.0.1"))
  })
})
