/** A member and nothing more: joins, tells what it sees, and leaves.
 *
 * Job: transport, keyring and membership of a node, without control plane and functions; keeps the members file current.
 * Boundary: how changes are printed is the command line's. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as Store from "../cluster/Store.ts"
import type { Change } from "../membership/Changes.ts"
import { Keyring } from "../membership/Keyring.ts"
import * as Membership from "../membership/Membership.ts"
import { formatAddress, Transport } from "../membership/Transport.ts"
import * as MembersFile from "./MembersFile.ts"
import type { NodeConfig } from "./NodeConfig.ts"
import * as NodeSecurity from "./NodeSecurity.ts"
import * as NodeStore from "./NodeStore.ts"
import * as NodeTransport from "./NodeTransport.ts"
import * as SavedMembers from "./SavedMembers.ts"

/** There is no member, or no longer. Fault: configuration or the machine, as the message tells. State: nothing is left
 * open. Retry: after the cause is gone. */
export class AgentError extends Schema.TaggedError<AgentError>()("AgentError", { message: Schema.String }) {}

/** The settings of a node, as far as they concern its membership. */
export type AgentConfig = Omit<NodeConfig, "http" | "rpc" | "data" | "dataDir"> & {
  /** Keeps keyring and members from one run to the next; without it they are given at each start. */
  readonly dataDir?: string | undefined
}

export interface Hooks {
  readonly onReady: (self: { readonly name: string; readonly gossip: string }) => Effect.Effect<void>
  readonly onChange: (change: Change) => Effect.Effect<void>
}

const toAgentError = ({ message }: { readonly message: string }): AgentError => new AgentError({ message })

const loopback = { host: "127.0.0.1", port: 0 }

const member = Effect.fnUntraced(function*(config: AgentConfig) {
  const store = yield* Layer.build(
    config.dataDir === undefined ? Store.layerMemory : NodeStore.layer({ dir: config.dataDir })
  )
  // The other listeners of a node do not exist here.
  const judged: NodeConfig = { ...config, http: loopback, rpc: loopback, data: loopback, dataDir: "" }
  const { keyring, tcp } = yield* Effect.provideContext(NodeSecurity.make(judged), store)
  const saved = yield* Effect.provideContext(SavedMembers.load, store)
  const layer = Membership.layer({
    name: config.name,
    bind: formatAddress(config.bind),
    advertise: config.advertise === undefined ? undefined : formatAddress(config.advertise),
    join: config.join,
    restore: saved?.bytes,
    profile: config.profile,
    label: config.label,
    metadata: yield* MembersFile.metadata({ release: config.release, tags: config.tags })
  })
  const transport = Context.make(Transport, NodeTransport.make(tcp))
  const built = Effect.map(Layer.build(layer), Context.get(Membership.Membership))
  const membership = yield* (keyring === undefined
    ? Effect.provideContext(built, transport)
    : Effect.provideContext(built, Context.add(transport, Keyring, keyring)))
  return { membership, store }
})

/** Takes part until it is interrupted, then says goodbye. */
export const run = (config: AgentConfig, hooks: Hooks): Effect.Effect<void, AgentError> =>
  Effect.scoped(Effect.gen(function*(): Effect.fn.Return<void, AgentError, Scope.Scope> {
    const { membership, store } = yield* Effect.mapError(member(config), toAgentError)
    yield* Effect.addFinalizer(() =>
      Effect.andThen(Effect.provideContext(SavedMembers.save(membership), store), membership.leave)
    )
    yield* Effect.forkScoped(Effect.provideContext(SavedMembers.keep(membership), store))
    const { membersFile } = config
    if (membersFile !== undefined) {
      yield* Effect.mapError(MembersFile.write(membership, membersFile), toAgentError)
      yield* Effect.forkScoped(MembersFile.keep(membership, membersFile))
    }
    const { address, id } = yield* membership.self
    yield* hooks.onReady({ name: id, gossip: formatAddress(address) })
    yield* Effect.forkScoped(Stream.runForEach(membership.changes, hooks.onChange))
    return yield* Effect.mapError(membership.conflict, toAgentError)
  }))
