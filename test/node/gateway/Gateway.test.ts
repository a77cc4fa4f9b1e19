import { assert, describe, it } from "@effect/vitest"
import * as Http from "node:http"
import * as Net from "node:net"
import type * as Mux from "../../../src/functions/Mux.ts"
import * as Gateway from "../../../src/node/gateway/Gateway.ts"
import * as Fakes from "./Fakes.ts"
import * as Nodes from "./Nodes.ts"

const hello = Fakes.manifestOf("hello")
const path = "/function/hello"

describe("Gateway", () => {
  it("says which listener's port is in use, and leaves nothing open", async () => {
    await using nodes = await Nodes.start({ functions: [], handler: () => {} })
    const taken = { host: "127.0.0.1", port: nodes.first.port }
    const free = { host: "127.0.0.1", port: 0 }
    const attempt = async (http: Gateway.Address, data: Gateway.Address) => {
      const control = new Fakes.FakeControl(nodes.cluster, { id: "x", bootId: 7, status: "alive", data: undefined })
      const executor = new Fakes.FakeExecutor("x", () => {})
      const self = { id: "x", bootId: 7, label: "test" }
      const options = { http, data, self, executor, link: control.gateway, log: () => {} }
      return Gateway.makeGateway(options).then(() => undefined, (error: unknown) => error)
    }
    const http = await attempt(taken, free)
    assert.instanceOf(http, Gateway.ListenError)
    assert.deepInclude(http, { reason: "port-in-use", listener: "http", port: taken.port })
    assert.include(http.message, `port ${taken.port} is in use`)
    const probe = Net.createServer()
    await new Promise<void>((done) => probe.listen(0, "127.0.0.1", done))
    const address = probe.address()
    if (address === null || typeof address === "string") throw new Error("a TCP server has a port")
    await new Promise((done) => probe.close(done))
    const data = await attempt({ host: "127.0.0.1", port: address.port }, taken)
    assert.deepInclude(data, { reason: "port-in-use", listener: "data" })
    const again = Net.createServer()
    await new Promise<void>((done) => again.listen(address.port, "127.0.0.1", done))
    again.close()
  })

  it("finishes what it accepted when it drains, and accepts nothing after", async () => {
    const held: Array<Mux.MuxStream> = []
    await using nodes = await Nodes.start({ functions: [hello], handler: (_head, stream) => void held.push(stream) })
    const agent = new Http.Agent({ keepAlive: true })
    const answer = Nodes.call(nodes.first, path, { agent })
    await Nodes.until(() => held.length === 1)
    let drained = false
    const draining = nodes.first.gateway.drain().then(() => {
      drained = true
    })
    await new Promise((done) => setImmediate(done))
    assert.isFalse(drained)
    const refused = await Nodes.call(nodes.first, path).then(() => "served", () => "refused")
    assert.strictEqual(refused, "refused")
    held.forEach((stream) => Fakes.reply(stream, "done"))
    assert.strictEqual((await answer).text, "done")
    await draining
    assert.strictEqual(nodes.first.control.count("Drained"), 1)
    agent.destroy()
  })

  it("serves on while it lingers, with connections that close", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => Fakes.reply(stream, "x")
    })
    const draining = nodes.first.gateway.drain(200)
    const answer = await Nodes.call(nodes.first, path)
    assert.strictEqual(answer.status, 200)
    assert.strictEqual(answer.headers["connection"], "close")
    await draining
  })

  it("answers every call in flight when it is closed, also twice", async () => {
    const held: Array<Mux.MuxStream> = []
    await using nodes = await Nodes.start({ functions: [hello], handler: (_head, stream) => void held.push(stream) })
    const answers = [1, 2, 3].map(() => Nodes.call(nodes.first, path).then(({ status }) => status, () => "closed"))
    await Nodes.until(() => held.length === 3)
    await Promise.all([nodes.first.gateway.close(), nodes.first.gateway.close()])
    for (const answer of await Promise.all(answers)) assert.include([503, "closed"], answer)
  })
})
