import { assert, describe, it } from "@effect/vitest"
import * as Net from "node:net"
import * as Fakes from "./Fakes.ts"
import * as Nodes from "./Nodes.ts"

const hello = Fakes.manifestOf("hello")
const echo: Fakes.Handler = (head, stream) => {
  const chunks: Array<Uint8Array> = []
  stream.onData = (chunk) => {
    chunks.push(chunk)
    stream.consumed(chunk.length)
  }
  stream.onEnd = () => {
    const { depth, headers, method, url } = head
    const body = Buffer.concat(chunks).toString()
    Fakes.reply(stream, JSON.stringify({ method, url, headers, depth, body }), {
      status: 201,
      headers: [["content-type", "application/json"], ["set-cookie", "a=1"], ["set-cookie", "b=2"]]
    })
  }
}
const start = (tuning = {}) => Nodes.start({ handler: echo, functions: [hello], tuning })

describe("Front", () => {
  it("passes method, path, query, headers and body through, and status, headers and body back", async () => {
    await using nodes = await start()
    const answer = await Nodes.call(nodes.first, "/function/hello/a%2Fb?c=1&c=2", {
      method: "PATCH",
      headers: { "X-One": "1", Connection: "X-Secret", "X-Secret": "s", "X-Shoal-Hops": "9" },
      body: "the body"
    })
    assert.strictEqual(answer.status, 201)
    const seen = JSON.parse(answer.text)
    assert.deepInclude(seen, { method: "PATCH", url: "/a%2Fb?c=1&c=2", body: "the body", depth: 0 })
    const names: Array<string> = seen.headers.map(([name]: [string]) => name)
    assert.include(names, "x-one")
    for (const own of ["connection", "x-secret", "x-shoal-hops", "transfer-encoding"]) assert.notInclude(names, own)
    assert.deepStrictEqual(answer.headers["set-cookie"], ["a=1", "b=2"])
  })

  it("tells call id, start, node, version, hops and times with every answer", async () => {
    await using nodes = await start()
    const cold = await Nodes.call(nodes.first, "/function/hello", { headers: { "X-Call-Id": "my-id" } })
    assert.deepInclude(cold.headers, {
      "x-call-id": "my-id",
      "x-shoal-start": "prewarmed",
      "x-shoal-node": "n1",
      "x-shoal-version": hello.version,
      "x-shoal-hops": "0"
    })
    assert.match(
      String(cold.headers["server-timing"]),
      /^route;dur=[\d.]+, queue;dur=[\d.]+, init;dur=2, exec;dur=1.5$/
    )
    const warm = await Nodes.call(nodes.first, "/function/hello", { headers: { "X-Call-Id": "not sane" } })
    assert.strictEqual(warm.headers["x-shoal-start"], "warm")
    assert.match(String(warm.headers["x-call-id"]), /^[a-z0-9]+-[a-z0-9]+$/)
  })

  it("passes every byte of an answer on, whatever its length", async () => {
    const bodies = [1, 255, 8192, 8193, 70_000].map((length) => Uint8Array.from({ length }, (_, i) => 255 - i % 256))
    await using nodes = await Nodes.start({
      functions: [hello],
      count: 2,
      handler: (head, stream) => Fakes.reply(stream, bodies[Number(head.url.slice(1))] ?? "")
    })
    for (const node of nodes.nodes) {
      for (const [at, body] of bodies.entries()) {
        const chunks: Array<Buffer> = []
        for await (const chunk of await Nodes.open(node, `/function/hello/${at}`)) chunks.push(chunk)
        assert.isTrue(Buffer.concat(chunks).equals(body), `${body.length} bytes through ${node.id}`)
      }
    }
  })

  it("serves an alias and a version by its prefix", async () => {
    await using nodes = await start()
    assert.strictEqual((await Nodes.call(nodes.first, "/function/hello:canary")).status, 201)
    assert.strictEqual((await Nodes.call(nodes.first, `/function/hello@${hello.version.slice(0, 20)}/x`)).status, 201)
  })

  it("asks about a function it does not know before it answers 404 in JSON", async () => {
    await using nodes = await start()
    const unknown = await Nodes.call(nodes.first, "/function/nobody", { headers: { "X-Call-Id": "c7" } })
    assert.strictEqual(unknown.status, 404)
    assert.deepInclude(Nodes.errorOf(unknown), {
      component: "router",
      reason: "not-found",
      callId: "c7",
      retryable: false
    })
    assert.strictEqual(nodes.first.control.count("Resolve"), 1)
    nodes.first.control.hidden.push(Fakes.manifestOf("fresh"))
    assert.strictEqual((await Nodes.call(nodes.first, "/function/fresh")).status, 201)
    for (const path of ["/function/", "/function/a b", "/elsewhere", "/"]) {
      const answer = await Nodes.call(nodes.first, encodeURI(path))
      assert.strictEqual(answer.status, 404, path)
    }
  })

  it("answers 503 and not 404 when nobody can say whether the function exists", async () => {
    await using nodes = await start({ resolveMs: 20 })
    nodes.first.control.silent.add("Resolve")
    const answer = await Nodes.call(nodes.first, "/function/nobody")
    assert.strictEqual(answer.status, 503)
    assert.deepInclude(Nodes.errorOf(answer), { reason: "unavailable", retryable: true })
  })

  it("takes a depth from a nested call and refuses the seventeenth", async () => {
    await using nodes = await start()
    const at = (depth: string) => Nodes.call(nodes.first, "/function/hello", { headers: { "X-Shoal-Depth": depth } })
    assert.strictEqual(JSON.parse((await at("16")).text).depth, 16)
    const deep = await at("17")
    assert.strictEqual(deep.status, 508)
    assert.deepInclude(Nodes.errorOf(deep), { reason: "loop", path: ["n1"] })
  })

  it("answers HEAD and 204 without a body and keeps the connection usable", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (head, stream) =>
        head.method === "HEAD"
          ? Fakes.reply(stream, "", { headers: [["content-length", "1234"]] })
          : Fakes.reply(stream, "", { status: 204 })
    })
    const headed = await Nodes.call(nodes.first, "/function/hello", { method: "HEAD" })
    assert.deepInclude(headed.headers, { "content-length": "1234" })
    assert.strictEqual((await Nodes.call(nodes.first, "/function/hello")).status, 204)
  })

  it("forwards administration with path, query and body", async () => {
    await using nodes = await start()
    const answer = await Nodes.call(nodes.first, "/system/functions?x=1", { method: "POST", body: "{}" })
    assert.strictEqual(answer.status, 200)
    assert.deepStrictEqual(JSON.parse(answer.text), { method: "POST", path: "/system/functions", query: "x=1" })
    const asked = nodes.first.control.seen.find((message) => message._tag === "Admin")
    assert.deepStrictEqual(asked?.body, Fakes.bytesOf("{}"))
  })

  it("refuses administration from web pages, by foreign names and through proxies, with 403 in JSON", async () => {
    await using nodes = await start()
    const attempts: ReadonlyArray<Record<string, string>> = [
      { Origin: "http://localhost" },
      { Host: "evil.example" },
      { Forwarded: "for=127.0.0.1" },
      { "X-Forwarded-For": "127.0.0.1" }
    ]
    for (const headers of attempts) {
      const answer = await Nodes.call(nodes.first, "/system/members", { headers })
      assert.strictEqual(answer.status, 403, JSON.stringify(headers))
      assert.strictEqual(Nodes.errorOf(answer)["reason"], "forbidden")
    }
    assert.strictEqual(nodes.first.control.count("Admin"), 0)
    for (const Host of ["localhost:1", "[::1]:2", "127.0.0.1"]) {
      assert.strictEqual((await Nodes.call(nodes.first, "/system/members", { headers: { Host } })).status, 200)
    }
  })

  it("answers administration with 503 when the control plane does not", async () => {
    await using nodes = await start({ adminMs: 20 })
    nodes.first.control.silent.add("Admin")
    assert.strictEqual((await Nodes.call(nodes.first, "/system/status")).status, 503)
  })

  it("is alive at once, ready with a view and a catalog, and not ready while it drains", async () => {
    await using nodes = await start()
    assert.strictEqual((await Nodes.call(nodes.first, "/healthz")).status, 200)
    assert.strictEqual((await Nodes.call(nodes.first, "/readyz")).status, 200)
    nodes.first.control.port.post({ _tag: "Draining" })
    const leaving = await Nodes.call(nodes.first, "/readyz")
    assert.strictEqual(leaving.status, 503)
    assert.strictEqual(leaving.headers["connection"], "close")
    assert.strictEqual((await Nodes.call(nodes.first, "/healthz")).status, 200)
    const served = await Nodes.call(nodes.first, "/function/hello")
    assert.strictEqual(served.status, 201)
    assert.strictEqual(served.headers["connection"], "close")
  })

  it("shows its counters and those of the control plane as one text", async () => {
    await using nodes = await start()
    await Nodes.call(nodes.first, "/function/hello")
    await Nodes.call(nodes.first, "/function/hello")
    const { text } = await Nodes.call(nodes.first, "/metrics")
    assert.include(text, "shoal_gateway_calls_total{outcome=\"ok\",start=\"prewarmed\"} 1\n")
    assert.include(text, "shoal_gateway_calls_total{outcome=\"ok\",start=\"warm\"} 1\n")
    assert.include(text, "shoal_gateway_call_duration_seconds_count 2\n")
    assert.include(text, "\"path\":\"/metrics\"")
  })

  it("counts what is not HTTP, closes that connection and serves the next", async () => {
    await using nodes = await start()
    const socket = Net.connect(nodes.first.port, "127.0.0.1")
    socket.write("\u0000\u0001 junk\r\n\r\n")
    const chunks: Array<Buffer> = []
    for await (const chunk of socket) chunks.push(chunk)
    assert.match(Buffer.concat(chunks).toString(), /^HTTP\/1.1 400 /)
    assert.include(
      (await Nodes.call(nodes.first, "/metrics")).text,
      "shoal_gateway_rejected_total{reason=\"http\"} 1\n"
    )
  })
})
