/** A datagram socket that outlives the system's own one.
 *
 * Job: when the socket fails for good (an interface went away, the descriptor was closed), opens it again at the same
 * address, with growing pauses, for ever; the members meanwhile see a silent peer, as in any outage.
 * Boundary: one fiber pulls; what is sent while there is no socket is lost and told as such. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { Address } from "../swim/Member.ts"
import {
  type Datagrams,
  formatAddress,
  type Incoming,
  NotSent,
  type Transport,
  type TransportError
} from "./Transport.ts"

const firstPauseMs = 100
const longestPauseMs = 5000

export interface LastingDatagrams extends Datagrams {
  /** How often it was opened again. */
  readonly reopened: () => number
}

/** Opens the socket; only this first time a failure is one. */
export const open = Effect.fnUntraced(function*(
  transport: Transport["Service"],
  bind: Address
): Effect.fn.Return<LastingDatagrams, TransportError, Scope.Scope> {
  const outer = yield* Effect.scope
  let inner = yield* Scope.fork(outer)
  let socket: Datagrams | undefined = yield* Scope.provide(transport.datagrams(bind), inner)
  const { address } = socket
  let reopened = 0
  let droppedBefore = 0

  const tryAgain = Effect.gen(function*() {
    inner = yield* Scope.fork(outer)
    const exit = yield* Effect.exit(Scope.provide(transport.datagrams(address), inner))
    if (Exit.isFailure(exit)) {
      yield* Scope.close(inner, exit)
      return false
    }
    socket = exit.value
    reopened++
    return true
  })
  const reopen = Effect.fnUntraced(function*(error: TransportError) {
    const at = { address: formatAddress(address) }
    yield* Effect.annotateLogs(Effect.logWarning("Datagram socket failed, opening it again", error.cause), at)
    droppedBefore += socket?.dropped() ?? 0
    socket = undefined
    yield* Scope.close(inner, Exit.void)
    for (let pause = firstPauseMs;; pause = Math.min(2 * pause, longestPauseMs)) {
      yield* Effect.sleep(pause * (0.5 + (yield* Random.next) / 2))
      if (yield* tryAgain) break
    }
    yield* Effect.annotateLogs(Effect.logInfo("Datagram socket is open again"), at)
  })

  const pull: Effect.Effect<NonEmptyReadonlyArray<Incoming>> = Effect.suspend(() =>
    socket === undefined ? Effect.never : Effect.catch(socket.pull, (error) => Effect.andThen(reopen(error), pull))
  )
  return {
    address,
    pull,
    sendAll: (datagrams) =>
      socket === undefined
        ? new NotSent({ reason: "closed", count: datagrams.length })
        : socket.sendAll(datagrams),
    dropped: () => droppedBefore + (socket?.dropped() ?? 0),
    reopened: () => reopened
  }
})
