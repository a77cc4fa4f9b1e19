/** What of a cluster key a client command needs: its token, its fingerprint, and wrapping a new key with it.
 *
 * Boundary: the one file of the command line that touches cryptography; loaded only when there is a key. */
import * as Effect from "effect/Effect"
import { Cipher } from "../membership/Cipher.ts"
import * as ClusterKey from "../membership/ClusterKey.ts"
import * as NodeCipher from "../node/NodeCipher.ts"
import * as KeyOption from "./KeyOption.ts"

type Env = Readonly<Record<string, string | undefined>>

/** The token of the first key given; undefined without one. */
export const tokenOf = Effect.fn("KeyToken.tokenOf")(function*(flags: KeyOption.Flags, env: Env) {
  const [first] = yield* KeyOption.read(flags, env)
  if (first === undefined) return undefined
  return ClusterKey.token(yield* Cipher, first)
}, Effect.provide(NodeCipher.layer))

export const fingerprint = (secret: ClusterKey.Secret): Effect.Effect<string> =>
  Effect.map(Cipher, (cipher) => ClusterKey.fingerprint(cipher, secret)).pipe(Effect.provide(NodeCipher.layer))

export const generate = (bytes: number): Effect.Effect<string> =>
  Effect.map(Cipher, (cipher) => Buffer.from(cipher.random(bytes)).toString("base64")).pipe(
    Effect.provide(NodeCipher.layer)
  )

/** The body that installs a key: in clear for a node on this machine that knows no key of ours, else wrapped. */
export const installBody = Effect.fn("KeyToken.installBody")(function*(
  secret: ClusterKey.Secret,
  flags: KeyOption.Flags,
  env: Env
) {
  const cipher = yield* Cipher
  const [holder] = yield* KeyOption.read(flags, env)
  return holder === undefined
    ? { key: ClusterKey.format(secret) }
    : { key: ClusterKey.wrap(cipher, holder, secret), wrappedWith: ClusterKey.fingerprint(cipher, holder) }
}, Effect.provide(NodeCipher.layer))
