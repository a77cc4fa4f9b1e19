import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Transport from "../../src/membership/Transport.ts"
import { Cluster } from "./Cluster.ts"

const broken = new Transport.TransportError({ reason: "Closed", address: "10.0.0.2:7946", cause: "gone" })

/** A transport whose datagram socket fails when told, and cannot be opened while it shall not. */
const fragile = (cluster: Cluster, ip: string) => {
  const state = { failing: false, opened: 0, fail: () => {} }
  const transport = cluster.net.transport(ip)
  const datagrams: Transport.Transport["Service"]["datagrams"] = Effect.fnUntraced(function*(bind) {
    if (state.failing) return yield* broken
    const socket = yield* transport.datagrams(bind)
    const failure = Deferred.makeUnsafe<never, Transport.TransportError>()
    state.opened++
    state.fail = () => void Deferred.doneUnsafe(failure, Effect.fail(broken))
    return { ...socket, pull: Effect.raceFirst(socket.pull, Deferred.await(failure)) }
  })
  return { state, layer: Layer.succeed(Transport.Transport, { ...transport, datagrams }) }
}

const alive = ["n1:alive", "n2:alive"]

describe("LastingDatagrams", () => {
  it("opens a failed socket again at the same address, and the member stays one", () => {
    const cluster = new Cluster()
    const first = cluster.start("n1", "10.0.0.1")
    const { layer, state } = fragile(cluster, "10.0.0.2")
    const second = cluster.start("n2", "10.0.0.2", { join: ["10.0.0.1:7946"] }, layer)
    cluster.agree([first, second], alive, 5000)
    const { address } = cluster.run(second.service.self)
    state.fail()
    cluster.world.runFor(30_000)
    assert.strictEqual(state.opened, 2)
    assert.deepStrictEqual(cluster.run(second.service.self).address, address)
    cluster.agree([first, second], alive, 1000)
    const { datagramsUnsent, socketsReopened } = cluster.run(second.service.statistics)
    assert.strictEqual(socketsReopened, 1)
    assert.isAtMost(datagramsUnsent["closed"] ?? 0, 5)
    assert.isTrue(second.logs.some((line) => line.startsWith("Datagram socket failed")))
    assert.isUndefined(second.fiber.pollUnsafe())
  })

  it("tries for ever with growing pauses, is held dead meanwhile and comes back", () => {
    const cluster = new Cluster()
    const first = cluster.start("n1", "10.0.0.1", { params: { streamPing: false } })
    const { layer, state } = fragile(cluster, "10.0.0.2")
    const second = cluster.start("n2", "10.0.0.2", { join: ["10.0.0.1:7946"] }, layer)
    cluster.agree([first, second], alive, 5000)
    state.failing = true
    state.fail()
    cluster.agree([first], ["n1:alive", "n2:dead"], 60_000)
    assert.isAbove(cluster.run(second.service.statistics).datagramsUnsent["closed"] ?? 0, 0)
    state.failing = false
    cluster.agree([first, second], alive, 60_000)
  })
})
