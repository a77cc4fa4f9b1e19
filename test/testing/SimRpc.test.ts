/** An Effect RPC call between two nodes of real layers over a simulated stream, in virtual time. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as RpcSchema from "effect/rpc/RpcSchema"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as SocketServer from "effect/socket/SocketServer"
import * as Stream from "effect/Stream"
import * as Peers from "../../src/cluster/Peers.ts"
import * as PeerServer from "../../src/cluster/PeerServer.ts"
import { SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"

class Directory extends RpcGroup.make(
  Rpc.make("Register", {
    payload: { version: Schema.String, counter: Schema.Number },
    success: Schema.Struct({ by: Schema.String, total: Schema.Number })
  }),
  Rpc.make("Watch", { payload: { n: Schema.Number }, success: RpcSchema.Stream(Schema.Number, Schema.Never) }),
  Rpc.make("Hang")
) {}

const server = (options: { readonly self: Peers.Self; readonly trace: (line: string) => Effect.Effect<void> }) => {
  let total = 0
  const handlers = Directory.toLayer({
    Register: Effect.fnUntraced(function*({ counter, version }) {
      const caller = Option.getOrThrow(yield* Effect.serviceOption(PeerServer.Caller))
      total += counter
      yield* options.trace(`register ${version} ${counter} from ${caller.id}`)
      return { by: caller.id, total }
    }),
    Watch: ({ n }) => Stream.range(1, n),
    Hang: () => Effect.never
  })
  return Layer.effectDiscard(Effect.gen(function*() {
    const { sockets } = yield* PeerServer.PeerServer
    for (const { serialization, server } of sockets) {
      yield* Layer.build(Layer.fresh(
        RpcServer.layer(Directory, { disableFatalDefects: true, disableTracing: true }).pipe(
          Layer.provide(handlers),
          Layer.provide(RpcServer.layerProtocolSocketServer),
          Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
          Layer.provide(serialization)
        )
      ))
    }
  })).pipe(Layer.provide(PeerServer.layer({ self: options.self, bind: { host: "10.0.0.1", port: 7000 } })))
}

const self = (id: string): Peers.Self => ({ id, bootId: id.charCodeAt(0), label: "test", epoch: Effect.succeed(1) })

const peer = { id: "a", bootId: "a".charCodeAt(0), rpc: { host: "10.0.0.1", port: 7000 } }

const scenario = (seed: number) => {
  const world = new World({ seed })
  const net = new SimNet(world, { latency: [1, 10], loss: 0.2 })
  const trace: Array<string> = []
  const note = (line: string) => Effect.sync(() => void trace.push(`${world.now.toFixed(6)} ${line}`))
  world.fork(Layer.launch(server({ self: self("a"), trace: note }).pipe(Layer.provide(net.layer("10.0.0.1")))))
  const client = world.fork(
    Effect.gen(function*() {
      const clients = yield* Peers.clientsOf(Directory)
      const client = yield* clients(peer)
      const answers = yield* Effect.forEach(
        [1, 2, 3],
        (counter) => client.Register({ version: "v1", counter }).pipe(Effect.tap(() => note(`answered ${counter}`))),
        { concurrency: "unbounded" }
      )
      yield* note(`stream ${yield* Stream.runCollect(client.Watch({ n: 5 }))}`)
      return answers
    }).pipe(
      Effect.scoped,
      Effect.provide(Peers.layer(self("b")).pipe(Layer.provide(net.layer("10.0.0.2"))))
    )
  )
  const exit = world.join(client, 10_000)
  trace.push(
    `${world.now.toFixed(6)} ${world.events} events, ${net.counters.segments} segments, ${net.counters.bytes} bytes`
  )
  return { exit, trace, net, world }
}

describe("RPC over a simulated stream", () => {
  it("answers calls between two nodes of real layers in virtual time", () => {
    const { exit } = scenario(1)
    assert.deepStrictEqual(exit, Exit.succeed([{ by: "b", total: 1 }, { by: "b", total: 3 }, { by: "b", total: 6 }]))
  })

  it("gives the same trace for the same seed and another for another seed", () => {
    const first = scenario(7).trace
    assert.deepStrictEqual(scenario(7).trace, first)
    assert.notDeepEqual(scenario(8).trace, first)
    assert.isAbove(first.length, 7)
  })

  it("tells the caller at once when the peer's process is killed, and that nobody listens there", () => {
    const world = new World({ seed: 3 })
    const net = new SimNet(world, { latency: [1, 1] })
    world.fork(
      Layer.launch(server({ self: self("a"), trace: () => Effect.void }).pipe(Layer.provide(net.layer("10.0.0.1"))))
    )
    const times: Record<string, number> = {}
    const at = (name: string) => Effect.sync(() => void (times[name] = world.now))
    const fiber = world.fork(
      Effect.gen(function*() {
        const peers = yield* Peers.Peers
        const connection = yield* peers.connect(peer)
        const clients = yield* Peers.clientsOf(Directory)
        const client = yield* clients(peer)
        yield* at("connected")
        const hanging = yield* Effect.forkChild(Effect.flip(client.Hang()))
        yield* connection.closed
        yield* at("closed")
        const again = yield* Effect.flip(Effect.scoped(peers.connect(peer)))
        yield* at("refused")
        return [again.reason, (yield* Fiber.join(hanging))._tag] as const
      }).pipe(
        Effect.scoped,
        Effect.provide(Peers.layer(self("b")).pipe(Layer.provide(net.layer("10.0.0.2"))))
      )
    )
    world.runFor(100)
    net.kill("10.0.0.1")
    const exit = world.join(fiber, 5000)
    assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
    if (exit !== undefined && Exit.isSuccess(exit)) assert.deepStrictEqual(exit.value, ["Refused", "RpcClientError"])
    assert.isBelow(times.refused ?? Infinity, 110)
  })

  it("refuses a peer of another cluster with the reason", () => {
    const world = new World({ seed: 4 })
    const net = new SimNet(world)
    world.fork(
      Layer.launch(server({ self: self("a"), trace: () => Effect.void }).pipe(Layer.provide(net.layer("10.0.0.1"))))
    )
    const fiber = world.fork(
      Effect.gen(function*() {
        const peers = yield* Peers.Peers
        return yield* Effect.flip(peers.connect(peer))
      }).pipe(
        Effect.scoped,
        Effect.provide(Peers.layer({ ...self("b"), label: "other" }).pipe(Layer.provide(net.layer("10.0.0.2"))))
      )
    )
    const exit = world.join(fiber, 5000)
    assert.isTrue(exit !== undefined && Exit.isSuccess(exit))
    if (exit !== undefined && Exit.isSuccess(exit)) {
      assert.strictEqual(exit.value.reason, "Incompatible")
      assert.strictEqual(exit.value.detail, "other cluster label")
    }
  })
})
