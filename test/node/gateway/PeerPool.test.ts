import { assert, describe, it } from "@effect/vitest"
import type * as Executor from "../../../src/functions/Executor.ts"
import type * as Mux from "../../../src/functions/Mux.ts"
import * as Fakes from "./Fakes.ts"
import * as Nodes from "./Nodes.ts"

const hello = Fakes.manifestOf("hello")
const path = "/function/hello"
const fine: Fakes.Handler = (head, stream, instance) => Fakes.reply(stream, `${instance.id} ${head.url}`)

const counter = async (node: Nodes.Node, name: string): Promise<number> => {
  const { text } = await Nodes.call(node, "/metrics")
  const line = text.split("\n").find((each) => each.startsWith(`${name} `))
  return Number(line?.slice(name.length + 1))
}

/** The function is warm on the first node only, and all know it. */
const warmOnFirst = async (options: Partial<Parameters<typeof Nodes.start>[0]> = {}) => {
  const nodes = await Nodes.start({ handler: fine, functions: [hello], count: 2, ...options })
  assert.isBelow((await Nodes.call(nodes.first, `${path}/warm-up`)).status, 300)
  return nodes
}

describe("PeerPool", () => {
  it("forwards to the warm node over one connection and passes everything through", async () => {
    const heads: Array<Executor.CallHead> = []
    await using nodes = await warmOnFirst({
      handler: (head, stream) => {
        heads.push(head)
        const chunks: Array<Uint8Array> = []
        stream.onData = (chunk) => chunks.push(chunk)
        stream.onEnd = () => Fakes.reply(stream, Buffer.concat(chunks), { status: 202, headers: [["x-own", "1"]] })
      }
    })
    heads.length = 0
    const asking = { method: "PUT", headers: { "X-Call-Id": "c1", "X-A": "b" }, body: "payload" }
    const answer = await Nodes.call(nodes.second, `${path}/x?y`, asking)
    assert.strictEqual(answer.status, 202)
    assert.strictEqual(answer.text, "payload")
    assert.deepInclude(answer.headers, {
      "x-own": "1",
      "x-call-id": "c1",
      "x-shoal-node": "n1",
      "x-shoal-hops": "1",
      "x-shoal-start": "warm"
    })
    assert.deepInclude(heads[0], { callId: "c1", method: "PUT", url: "/x?y", depth: 0 })
    assert.deepInclude(Object.fromEntries(heads[0]?.headers ?? []), { "x-a": "b" })
    const more = await Promise.all(Array.from({ length: 50 }, () => Nodes.call(nodes.second, path, asking)))
    for (const each of more) assert.strictEqual(each.status, 202)
    assert.strictEqual(await counter(nodes.second, "shoal_gateway_peers"), 1)
    assert.strictEqual(nodes.second.executor.started.length, 0)
  })

  it("starts a new function at most twice for a hundred calls at once over five nodes", async () => {
    await using nodes = await Nodes.start({ handler: fine, functions: [hello], count: 5 })
    let ready = () => {}
    const gate = new Promise<void>((done) => {
      ready = done
    })
    for (const node of nodes.nodes) node.executor.gate = gate
    const answers = Array.from({ length: 100 }, (_, at) => {
      const node = nodes.nodes[at % 5]
      return node === undefined ? Promise.reject() : Nodes.call(node, path)
    })
    await Nodes.until(() => nodes.nodes.every((node) => node.control.count("Locate") > 0))
    for (let turn = 0; turn < 100; turn++) await new Promise((done) => setImmediate(done))
    ready()
    const starts = (await Promise.all(answers)).map(({ headers, status }) => {
      assert.strictEqual(status, 200)
      return headers["x-shoal-start"]
    })
    assert.strictEqual(starts.filter((start) => start !== "warm").length, 1)
    assert.strictEqual(nodes.nodes.reduce((sum, node) => sum + node.executor.started.length, 0), 1)
  })

  it("runs the call itself when the warm node is busy, and registers", async () => {
    const one = Fakes.manifestOf("hello", { concurrency: 1, instances: 1 })
    const held: Array<Mux.MuxStream> = []
    await using nodes = await Nodes.start({
      functions: [one],
      count: 2,
      handler: (head, stream, instance) => {
        if (head.url === "/hold") held.push(stream)
        else Fakes.reply(stream, instance.id)
      }
    })
    const holding = Nodes.call(nodes.first, `${path}/hold`)
    await Nodes.until(() => held.length === 1)
    const answer = await Nodes.call(nodes.second, path)
    assert.strictEqual(answer.status, 200)
    assert.strictEqual(answer.headers["x-shoal-node"], "n2")
    assert.strictEqual(nodes.second.control.count("Started"), 1)
    held.forEach((stream) => Fakes.reply(stream, "held"))
    assert.strictEqual((await holding).text, "held")
  })

  it("gets calls refused by a draining node served elsewhere, with their bodies", async () => {
    await using nodes = await warmOnFirst({
      handler: (_head, stream) => {
        const chunks: Array<Uint8Array> = []
        stream.onData = (chunk) => chunks.push(chunk)
        stream.onEnd = () => Fakes.reply(stream, Buffer.concat(chunks))
      }
    })
    nodes.first.control.port.post({ _tag: "Draining" })
    const body = "x".repeat(60_000)
    const answer = await Nodes.call(nodes.second, path, { method: "POST", body })
    assert.strictEqual(answer.status, 200)
    assert.strictEqual(answer.text, body)
    assert.strictEqual(answer.headers["x-shoal-node"], "n2")
  })

  it("sends a large body only to a node that has taken the call, so that a refusal loses none of it", async () => {
    let received = 0
    await using nodes = await warmOnFirst({
      handler: (_head, stream, instance) => {
        let own = 0
        stream.onData = (chunk) => {
          own += chunk.length
          received += chunk.length
          stream.consumed(chunk.length)
        }
        stream.onEnd = () => Fakes.reply(stream, `${instance.id} ${own}`, { headers: [["x-own", "1"]] })
      }
    })
    const size = 5 * 1024 * 1024
    const sent = await Nodes.call(nodes.second, path, { method: "POST", body: new Uint8Array(size) })
    assert.strictEqual(sent.text, `n1-0 ${size}`)
    assert.deepInclude(sent.headers, { "x-own": "1", "x-shoal-hops": "1" })
    const chunked = { method: "POST", headers: { "Transfer-Encoding": "chunked" }, body: new Uint8Array(size) }
    assert.strictEqual((await Nodes.call(nodes.second, path, chunked)).text, `n1-0 ${size}`)
    nodes.first.control.port.post({ _tag: "Draining" })
    const moved = await Nodes.call(nodes.second, path, { method: "POST", body: new Uint8Array(size) })
    assert.strictEqual(moved.text, `n2-0 ${size}`)
    assert.strictEqual(received, 3 * size)
  })

  it("forgets a route that is no longer true, and starts the function itself", async () => {
    await using nodes = await warmOnFirst()
    assert.strictEqual((await Nodes.call(nodes.second, path)).headers["x-shoal-node"], "n1")
    nodes.first.executor.started[0]?.end({ kind: "crashed", message: "gone" })
    await Nodes.until(() => nodes.first.control.count("Stopped") === 1)
    const answer = await Nodes.call(nodes.second, path)
    assert.strictEqual(answer.status, 200)
    assert.strictEqual(answer.headers["x-shoal-node"], "n2")
  })

  it("asks for a fresh route in the background, and keeps the old one when nobody knows better", async () => {
    await using nodes = await warmOnFirst({ tuning: { freshMs: 0 } })
    assert.strictEqual((await Nodes.call(nodes.second, path)).headers["x-shoal-node"], "n1")
    nodes.cluster.routes.clear()
    for (let at = 0; at < 3; at++) {
      assert.strictEqual((await Nodes.call(nodes.second, path)).headers["x-shoal-node"], "n1")
    }
    assert.isAbove(nodes.second.control.count("Locate"), 1)
    await Nodes.until(() => nodes.second.control.count("LeaseEnd") > 0)
  })

  it("skips a node whose connection is refused, at once and for the next calls", async () => {
    await using nodes = await warmOnFirst()
    await nodes.first.gateway.close()
    for (let at = 0; at < 3; at++) {
      const answer = await Nodes.call(nodes.second, path, { method: "POST", body: "b" })
      assert.strictEqual(answer.status, 200)
      assert.strictEqual(answer.headers["x-shoal-node"], "n2")
    }
    assert.isAtMost(await counter(nodes.second, "shoal_gateway_forwarded_total"), 1)
  })

  it("repeats an idempotent call whose node died, and answers 502 for another that may have run", async () => {
    let running = 0
    await using nodes = await warmOnFirst({
      handler: (head, stream, instance) => {
        if (head.url === "/warm-up" || instance.id.startsWith("n2")) Fakes.reply(stream, instance.id)
        else running++
      }
    })
    const get = Nodes.call(nodes.second, path)
    const post = Nodes.call(nodes.second, path, { method: "POST", body: "b" })
    await Nodes.until(() => running === 2)
    nodes.first.kill()
    const repeated = await get
    assert.strictEqual(repeated.status, 200)
    assert.strictEqual(repeated.headers["x-shoal-node"], "n2")
    const lost = await post
    assert.strictEqual(lost.status, 502)
    assert.deepInclude(Nodes.errorOf(lost), { component: "router", retryable: false })
  })

  it("repeats an idempotent call whose node closes in the middle of it", async () => {
    let running = 0
    await using nodes = await warmOnFirst({
      handler: (head, stream, instance) => {
        if (head.url === "/warm-up" || instance.id.startsWith("n2")) Fakes.reply(stream, instance.id)
        else running++
      }
    })
    const get = Nodes.call(nodes.second, path)
    await Nodes.until(() => running === 1)
    await nodes.first.gateway.close()
    assert.strictEqual((await get).headers["x-shoal-node"], "n2")
  })

  it("cuts an answer off whose node dies in the middle of it", async () => {
    await using nodes = await warmOnFirst({
      handler: (head, stream) => {
        if (head.url === "/warm-up") return Fakes.reply(stream, "")
        stream.head(Fakes.bytesOf("{\"status\":200,\"headers\":[]}"))
        stream.write(Fakes.bytesOf("begun"))
      }
    })
    const response = await Nodes.open(nodes.second, path)
    const answer = Nodes.read(response)
    nodes.first.kill()
    assert.isTrue((await answer).cut)
  })

  it("streams 20 MB through two nodes no faster than the client reads", async () => {
    const total = 20 * 1024 * 1024
    const chunk = new Uint8Array(64 * 1024).fill(120)
    let written = 0
    await using nodes = await warmOnFirst({
      handler: (head, stream) => {
        if (head.url === "/warm-up") return Fakes.reply(stream, "")
        stream.head(Fakes.bytesOf(JSON.stringify({ status: 200, headers: [["content-length", String(total)]] })))
        const pump = () => {
          let open = true
          while (open && written < total) {
            written += chunk.length
            open = stream.write(chunk)
          }
          if (written >= total) stream.end()
        }
        stream.onWritable = pump
        pump()
      }
    })
    const response = await Nodes.open(nodes.second, path)
    let before = -1
    let turns = 0
    while (turns < 200) {
      turns = written === before ? turns + 1 : 0
      before = written
      await new Promise((done) => setImmediate(done))
    }
    assert.isBelow(written, total)
    let read = 0
    for await (const part of response) read += part.length
    assert.strictEqual(read, total)
  })

  it("passes a timeout, a thrown error and a full body limit on from the node that ran the call", async () => {
    const short = Fakes.manifestOf("hello", { timeoutMs: 150 })
    let cancelled = 0
    await using nodes = await warmOnFirst({
      functions: [short],
      handler: (head, stream) => {
        if (head.url === "/warm-up") return Fakes.reply(stream, "")
        if (head.url === "/throw") return stream.error("handler-error", "secret")
        stream.onCancel = () => cancelled++
      }
    })
    const thrown = await Nodes.call(nodes.second, `${path}/throw`)
    assert.strictEqual(thrown.status, 500)
    assert.notInclude(thrown.text, "secret")
    assert.isTrue(nodes.first.log.some(({ fields }) => fields["cause"] === "secret"))
    const late = await Nodes.call(nodes.second, `${path}/late`)
    assert.strictEqual(late.status, 504)
    await Nodes.until(() => cancelled === 1)
  })

  it("cancels the call on the other node when its client goes away", async () => {
    let cancelled = 0
    await using nodes = await warmOnFirst({
      handler: (head, stream) => {
        if (head.url === "/warm-up") return Fakes.reply(stream, "")
        stream.onCancel = () => cancelled++
        stream.head(Fakes.bytesOf("{\"status\":200,\"headers\":[]}"))
      }
    })
    const response = await Nodes.open(nodes.second, path)
    response.destroy()
    await Nodes.until(() => cancelled === 1)
  })

  it("gives up what runs on a node that the view holds dead, and lets one that left finish", async () => {
    const held: Array<Mux.MuxStream> = []
    await using nodes = await warmOnFirst({
      handler: (head, stream, instance) => {
        if (head.url === "/warm-up" || instance.id.startsWith("n2")) Fakes.reply(stream, instance.id)
        else held.push(stream)
      }
    })
    const see = (status: "left" | "dead") => {
      nodes.second.control.port.post({
        _tag: "View",
        self: "n2",
        bootId: 2,
        role: "worker",
        epoch: 1,
        members: nodes.cluster.members.map((each) => each.id === "n1" ? { ...each, status } : each)
      })
    }
    const first = Nodes.call(nodes.second, path)
    const second = Nodes.call(nodes.second, path)
    await Nodes.until(() => held.length === 2)
    see("left")
    const [stream] = held
    if (stream !== undefined) Fakes.reply(stream, "finished")
    assert.strictEqual((await Promise.race([first, second])).text, "finished")
    see("dead")
    const answers = (await Promise.all([first, second])).map(({ text }) => text)
    assert.sameMembers(answers, ["finished", "n2-0"])
  })
})
