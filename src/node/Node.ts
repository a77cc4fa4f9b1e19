/** One node of a cluster, whole: membership, control plane, catalog, gateway and executor put together.
 *
 * Job: opens what must be open before the node announces itself (folder, listeners), then joins, then serves; and leaves
 * in the order that loses no request: hand over, say goodbye, serve on, finish, close.
 * Boundary: no rule of any part is here, only their order. Embedders use `layer`; the command line uses `run`.
 * Invariants: F3. */
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as ClusterManager from "../cluster/ClusterManager.ts"
import * as Keys from "../cluster/Keys.ts"
import * as NodeMeta from "../cluster/NodeMeta.ts"
import * as Peers from "../cluster/Peers.ts"
import * as PeerServer from "../cluster/PeerServer.ts"
import type { StoreError } from "../cluster/Store.ts"
import * as Admin from "../functions/Admin.ts"
import * as Catalog from "../functions/Catalog.ts"
import * as CatalogNode from "../functions/CatalogNode.ts"
import * as Link from "../functions/Link.ts"
import * as LinkServer from "../functions/LinkServer.ts"
import type { InvalidConfig } from "../membership/Config.ts"
import { Keyring, type KeyringError } from "../membership/Keyring.ts"
import * as Membership from "../membership/Membership.ts"
import { formatAddress, Transport, type TransportError } from "../membership/Transport.ts"
import * as Member from "../swim/Member.ts"
import type { FolderLocked } from "./FolderLock.ts"
import type * as Gateway from "./gateway/Gateway.ts"
import * as MembersFile from "./MembersFile.ts"
import type { Addresses, NodeConfig } from "./NodeConfig.ts"
import * as NodeFunctions from "./NodeFunctions.ts"
import type { KeyringDamaged } from "./NodeKeyring.ts"
import * as NodeRpc from "./NodeRpc.ts"
import * as NodeSecurity from "./NodeSecurity.ts"
import * as NodeStore from "./NodeStore.ts"
import * as NodeTransport from "./NodeTransport.ts"
import * as SavedMembers from "./SavedMembers.ts"

/** There is no node, or no longer. Fault: configuration or the machine; the message names the cause and the place.
 * State: nothing is left open. Retry: after the cause is gone. */
export class NodeError extends Schema.TaggedError<NodeError>()("NodeError", {
  reason: Schema.Literals(["listener", "folder", "name-taken", "configuration", "stopped"]),
  message: Schema.String
}) {}

/** A running node. */
export class Node extends Context.Service<Node, {
  readonly name: string
  readonly addresses: Addresses
  /** Succeeds when the node was asked over HTTP to leave; fails when it cannot go on. */
  readonly ended: Effect.Effect<void, NodeError>
  /** Says goodbye, serves on for a moment, finishes what runs, takes nothing new. Idempotent; the layer's release does it
   * too. */
  readonly leave: Effect.Effect<void>
}>()("shoal/node/Node") {}

/** What a node offers to the program around it. */
export type Services = Node | Membership.Membership | ClusterManager.ClusterManager | Catalog.Catalog

const defaultLingerMs = 1000
/** What runs longer than this when a node leaves is ended with it. */
const drainLimit = "15 seconds"

const make = Effect.fnUntraced(function*(
  config: NodeConfig
): Effect.fn.Return<Context.Context<Services>, NodeError, Scope.Scope> {
  const bootId = yield* Random.nextIntBetween(1, Member.maxBootId)
  const reign = { epoch: 0 }
  const self: Peers.Self = { id: config.name, bootId, label: config.label, epoch: Effect.sync(() => reign.epoch) }
  const { control, gateway: gatewayPort } = Link.pair()

  // Before anybody hears of this node: its folder, and every listener that it will name to others.
  const { base, security } = yield* Effect.mapError(foundation(config), toNodeError)
  const accepting = yield* Layer.build(PeerServer.layer({ self, bind: config.rpc })).pipe(
    Effect.provideContext(base),
    Effect.mapError(toNodeError)
  )
  const gateway = yield* Effect.mapError(
    NodeFunctions.make({ config, bootId, port: gatewayPort, security }),
    toNodeError
  )
  const meta = yield* metadata(config, {
    http: gateway.addresses.http,
    rpc: Context.get(accepting, PeerServer.PeerServer).address,
    data: gateway.addresses.data
  })

  const known = yield* Effect.provideContext(SavedMembers.load, base)
  const membership = membershipOf(config, { bootId, restore: known?.bytes, metadata: meta })
  const manager = ClusterManager.layer({
    joining: config.join.length > 0 || known?.living === true,
    onEpoch: (epoch) => {
      reign.epoch = epoch
    }
  })
  const askedToLeave = yield* Deferred.make<void>()
  const cluster = yield* Layer.build(
    Layer.mergeAll(NodeRpc.layer, Catalog.layer, Keys.layer).pipe(
      Layer.provideMerge(CatalogNode.layer),
      Layer.provideMerge(manager),
      Layer.provideMerge(Layer.merge(membership, Peers.layer(self)))
    )
  ).pipe(Effect.provideContext(Context.merge(base, accepting)), Effect.mapError(toNodeError))
  const links = yield* Layer.build(
    LinkServer.layer.pipe(
      Layer.provide(
        Admin.layer({ leave: Deferred.succeed(askedToLeave, undefined), keys: Context.get(cluster, Keys.Keys) })
      )
    )
  ).pipe(Effect.provideContext(cluster))
  const link = Context.get(links, LinkServer.LinkServer)
  const serving = yield* Effect.forkScoped(link.serve(control))

  const member = Context.get(cluster, Membership.Membership)
  const { conflict, leave: sayGoodbye, self: own } = member
  yield* Effect.mapError(Effect.provideContext(follow(member, config.membersFile), base), toNodeError)
  const leave = yield* Effect.cached(Effect.gen(function*() {
    yield* Effect.provideContext(SavedMembers.save(member), base)
    yield* Context.get(cluster, ClusterManager.ClusterManager).retire
    yield* link.drain
    yield* sayGoodbye
    yield* Effect.promise(() => gateway.drain(config.lingerMs ?? defaultLingerMs)).pipe(
      Effect.timeoutOption(drainLimit)
    )
  }))
  yield* Effect.addFinalizer(() => leave)
  const node = Node.of({
    name: config.name,
    addresses: {
      ...gateway.addresses,
      rpc: Context.get(accepting, PeerServer.PeerServer).address,
      gossip: (yield* own).address
    },
    ended: Effect.raceAllFirst([
      Deferred.await(askedToLeave),
      Effect.mapError(conflict, toNodeError),
      Fiber.join(serving) // never ends while the node is well
    ]),
    leave
  })
  return Context.add(cluster, Node, node)
})

/** The folder of a node, what its keys make of its connections, and the transport on those. */
const foundation = Effect.fnUntraced(function*(config: NodeConfig) {
  const folder = yield* Layer.build(Layer.merge(NodeStore.layer({ dir: config.dataDir }), NodeCrypto.layer))
  const security = yield* Effect.provideContext(NodeSecurity.make(config), folder)
  return { base: withKeyring(Context.add(folder, Transport, NodeTransport.make(security.tcp)), security), security }
})

/** Keeps what is written of the members current. */
const follow = Effect.fnUntraced(function*(member: Membership.Membership["Service"], file: string | undefined) {
  yield* Effect.forkScoped(SavedMembers.keep(member))
  if (file === undefined) return
  yield* MembersFile.write(member, file)
  yield* Effect.forkScoped(MembersFile.keep(member, file))
})

const membershipOf = (
  config: NodeConfig,
  own: {
    readonly bootId: Member.BootId
    readonly restore: Uint8Array | undefined
    readonly metadata: Uint8Array
  }
) =>
  Membership.layer({
    name: config.name,
    label: config.label,
    bind: formatAddress(config.bind),
    advertise: config.advertise === undefined ? undefined : formatAddress(config.advertise),
    join: config.join,
    profile: config.profile,
    ...own
  })

/** A node as a layer: built when it listens and takes part, released when it has left. Several in one process need
 * `Layer.fresh` or a scope of their own each. */
export const layer = (config: NodeConfig): Layer.Layer<Services, NodeError> => Layer.effectContext(make(config))

/** Where a running node listens, as text. */
export interface Ready {
  readonly name: string
  readonly gossip: string
  readonly http: string
  readonly rpc: string
  readonly data: string
}

/** Runs a node until it is interrupted or asked to leave, which it does in good order; fails with what stops it. */
export const run = (config: NodeConfig, onReady: (ready: Ready) => void): Effect.Effect<void, NodeError> =>
  Effect.scoped(Effect.gen(function*() {
    const node = Context.get(yield* make(config), Node)
    const { addresses, ended, name } = node
    yield* Effect.sync(() =>
      onReady({
        name,
        gossip: formatAddress(addresses.gossip),
        http: formatAddress(addresses.http),
        rpc: formatAddress(addresses.rpc),
        data: formatAddress(addresses.data)
      })
    )
    yield* ended
  }))

/** The parts below find the ring in their context, if there is one. */
const withKeyring = <R>(context: Context.Context<R>, { keyring }: NodeSecurity.Security): Context.Context<R> =>
  keyring === undefined ? context : Context.add(context, Keyring, keyring)

const metadata = (config: NodeConfig, addresses: Omit<Addresses, "gossip">): Effect.Effect<Uint8Array, NodeError> => {
  // Bound to all addresses of the machine: others are told the one under which they know its gossip.
  const reachable = config.advertise?.host ?? config.bind.host
  const told = (address: Member.Address): string =>
    formatAddress(unspecified.has(address.host) ? { ...address, host: reachable } : address)
  const bytes = NodeMeta.encode({
    http: told(addresses.http),
    rpc: told(addresses.rpc),
    data: told(addresses.data),
    release: config.release,
    eligible: config.eligible ?? true,
    tags: config.tags
  })
  return bytes === undefined
    ? Effect.fail(new NodeError({ reason: "configuration", message: "tags and addresses exceed 512 bytes" }))
    : Effect.succeed(bytes)
}

const unspecified = new Set(["0.0.0.0", "::"])

type Trouble =
  | MembersFile.MembersFileError
  | FolderLocked
  | KeyringDamaged
  | KeyringError
  | NodeSecurity.KeyNeeded
  | StoreError
  | TransportError
  | Gateway.ListenError
  | InvalidConfig
  | Membership.NameConflict

const reasons: Readonly<Record<Trouble["_tag"], NodeError["reason"]>> = {
  FolderLocked: "folder",
  MembersFileError: "folder",
  KeyringDamaged: "folder",
  KeyringError: "folder",
  KeyNeeded: "configuration",
  StoreError: "folder",
  TransportError: "listener",
  ListenError: "listener",
  InvalidConfig: "configuration",
  NameConflict: "name-taken"
}

const toNodeError = (error: Trouble): NodeError =>
  new NodeError({ reason: reasons[error._tag], message: error.message })
