/** The keys of the whole cluster: the same step on every living member, told node by node.
 *
 * Job: looks before it changes. A key is used only when every member has it, removed only when none seals with it, so
 * that a rotation cannot part the cluster; `force` skips the look.
 * Boundary: one ring is the `Keyring`'s. There is no agreement here: members that could not be reached are named, and
 * the step is repeated for them by whoever asked (each step may be repeated). */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import type { RpcClientError } from "effect/rpc/RpcClientError"
import type * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import * as ClusterKey from "../membership/ClusterKey.ts"
import * as Discovery from "../membership/Discovery.ts"
import { type KeyInfo, type Keyring, KeyringError } from "../membership/Keyring.ts"
import { ClusterManager } from "./ClusterManager.ts"
import type * as ClusterView from "./ClusterView.ts"
import * as KeyRpc from "./KeyRpc.ts"
import * as Peers from "./Peers.ts"

/** What a member has in its ring, or why that is not known. */
export interface Held {
  readonly node: string
  readonly keys: ReadonlyArray<KeyInfo>
  readonly problem: string | undefined
}

/** What became of a step at a member. */
export interface Outcome {
  readonly node: string
  /** undefined: done */
  readonly problem: string | undefined
}

export type Step =
  /** `wrappedWith`: the key is wrapped with the key of that fingerprint */
  | { readonly _tag: "Install"; readonly key: string; readonly wrappedWith?: string | undefined }
  | { readonly _tag: "Use"; readonly id: string; readonly force: boolean }
  | { readonly _tag: "Remove"; readonly id: string; readonly force: boolean }

/** The step would part the cluster. Fault: the order of steps, or members that cannot be reached. State: unchanged
 * everywhere. Retry: after the cause is gone, or with `force`. */
export class KeysUnready extends Schema.TaggedError<KeysUnready>()("KeysUnready", {
  /** one sentence per member in the way */
  problems: Schema.Array(Schema.String)
}) {
  override get message(): string {
    return this.problems.join("; ")
  }
}

export class Keys extends Context.Service<Keys, {
  /** Of every member that should be alive; fails when this node has no ring. */
  readonly list: Effect.Effect<ReadonlyArray<Held>, KeyringError>
  readonly apply: (step: Step) => Effect.Effect<ReadonlyArray<Outcome>, KeyringError | KeysUnready>
}>()("shoal/cluster/Keys") {}

type Client = Peers.Client<RpcGroup.Rpcs<typeof KeyRpc.KeyRpc>>

const callTimeout = "3 seconds"
const atOnce = 16

const isActive = (member: ClusterView.MemberView): boolean => member.status === "alive" || member.status === "suspect"

/** What is in the way of a step, by what members hold. */
const hindrances = (step: Step, held: ReadonlyArray<Held>): ReadonlyArray<string> => {
  if (step._tag === "Install" || step.force) return []
  return held.flatMap(({ keys, node, problem }) => {
    if (problem !== undefined) return [`${node} cannot be asked (${problem})`]
    const key = keys.find(({ id }) => id === step.id)
    if (step._tag === "Use") return key === undefined ? [`${node} does not have the key`] : []
    return key?.primary === true ? [`${node} still uses the key`] : []
  })
}

const failureOf = (cause: Cause.Cause<unknown>): string => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  if (Schema.is(KeyringError)(error)) return error.message
  if (Schema.is(Peers.PeerUnavailable)(error)) return error.detail
  return Cause.hasInterruptsOnly(cause) ? "the connection was closed" : "no answer"
}

const make = Effect.gen(function*() {
  const cluster = yield* ClusterManager
  const clients = yield* Peers.clientsOf(KeyRpc.KeyRpc)
  const own = Effect.provideContext(KeyRpc.ownRing, yield* Effect.context<never>())

  const call = <A, E>(member: ClusterView.MemberView, use: (client: Client) => Effect.Effect<A, E>) =>
    Effect.gen(function*() {
      const rpc = member.meta === undefined ? undefined : Discovery.parseAddress(member.meta.rpc)
      if (rpc === undefined || Result.isFailure(rpc)) {
        return yield* new Peers.PeerUnavailable({ id: member.id, reason: "Incompatible", detail: "no known address" })
      }
      return yield* use(yield* clients({ id: member.id, bootId: member.bootId, rpc: rpc.success }))
    }).pipe(
      Effect.scoped,
      Effect.timeoutOrElse({
        duration: callTimeout,
        orElse: () =>
          Effect.fail(new Peers.PeerUnavailable({ id: member.id, reason: "Timeout", detail: "no answer in time" }))
      })
    )

  const onMembers = <A, E>(
    here: (ring: Keyring["Service"]) => Effect.Effect<A, KeyringError>,
    there: (client: Client) => Effect.Effect<A, E>
  ) =>
    Effect.gen(function*() {
      const mine = yield* own
      const { members, self } = yield* cluster.view
      return yield* Effect.forEach(members.filter(isActive), (member) =>
        Effect.map(
          Effect.exit<A, KeyringError | E | Peers.PeerUnavailable, never>(
            member.id === self ? here(mine) : call(member, there)
          ),
          (exit) => ({ node: String(member.id), exit })
        ), { concurrency: atOnce })
    })

  const list = Effect.map(
    onMembers((mine) => mine.list, (client) => client.KeyList()),
    (all) =>
      all.map(({ exit, node }): Held =>
        exit._tag === "Success"
          ? { node, keys: exit.value, problem: undefined }
          : { node, keys: [], problem: failureOf(exit.cause) }
      )
  )

  const apply = Effect.fn("Keys.apply")(function*(asked: Step) {
    const step = unwrapped(yield* own, asked)
    if (step === undefined) return yield* new KeyringError({ reason: "bad-key", id: "" })
    const problems = hindrances(step, yield* list)
    if (problems.length > 0) return yield* new KeysUnready({ problems })
    const all = yield* onMembers((mine) => perform(mine, step), (client) => send(client, step))
    yield* Effect.logInfo("the keys of the cluster changed").pipe(
      Effect.annotateLogs({ step: step._tag, ...(step._tag === "Install" ? {} : { key: step.id }) })
    )
    return all.map(({ exit, node }): Outcome => ({
      node,
      problem: exit._tag === "Success" ? undefined : failureOf(exit.cause)
    }))
  })
  return Keys.of({ list, apply })
})

/** With the key in clear; undefined when it cannot be unwrapped. */
const unwrapped = ({ cipher, ring }: Keyring["Service"], step: Step): Step | undefined => {
  if (step._tag !== "Install" || step.wrappedWith === undefined) return step
  const holder = ring.get(step.wrappedWith)
  const secret = holder === undefined ? undefined : ClusterKey.unwrap(cipher, holder.secret, step.key)
  return secret === undefined ? undefined : { _tag: "Install", key: ClusterKey.format(secret) }
}

const perform = (ring: Keyring["Service"], step: Step): Effect.Effect<void, KeyringError> => {
  switch (step._tag) {
    case "Install":
      return Effect.asVoid(KeyRpc.installText(ring, step.key))
    case "Use":
      return ring.use(step.id)
    case "Remove":
      return ring.remove(step.id)
  }
}

const send = (client: Client, step: Step): Effect.Effect<void, KeyringError | RpcClientError> => {
  switch (step._tag) {
    case "Install":
      return Effect.asVoid(client.KeyInstall({ key: step.key }))
    case "Use":
      return client.KeyUse({ id: step.id })
    case "Remove":
      return client.KeyRemove({ id: step.id })
  }
}

/** Uses the `Keyring` in its context, if there is one; without one every request fails with `no-ring`. */
export const layer: Layer.Layer<Keys, never, ClusterManager | Peers.Peers> = Layer.effect(Keys, make)
