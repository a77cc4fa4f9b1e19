/** What a cluster key changes in a node: its ring, how its connections are made, and who may administrate it.
 *
 * Job: opens the ring of the folder with the keys given at the start; counts strangers that were turned away, and logs
 * them once per peer and minute.
 * Boundary: without any key a node listens on loopback only, and everything is as plain as there. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as PeerServer from "../cluster/PeerServer.ts"
import type { Store, StoreError } from "../cluster/Store.ts"
import { Complaints } from "../membership/Complaints.ts"
import type * as Keyring from "../membership/Keyring.ts"
import { formatAddress } from "../membership/Transport.ts"
import type { Address } from "../swim/Member.ts"
import * as NodeCipher from "./NodeCipher.ts"
import type { NodeConfig } from "./NodeConfig.ts"
import * as NodeKeyring from "./NodeKeyring.ts"
import * as Tcp from "./Tcp.ts"

/** A listener that other machines reach, without a key. Fault: configuration. State: nothing was opened. Retry: with a
 * key, or on loopback. */
export class KeyNeeded extends Schema.TaggedError<KeyNeeded>()("KeyNeeded", { address: Schema.String }) {
  override get message(): string {
    return `${this.address} can be reached from other machines, which needs a cluster key`
  }
}

export interface Security {
  readonly keyring: Keyring.Keyring["Service"] | undefined
  readonly tcp: Tcp.Tcp
  /** whether a token belongs to a key of the ring; undefined without one */
  readonly authorized: ((token: string) => boolean) | undefined
}

const open: Security = { keyring: undefined, tcp: Tcp.plain, authorized: undefined }

const isLoopback = ({ host }: Address): boolean =>
  host === "::1" || host === "localhost" || /^127\.\d+\.\d+\.\d+$/.test(host)

export const make = Effect.fnUntraced(function*(config: NodeConfig): Effect.fn.Return<
  Security,
  KeyNeeded | NodeKeyring.KeyringDamaged | Keyring.KeyringError | StoreError,
  Store
> {
  const keyring = yield* Effect.provide(NodeKeyring.make(config.keys ?? []), NodeCipher.layer)
  if (keyring === undefined) {
    const exposed = [config.bind, config.http, config.rpc, config.data].find((address) => !isLoopback(address))
    return exposed === undefined ? open : yield* new KeyNeeded({ address: formatAddress(exposed) })
  }
  yield* Effect.annotateLogs(Effect.logInfo("the node uses a cluster key"), {
    key: keyring.ring.primary().id,
    keys: keyring.ring.keys().length
  })
  const say = Effect.runForkWith(yield* Effect.context<never>())
  const clock = yield* Clock.Clock
  const complaints = new Complaints()
  const onRefused = ({ reason, remote }: Tcp.Refused) => {
    say(Metric.update(Metric.withAttributes(PeerServer.rejected, { reason: `tls ${reason}` }), 1))
    if (!complaints.due(remote, clock.currentTimeMillisUnsafe())) return
    say(Effect.annotateLogs(Effect.logWarning("turned away a connection without a key of this cluster"), {
      reason,
      from: remote
    }))
  }
  return { keyring, tcp: Tcp.secured({ ring: keyring.ring, onRefused }), authorized: authorized(keyring) }
})

const utf8 = new TextEncoder()

const authorized = ({ cipher, ring }: Keyring.Keyring["Service"]) => (token: string): boolean => {
  const given = utf8.encode(token)
  return ring.keys().some((key) => cipher.equal(given, utf8.encode(Redacted.value(key.token))))
}
