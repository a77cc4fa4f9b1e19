/** Calls of the control plane to other nodes: the outputs of `ClusterState` that are messages, and their answers as its
 * inputs.
 *
 * Job: one bounded call per message, over the shared connections of `Peers`; whatever goes wrong is `Unavailable` or a
 * typed refusal. A refusal that carries a reign is heard.
 * Boundary: nothing is decided and nothing is repeated here; the state asks again when it wants to. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as RpcClientError from "effect/rpc/RpcClientError"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import type { NotMaster } from "./ClusterError.ts"
import type { Input, Output, Support } from "./ClusterMessage.ts"
import { ClusterRpc } from "./ClusterRpc.ts"
import * as Peers from "./Peers.ts"
import { limit, type Reign } from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"

/** The peer is unknown, did not answer in time, or the connection broke. Fault: the peer or the network. State: unknown
 * there. Retry: safe, every message of the control plane is idempotent. */
export class Unavailable extends Schema.TaggedError<Unavailable>()("Unavailable", {
  id: Schema.String,
  reason: Schema.String
}) {}

type Unstamp<I> = I extends { readonly now: number } ? Omit<I, "now"> : never
/** An input without its time, which the actor adds when it takes it. */
export type Unstamped = Unstamp<Input>

export type Client = Peers.Client<RpcGroup.Rpcs<typeof ClusterRpc>>

/** One way to reach a run of a member. */
export interface Directory {
  readonly self: Run
  readonly peerOf: (run: Run) => Peers.Peer | undefined
  readonly post: (input: Unstamped) => Effect.Effect<void>
  /** A member was told of this node's reign: what it has, undefined when it was not reached or does not obey. */
  readonly heard: (
    from: Run,
    reign: Reign,
    marks: Readonly<Record<string, string>> | undefined
  ) => Effect.Effect<void>
}

export interface PeerCalls {
  /** The client and the connection it uses, as long as the scope lasts. */
  readonly call: <A, E>(
    to: Run,
    within: Duration.Input,
    use: (client: Client) => Effect.Effect<A, E | RpcClientError.RpcClientError>
  ) => Effect.Effect<A, E | Unavailable>
  readonly carryOut: (output: Message) => Effect.Effect<void>
  readonly clientOf: (peer: Peers.Peer) => ReturnType<Effect.Success<ReturnType<typeof makeClients>>>
}

const makeClients = () => Peers.clientsOf(ClusterRpc)

/** The outputs that are messages to peers. */
export type Message = Extract<
  Output,
  {
    readonly _tag:
      | "Announce"
      | "Contest"
      | "SendVerdict"
      | "Greet"
      | "AskSupport"
      | "SendRegister"
      | "SendReregister"
      | "SendHandover"
  }
>

const messageTimeout = "1 second"
const registerTimeout = "2 seconds"

const isUnavailable = Schema.is(Unavailable)
const isPeerUnavailable = Schema.is(Peers.PeerUnavailable)

export const make = Effect.fnUntraced(function*(directory: Directory) {
  const clientOf = yield* makeClients()
  const call: PeerCalls["call"] = <A, E>(
    to: Run,
    within: Duration.Input,
    use: (client: Client) => Effect.Effect<A, E | RpcClientError.RpcClientError>
  ) =>
    Effect.suspend(() => {
      const peer = directory.peerOf(to)
      const unavailable = (reason: string) => new Unavailable({ id: to.id, reason })
      if (peer === undefined) return Effect.fail(unavailable("unknown"))
      return Effect.scoped(Effect.flatMap(clientOf(peer), use)).pipe(
        Effect.timeoutOrElse({ duration: within, orElse: () => Effect.fail(unavailable("timeout")) }),
        Effect.catchCause((cause): Effect.Effect<never, E | Unavailable> => {
          // a server that closes fails its calls by interruption
          if (Cause.hasInterruptsOnly(cause)) return Effect.fail(unavailable("closed"))
          return Effect.catch(
            Effect.failCause(cause),
            (error): Effect.Effect<never, E | Unavailable> => {
              if (isUnavailable(error)) return Effect.fail(error)
              if (isPeerUnavailable(error)) return Effect.fail(unavailable(error.reason))
              return isClientError(error) ? Effect.fail(unavailable("broken")) : Effect.fail(error)
            }
          )
        })
      )
    })
  const carryOut = (output: Message): Effect.Effect<void> => {
    switch (output._tag) {
      case "SendHandover":
        return call(output.to, messageTimeout, (client) => client.ClusterHandover({ message: output.message })).pipe(
          Effect.catchTag("Unavailable", ({ reason }) =>
            reason === "Refused" || reason === "OtherMember"
              ? directory.post({ _tag: "HandoverLost", run: output.to })
              : Effect.void),
          // it is repeated
          Effect.ignore
        )
      case "Announce":
        return each(
          output.to,
          (to) =>
            call(to, messageTimeout, (client) => client.ClusterAnnounce({ reign: output.reign })).pipe(
              Effect.matchEffect({
                onFailure: () => directory.heard(to, output.reign, undefined),
                onSuccess: ({ marks }) => directory.heard(to, output.reign, marks)
              })
            )
        )
      case "SendVerdict":
        return each(output.to, (to) =>
          Effect.ignore(
            call(to, messageTimeout, (client) => client.ClusterVerdict({ reign: output.reign, lost: output.lost }))
          ))
      case "Greet":
        return each(output.to, (to) => greet(call, directory.self, to, output.reign))
      case "SendReregister":
        return Effect.ignore(
          call(output.to, messageTimeout, (client) => client.ClusterReregister({ reign: output.reign }))
        )
      case "Contest":
        return call(output.to, messageTimeout, (client) => client.ClusterContest({ reign: output.reign })).pipe(
          Effect.flatMap(({ reign }) => heard(directory, reign, output.to)),
          Effect.ignore
        )
      case "AskSupport":
        return each(output.to, (to) => askSupport(call, directory, to, output.claim))
      case "SendRegister":
        return register(call, directory, output)
    }
  }
  const calls: PeerCalls = { call, carryOut, clientOf }
  return calls
})

const isClientError = (error: unknown): error is RpcClientError.RpcClientError =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "RpcClientError"

const each = (to: ReadonlyArray<Run>, f: (to: Run) => Effect.Effect<void>): Effect.Effect<void> =>
  Effect.forEach(to, f, { concurrency: 64, discard: true })

const heard = (directory: Directory, reign: Reign | undefined, from: Run): Effect.Effect<void> =>
  reign === undefined ? Effect.void : directory.post({ _tag: "ReignHeard", reign, from })

/** A claim below every reign that anybody obeys: it is refused without a trace. */
export const greeting = (self: Run): Reign => ({
  ...self,
  epoch: 1,
  startedAt: limit - 1,
  predecessor: undefined,
  kind: "plain",
  witnesses: 0
})

/** The calls of a failover, once, without effect: a first use costs many times what the next ones do. */
const greet = (call: PeerCalls["call"], self: Run, to: Run, reign: Reign): Effect.Effect<void> =>
  Effect.ignore(call(to, messageTimeout, (client) =>
    Effect.all([
      client.ClusterAnnounce({ reign }),
      client.ClusterVerdict({ reign, lost: false }),
      client.ClusterSupport({ claim: greeting(self) })
    ], { discard: true })))

const askSupport = (call: PeerCalls["call"], directory: Directory, to: Run, claim: Reign): Effect.Effect<void> => {
  const answer = (support: Support, reign: Reign | undefined) =>
    directory.post({ _tag: "SupportAnswered", from: to, epoch: claim.epoch, support, reign })
  return call(to, messageTimeout, (client) => client.ClusterSupport({ claim })).pipe(
    Effect.matchEffect({
      onFailure: () => answer("unreachable", undefined),
      onSuccess: ({ reign, support }) => answer(support, reign)
    })
  )
}

const register = (
  call: PeerCalls["call"],
  directory: Directory,
  output: Extract<Output, { readonly _tag: "SendRegister" }>
): Effect.Effect<void> => {
  const { entries, reign, to } = output
  const own = entries.map(({ counter, live, version }) => ({ version, counter, live }))
  return call(to, registerTimeout, (client) => client.ClusterRegister({ reign, entries: own })).pipe(
    Effect.map(({ live }): number | undefined => live),
    Effect.catch((error) => {
      const { reign: known } = isNotMaster(error) ? error : { reign: undefined }
      return Effect.as(heard(directory, known, to), undefined)
    }),
    Effect.flatMap((live) => directory.post({ _tag: "RegisterAnswered", to, live }))
  )
}

const isNotMaster = (error: { readonly _tag: string }): error is NotMaster => error._tag === "NotMaster"
