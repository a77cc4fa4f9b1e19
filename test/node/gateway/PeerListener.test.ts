import { assert, describe, it } from "@effect/vitest"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { once } from "node:events"
import * as Net from "node:net"
import * as Hello from "../../../src/cluster/Hello.ts"
import * as Frame from "../../../src/functions/Frame.ts"
import * as Hop from "../../../src/functions/Hop.ts"
import * as Mux from "../../../src/functions/Mux.ts"
import * as Fakes from "./Fakes.ts"
import * as Nodes from "./Nodes.ts"

const hello = Fakes.manifestOf("hello")
const greeting: Hello.Hello = {
  ...Hello.protocol,
  kind: "data",
  label: "test",
  id: "x",
  bootId: 9,
  epoch: 0,
  serializations: []
}
const request: Hop.Request = {
  callId: "c",
  version: hello.version,
  method: "GET",
  url: "/",
  headers: [],
  timeoutMs: 1000,
  depth: 0,
  hops: 1,
  path: ["x"],
  large: false
}

const start = () => Nodes.start({ functions: [hello], handler: (_head, stream) => Fakes.reply(stream, "x") })

/** Sends bytes as a peer would, and waits until the node closes the connection. */
const closedAfter = async (node: Nodes.Node, ...bytes: ReadonlyArray<Uint8Array>): Promise<void> => {
  const socket = Net.connect(node.dataPort, "127.0.0.1")
  socket.resume()
  socket.on("error", () => {})
  for (const each of bytes) socket.write(each)
  await once(socket, "close")
}

/** A hand-made peer behind a good hello. */
const connect = async (node: Nodes.Node): Promise<Mux.Mux> => {
  const socket = Net.connect(node.dataPort, "127.0.0.1")
  socket.write(Hello.toBytes(greeting))
  const [first] = await once(socket, "data")
  const read = Hello.read(first instanceof Uint8Array ? first : new Uint8Array(0))
  assert.isTrue(Result.isSuccess(read) && Option.isSome(read.success) && read.success.value.hello.id === node.id)
  const mux = new Mux.Mux({
    role: "client",
    write: (chunks) => chunks.forEach((chunk) => socket.write(chunk)),
    onBroken: () => socket.destroy()
  })
  socket.on("data", (chunk: Uint8Array) => mux.receive(chunk))
  socket.on("close", () => mux.closeAll("lost"))
  return mux
}

const errorCode = (mux: Mux.Mux, head: Uint8Array): Promise<readonly [string, string]> =>
  new Promise((done) => {
    const stream = mux.open(head)
    if (stream === undefined) return done(["not opened", ""])
    stream.onError = (code, message) => done([code, message])
    stream.onEnd = () => done(["ended", ""])
    stream.end()
  })

const rejected = async (node: Nodes.Node, reason: string): Promise<boolean> =>
  (await Nodes.call(node, "/metrics")).text.includes(`shoal_gateway_rejected_total{reason="${reason}"} 1\n`)

describe("PeerListener", () => {
  it("counts junk instead of a hello, closes that connection and serves on", async () => {
    await using nodes = await start()
    await closedAfter(nodes.first, Buffer.from("GET / HTTP/1.1\r\n\r\n"))
    assert.isTrue(await rejected(nodes.first, "hello"))
    assert.strictEqual((await Nodes.call(nodes.first, "/function/hello")).status, 200)
  })

  it("refuses another cluster and a connection of another kind", async () => {
    await using nodes = await start()
    await closedAfter(nodes.first, Hello.toBytes({ ...greeting, label: "other" }))
    assert.isTrue(await rejected(nodes.first, "hello-refused"))
    await closedAfter(nodes.first, Hello.toBytes({ ...greeting, kind: "control" }))
  })

  it("closes a connection that never says hello", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => Fakes.reply(stream, "x"),
      tuning: { connectMs: 30 }
    })
    await closedAfter(nodes.first, Hello.toBytes(greeting).subarray(0, 7))
    assert.isTrue(await rejected(nodes.first, "hello-timeout"))
  })

  it("counts a broken frame, closes that connection and serves on", async () => {
    await using nodes = await start()
    await closedAfter(nodes.first, Hello.toBytes(greeting), Buffer.alloc(64, 0xff))
    assert.isTrue(await rejected(nodes.first, "frame-version"))
    const large = Frame.encode(Frame.Head, 1)
    large.set([0xff, 0xff, 0xff, 0xff], 8)
    await closedAfter(nodes.first, Hello.toBytes(greeting), large)
    assert.isTrue(await rejected(nodes.first, "frame-size"))
    assert.strictEqual((await Nodes.call(nodes.first, "/function/hello")).status, 200)
  })

  it("answers a head it cannot read with an error on that stream only", async () => {
    await using nodes = await start()
    await Nodes.call(nodes.first, "/function/hello")
    const peer = await connect(nodes.first)
    assert.deepStrictEqual(await errorCode(peer, Fakes.bytesOf("junk")), ["failed:bad-request", ""])
    assert.deepStrictEqual(await errorCode(peer, Hop.encodeRequest({ ...request, hops: -1 })), [
      "failed:bad-request",
      ""
    ])
    assert.deepStrictEqual(await errorCode(peer, Hop.encodeRequest(request)), ["ended", ""])
    peer.closeAll("lost")
  })

  it("refuses a call that passed here before, or made too many hops, or is nested too deep, with its path", async () => {
    await using nodes = await start()
    await Nodes.call(nodes.first, "/function/hello")
    const peer = await connect(nodes.first)
    const loop = (change: Partial<Hop.Request>) => errorCode(peer, Hop.encodeRequest({ ...request, ...change }))
    assert.deepStrictEqual(await loop({ path: ["n1", "x"] }), ["failed:loop", "n1 x n1"])
    assert.deepStrictEqual(await loop({ hops: 3, path: ["a", "b", "x"] }), ["failed:loop", "a b x n1"])
    assert.deepStrictEqual(await loop({ depth: 17 }), ["failed:loop", "x n1"])
  })

  it("gives back a call for a version that is not warm here", async () => {
    await using nodes = await start()
    const peer = await connect(nodes.first)
    assert.deepStrictEqual(await errorCode(peer, Hop.encodeRequest(request)), ["refused:not-warm", ""])
    assert.strictEqual(nodes.first.executor.started.length, 0)
  })

  it("answers 508 with the path when another node reports a loop", async () => {
    await using nodes = await start()
    const server = Net.createServer((socket) => {
      const mux = new Mux.Mux({
        role: "server",
        write: (chunks) => chunks.forEach((chunk) => socket.write(chunk)),
        onBroken: () => socket.destroy(),
        onOpen: (stream) => stream.error(Hop.failedCode("loop"), "n1 x n1")
      })
      socket.once("data", (bytes: Uint8Array) => {
        socket.write(Hello.toBytes({ ...greeting, id: "x", bootId: 9 }))
        const read = Hello.read(bytes)
        if (Result.isSuccess(read) && Option.isSome(read.success)) mux.receive(read.success.value.rest)
        socket.on("data", (chunk: Uint8Array) => mux.receive(chunk))
      })
    })
    await new Promise<void>((done) => server.listen(0, "127.0.0.1", done))
    const address = server.address()
    if (address === null || typeof address === "string") throw new Error("a TCP server has a port")
    nodes.cluster.members.push({ id: "x", bootId: 9, status: "alive", data: `127.0.0.1:${address.port}` })
    nodes.cluster.routes.set(hello.version, new Map([["x", 9]]))
    nodes.push()
    const answer = await Nodes.call(nodes.first, "/function/hello")
    assert.strictEqual(answer.status, 508)
    assert.deepInclude(Nodes.errorOf(answer), { reason: "loop", path: ["n1", "x", "n1"], retryable: false })
    server.close()
  })
})
