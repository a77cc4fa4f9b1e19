/** What nodes say to each other about the keys of their rings, as Effect RPC on a control connection.
 *
 * Boundary: calls, payloads and failures; what they do is `Keyring`'s. They are only answered by a node with a ring,
 * whose control connections are then encrypted and open to holders of a key alone: whoever can send a key here has one
 * already. The schemas are part of the protocol between releases. */
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as Rpc from "effect/rpc/Rpc"
import * as RpcGroup from "effect/rpc/RpcGroup"
import * as Schema from "effect/Schema"
import * as ClusterKey from "../membership/ClusterKey.ts"
import { KeyInfo, Keyring, KeyringError } from "../membership/Keyring.ts"

export class KeyRpc extends RpcGroup.make(
  Rpc.make("KeyList", { success: Schema.Array(KeyInfo), error: KeyringError }),
  /** the key in base64 */
  Rpc.make("KeyInstall", { payload: { key: Schema.String }, success: KeyInfo, error: KeyringError }),
  Rpc.make("KeyUse", { payload: { id: Schema.String }, error: KeyringError }),
  Rpc.make("KeyRemove", { payload: { id: Schema.String }, error: KeyringError })
) {}

const noRing = new KeyringError({ reason: "no-ring", id: "" })

/** The ring of this node, if it has one. */
export const ownRing: Effect.Effect<Keyring["Service"], KeyringError> = Effect.flatMap(
  Effect.serviceOption(Keyring),
  (ring) => Effect.mapError(Effect.fromOption(ring), () => noRing)
)

/** Installs a key that came as text. */
export const installText = (ring: Keyring["Service"], text: string): Effect.Effect<KeyInfo, KeyringError> => {
  const secret = ClusterKey.parse(text)
  return Result.isFailure(secret)
    ? Effect.fail(new KeyringError({ reason: "bad-key", id: "" }))
    : ring.install(secret.success)
}

/** For the RPC server of the node; uses the `Keyring` in its context, if there is one. */
export const layer: Layer.Layer<Rpc.ToHandler<RpcGroup.Rpcs<typeof KeyRpc>>> = KeyRpc.toLayer(
  Effect.gen(function*() {
    const context = yield* Effect.context<never>()
    const withRing = <A>(use: (ring: Keyring["Service"]) => Effect.Effect<A, KeyringError>) =>
      Effect.provideContext(Effect.flatMap(ownRing, use), context)
    return KeyRpc.of({
      KeyList: () => withRing(({ list }) => list),
      KeyInstall: ({ key }) => withRing((ring) => installText(ring, key)),
      KeyUse: ({ id }) => withRing(({ use }) => use(id)),
      KeyRemove: ({ id }) => withRing(({ remove }) => remove(id))
    })
  })
)
