/** The other nodes as the catalog needs them: who they are now, and a call that ends.
 *
 * Boundary: the one place where the catalog meets `ClusterManager` and `Peers`. Every call has a deadline, and whatever
 * keeps it from being answered is one error. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { RpcClientError } from "effect/rpc/RpcClientError"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import { ClusterManager } from "../cluster/ClusterManager.ts"
import type * as ClusterView from "../cluster/ClusterView.ts"
import * as Peers from "../cluster/Peers.ts"
import * as Discovery from "../membership/Discovery.ts"
import type { MemberId } from "../swim/Member.ts"
import { CatalogRpc } from "./CatalogRpc.ts"

/** A node did not answer: not a member, not reachable, gone or too slow. Fault: the network or the node. State: unknown
 * there. Retry: safe for everything that merges. */
export class Unreachable extends Schema.TaggedError<Unreachable>()("Unreachable", {
  id: Schema.String,
  detail: Schema.String
}) {}

export type Client = Peers.Client<RpcGroup.Rpcs<typeof CatalogRpc>>

export class CatalogPeers extends Context.Service<CatalogPeers, {
  readonly view: Effect.Effect<ClusterView.ClusterView>
  /** Runs `use` with a client of the member. Its typed failures pass; everything else is `Unreachable`. */
  readonly call: <A, E>(
    options: { readonly id: string; readonly within: Duration.Input },
    use: (client: Client) => Effect.Effect<A, E>
  ) => Effect.Effect<A, Exclude<E, RpcClientError> | Unreachable>
}>()("shoal/functions/CatalogPeers") {}

const isTransport = Schema.is(RpcClientError)
const isTyped = <E>(error: E): error is Exclude<E, RpcClientError> => !isTransport(error)

/** The member's process as `Peers` wants it. */
const peerOf = (view: ClusterView.ClusterView, id: string): Peers.Peer | undefined => {
  const member = view.members.find((one) => one.id === id && isActive(one))
  const rpc = member?.meta === undefined ? undefined : Discovery.parseAddress(member.meta.rpc)
  return member === undefined || rpc === undefined || Result.isFailure(rpc)
    ? undefined
    : { id, bootId: member.bootId, rpc: rpc.success }
}

const isActive = (member: ClusterView.MemberView): boolean => member.status === "alive" || member.status === "suspect"

/** The alive and suspect members that take part, but for this node: replicas first, then the rest, the suspects last. One
 * of membership alone has no disk for a copy. */
export const others = (view: ClusterView.ClusterView): ReadonlyArray<MemberId> => {
  const place = (member: ClusterView.MemberView): number => {
    if (member.status === "suspect") return Number.MAX_SAFE_INTEGER
    if (member.id === view.reign?.id) return -1
    const replica = view.replicas.indexOf(member.id)
    return replica < 0 ? view.replicas.length : replica
  }
  return view.members.filter((member) => isActive(member) && member.meta !== undefined && member.id !== view.self)
    .sort((a, b) => place(a) - place(b)).map((member) => member.id)
}

export const layer: Layer.Layer<CatalogPeers, never, ClusterManager | Peers.Peers> = Layer.effect(
  CatalogPeers,
  Effect.gen(function*() {
    const cluster = yield* ClusterManager
    const clients = yield* Peers.clientsOf(CatalogRpc)
    const call = <A, E>(
      { id, within }: { readonly id: string; readonly within: Duration.Input },
      use: (client: Client) => Effect.Effect<A, E>
    ): Effect.Effect<A, Exclude<E, RpcClientError> | Unreachable> => {
      const unreachable = (detail: string) => new Unreachable({ id, detail })
      const asked = Effect.gen(function*() {
        const peer = peerOf(yield* cluster.view, id)
        if (peer === undefined) return yield* unreachable("not a member with an address")
        const client = yield* Effect.mapError(clients(peer), (error) => unreachable(error.detail))
        return yield* use(client)
      })
      return asked.pipe(
        Effect.scoped,
        Effect.timeoutOrElse({ duration: within, orElse: () => unreachable("no answer in time") }),
        Effect.catchCause((cause): Effect.Effect<never, Exclude<E, RpcClientError> | Unreachable> => {
          const error = Cause.findErrorOption(cause)
          if (Option.isNone(error)) return unreachable(Cause.pretty(cause).slice(0, 200))
          return isTyped(error.value) ? Effect.fail(error.value) : unreachable("the connection was closed")
        })
      )
    }
    return CatalogPeers.of({ view: cluster.view, call })
  })
)
