import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import { readFileSync } from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"
import * as Tls from "node:tls"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"
import * as Keyring from "../../src/membership/Keyring.ts"
import { HandshakeFailed } from "../../src/membership/Transport.ts"
import * as NodeCipher from "../../src/node/NodeCipher.ts"
import * as Tcp from "../../src/node/Tcp.ts"

const secret = (fill: number) => Result.getOrThrow(ClusterKey.make(new Uint8Array(32).fill(fill)))

const node = Effect.fnUntraced(function*(...fills: ReadonlyArray<number>) {
  const made = yield* Keyring.make({ given: fills.map(secret), saved: undefined, save: () => Effect.void })
  if (made === undefined) return assert.fail("no ring")
  const refused: Array<string> = []
  const tcp = Tcp.secured({ ring: made.keyring.ring, lingerMs: 0, onRefused: ({ reason }) => refused.push(reason) })
  return { keyring: made.keyring, tcp, refused }
})

/** A server that answers everything it reads. */
const echo = (tcp: Tcp.Tcp) =>
  Effect.acquireRelease(
    Effect.callback<{ readonly port: number; readonly sockets: Array<Net.Socket>; readonly server: Net.Server }>(
      (resume) => {
        const sockets: Array<Net.Socket> = []
        const server = tcp.createServer((socket) => {
          sockets.push(socket)
          socket.on("error", () => {})
          socket.on("data", (chunk) => socket.write(chunk))
        })
        server.listen(0, "127.0.0.1", () => {
          const { port } = server.address() as Net.AddressInfo
          resume(Effect.succeed({ port, sockets, server }))
        })
      }
    ),
    ({ server, sockets }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        for (const socket of sockets) socket.destroy()
      })
  )

/** Sends a word and reads it back; the error if that cannot be done. */
const ask = (socket: Net.Socket) =>
  Effect.callback<string, NodeJS.ErrnoException>((resume) => {
    socket.on("error", (error) => resume(Effect.fail(Tcp.openFailure(error))))
    socket.on("close", () => resume(Effect.fail(Object.assign(new Error("closed"), { code: "CLOSED" }))))
    socket.on("data", (chunk) => resume(Effect.succeed(chunk.toString())))
    socket.write("hello")
    return Effect.sync(() => socket.destroy())
  }).pipe(Effect.timeout("5 seconds"), Effect.ensuring(Effect.sync(() => socket.destroy())))

const isHandshake = Schema.is(HandshakeFailed)
const refusedBy = (exit: unknown): boolean => isHandshake(exit) && exit.reason === "refused"

const waitFor = (what: () => boolean) =>
  Effect.sync(what).pipe(
    Effect.repeat({ until: (holds) => holds, schedule: Schedule.spaced("2 millis") }),
    Effect.timeout("5 seconds")
  )

describe("Connections with a cluster key", () => {
  it.live("carry bytes between holders of one key, by TLS 1.3 and without certificates", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node(1), yield* node(1)]
      const { port, sockets } = yield* echo(a.tcp)
      let ephemeral = ""
      const socket = b.tcp.connect({ host: "127.0.0.1", port }, () => {
        if (socket instanceof Tls.TLSSocket) ephemeral = JSON.stringify(socket.getEphemeralKeyInfo())
      })
      assert.strictEqual(yield* ask(socket), "hello")
      // Forward secrecy: the key alone does not open a recording.
      assert.include(ephemeral, "X25519")
      const [server] = sockets
      assert.instanceOf(server, Tls.TLSSocket)
      if (!(server instanceof Tls.TLSSocket)) return
      assert.strictEqual(server.getProtocol(), "TLSv1.3")
      assert.strictEqual(server.getCipher().name, "TLS_AES_128_GCM_SHA256")
      assert.deepStrictEqual(Object.keys(server.getPeerCertificate()), [])
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer)))

  it.live("take any key of the ring, and use the first", () =>
    Effect.gen(function*() {
      const [a, b, c] = [yield* node(1, 2), yield* node(2), yield* node(3, 1)]
      const { port } = yield* echo(a.tcp)
      const to = { host: "127.0.0.1", port }
      assert.strictEqual(yield* ask(b.tcp.connect(to)), "hello")
      assert.isTrue(refusedBy(yield* Effect.flip(ask(c.tcp.connect(to)))))
      yield* c.keyring.use(a.keyring.ring.primary().id)
      assert.strictEqual(yield* ask(c.tcp.connect(to)), "hello")
      assert.deepStrictEqual(a.refused, ["unknown-key"])
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer)))

  it.live("are refused to strangers: no key, a guessed key, no TLS, nothing at all", () =>
    Effect.gen(function*() {
      const a = yield* node(1)
      const { port, sockets } = yield* echo(a.tcp)
      const to = { host: "127.0.0.1", port }
      const stranger = { ...to, minVersion: "TLSv1.3", rejectUnauthorized: false } as const
      assert.isTrue(refusedBy(yield* Effect.flip(ask(Tls.connect(stranger)))))
      const guess = () => ({ identity: a.keyring.ring.primary().id, psk: new Uint8Array(32).fill(9) })
      assert.isTrue(refusedBy(
        yield* Effect.flip(
          ask(Tls.connect({ ...stranger, ciphers: "TLS_AES_128_GCM_SHA256", pskCallback: guess }))
        )
      ))
      const tls12 = Tls.connect({ ...to, maxVersion: "TLSv1.2", rejectUnauthorized: false })
      assert.isTrue(refusedBy(yield* Effect.flip(ask(tls12))))
      yield* Effect.flip(ask(Net.connect(to)))
      yield* waitFor(() => a.refused.length === 4)
      assert.deepStrictEqual(a.refused.slice(0, 2), ["no-key", "wrong-key"])
      assert.deepStrictEqual(sockets, [])
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer)))

  it.live("are not opened to a server that has a certificate instead of the key; it reads nothing", () =>
    Effect.gen(function*() {
      const fixture = (name: string) => readFileSync(Path.join(import.meta.dirname, "../fixtures/tls", name))
      let read = ""
      const { port } = yield* echo({
        ...Tcp.plain,
        createServer: (onConnection) =>
          Tls.createServer({ key: fixture("key.pem"), cert: fixture("cert.pem") }, (socket) => {
            socket.on("data", (chunk) => read += chunk.toString())
            onConnection(socket)
          })
      })
      const { tcp } = yield* node(1)
      assert.isTrue(refusedBy(yield* Effect.flip(ask(tcp.connect({ host: "127.0.0.1", port })))))
      assert.strictEqual(read, "")
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer)))

  it.live("end on both sides when their key is removed, and are not resumed by a ticket", () =>
    Effect.gen(function*() {
      const [a, b] = [yield* node(1, 2), yield* node(1, 2)]
      const [first, second] = a.keyring.ring.keys().map(({ id }) => id)
      const { port, sockets } = yield* echo(a.tcp)
      const to = { host: "127.0.0.1", port }
      const socket = b.tcp.connect(to)
      let session: Buffer | undefined
      if (socket instanceof Tls.TLSSocket) socket.on("session", (ticket) => session = ticket)
      const { ring } = b.keyring
      const psk = Redacted.value(ring.primary().psk)
      let closed = false
      socket.on("error", () => {}).on("close", () => closed = true).resume()
      socket.write("hello")
      yield* waitFor(() => sockets.length === 1)
      yield* a.keyring.use(second ?? "")
      assert.isFalse(closed)
      yield* a.keyring.remove(first ?? "")
      yield* waitFor(() => closed)
      yield* b.keyring.use(second ?? "")
      assert.strictEqual(yield* ask(b.tcp.connect(to)), "hello")
      const old = { ciphers: "TLS_AES_128_GCM_SHA256", pskCallback: () => ({ identity: first ?? "", psk }) }
      const options = { ...to, ...old, minVersion: "TLSv1.3", rejectUnauthorized: false } as const
      assert.isTrue(refusedBy(yield* Effect.flip(ask(Tls.connect(options)))))
      if (session === undefined) return
      assert.isTrue(refusedBy(yield* Effect.flip(ask(Tls.connect({ ...options, session })))))
    }).pipe(Effect.scoped, Effect.provide(NodeCipher.layer)))

  it("tell a process that is not there from one that does not know us", () => {
    const gone = Object.assign(new Error("connect ECONNREFUSED"), { code: "ECONNREFUSED" })
    assert.strictEqual(Tcp.openFailure(gone), gone)
    const reset = Tcp.openFailure(Object.assign(new Error("reset"), { code: "ECONNRESET" }))
    assert.isTrue(isHandshake(reset) && reset.reason === "closed")
  })
})
