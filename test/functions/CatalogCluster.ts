/** Nodes with real catalogs, connections and RPC on a simulated network, under a control plane that the test commands. */
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as RpcServer from "effect/rpc/RpcServer"
import * as Schema from "effect/Schema"
import * as SocketServer from "effect/socket/SocketServer"
import * as SubscriptionRef from "effect/SubscriptionRef"
import * as ClusterError from "../../src/cluster/ClusterError.ts"
import { ClusterManager, type NodeRef } from "../../src/cluster/ClusterManager.ts"
import type { ClusterView, MemberView } from "../../src/cluster/ClusterView.ts"
import * as Peers from "../../src/cluster/Peers.ts"
import * as PeerServer from "../../src/cluster/PeerServer.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import * as Store from "../../src/cluster/Store.ts"
import * as Catalog from "../../src/functions/Catalog.ts"
import * as CatalogHandlers from "../../src/functions/CatalogHandlers.ts"
import * as CatalogNode from "../../src/functions/CatalogNode.ts"
import { CatalogRpc } from "../../src/functions/CatalogRpc.ts"
import type { MemberId } from "../../src/swim/Member.ts"
import { SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"

export interface Node {
  readonly id: string
  readonly ip: string
  readonly bootId: number
  readonly view: SubscriptionRef.SubscriptionRef<ClusterView>
  readonly observed: Array<number>
  /** what its routing table says */
  warm: ReadonlyArray<{ readonly version: string; readonly nodes: ReadonlyArray<NodeRef> }>
  fiber: Fiber.Fiber<unknown, unknown> | undefined
  catalog: Catalog.Catalog["Service"] | undefined
  parts: CatalogNode.CatalogNode["Service"] | undefined
}

const isNotMaster = Schema.is(ClusterError.NotMaster)
const memberId = (id: string): MemberId => id as MemberId

export const reignOf = (epoch: number, node: { readonly id: string; readonly bootId: number }): Reign.Reign => ({
  epoch,
  id: memberId(node.id),
  bootId: node.bootId,
  startedAt: 1,
  predecessor: undefined,
  kind: "witnessed",
  witnesses: 2
})

/** What the test commands, seen by one node. */
const managerOf = (node: Node): ClusterManager["Service"] => {
  const view = SubscriptionRef.get(node.view)
  const learn = (reign: Reign.Reign) =>
    SubscriptionRef.update(node.view, (known) => Reign.isLower(known.reign, reign) ? { ...known, reign } : known)
  const mastership = Effect.flatMap(
    view,
    ({ reign }) =>
      reign !== undefined && reign.id === node.id && reign.bootId === node.bootId
        ? Effect.succeed(reign)
        : Effect.fail(new ClusterError.NotMaster({ reign }))
  )
  return ClusterManager.of({
    view,
    views: SubscriptionRef.changes(node.view),
    register: () => Effect.void,
    deregister: () => Effect.void,
    locate: () => Effect.succeed({ nodes: [], lease: "granted" }),
    renewLease: () => Effect.void,
    endLease: () => Effect.void,
    routes: Effect.succeed(0),
    routesOf: Effect.sync(() => node.warm),
    mastership,
    writable: mastership,
    isOpen: Effect.succeed(true),
    handover: () => Effect.die("not scripted"),
    retire: Effect.void,
    takesPart: () => Effect.void,
    admit: (reign) =>
      Effect.flatMap(view, (known) =>
        known.reign !== undefined && Reign.isLower(reign, known.reign)
          ? Effect.fail(new ClusterError.LowerReign({ reign: known.reign }))
          : learn(reign)),
    learn,
    observeEpoch: (epoch) => Effect.sync(() => void node.observed.push(epoch)),
    masterCall: (call, { retryOn = () => false, within = "5 seconds" } = {}) => {
      const attempt: ReturnType<typeof call> = Effect.flatMap(view, ({ reign }) =>
        reign === undefined
          ? Effect.andThen(Effect.sleep(20), Effect.suspend(() => attempt))
          : call({ id: reign.id, bootId: reign.bootId, reign }).pipe(
            Effect.catchIf(
              (error) => isNotMaster(error) || retryOn(error),
              () => Effect.andThen(Effect.sleep(50), Effect.suspend(() => attempt))
            )
          ))
      return attempt.pipe(
        Effect.timeoutOrElse({
          duration: within,
          orElse: () => Effect.fail(new ClusterError.NoMaster({ reign: undefined }))
        })
      ) as never
    }
  })
}

const serve = Layer.effectDiscard(Effect.gen(function*() {
  const { sockets } = yield* PeerServer.PeerServer
  for (const { serialization, server } of sockets) {
    yield* Layer.build(Layer.fresh(
      RpcServer.layer(CatalogRpc, { disableFatalDefects: true, disableTracing: true }).pipe(
        Layer.provide(CatalogHandlers.layer),
        Layer.provide(RpcServer.layerProtocolSocketServer),
        Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
        Layer.provide(serialization)
      )
    ))
  }
}))

export class CatalogCluster {
  readonly world: World
  readonly net: SimNet
  readonly nodes = new Map<string, Node>()
  readonly disks = new Map<string, Map<string, Uint8Array>>()
  readonly logs: Array<string> = []
  private boots = 0
  private readonly logger = Logger.make(({ fiber, logLevel, message }) => {
    const annotations = fiber.getRef(References.CurrentLogAnnotations)
    this.logs.push(`${logLevel} ${String(message)} ${JSON.stringify(annotations)}`)
  })

  constructor(options: { readonly seed: number; readonly ids: ReadonlyArray<string> }) {
    this.world = new World({ seed: options.seed })
    this.net = new SimNet(this.world, { latency: [1, 3] })
    for (const id of options.ids) this.disks.set(id, new Map())
    for (const id of options.ids) this.start(id)
    this.tellMembers()
  }

  node(id: string): Node {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  catalog(id: string): Catalog.Catalog["Service"] {
    const { catalog } = this.node(id)
    if (catalog === undefined) throw new Error(`${id} has no catalog yet`)
    return catalog
  }

  manager(id: string): ClusterManager["Service"] {
    return managerOf(this.node(id))
  }

  /** Puts into the routing table of a node where a version is warm. */
  warm(id: string, version: string, nodes: ReadonlyArray<string>): void {
    this.node(id).warm = [
      { version, nodes: nodes.map((one) => ({ id: memberId(one), bootId: this.node(one).bootId })) }
    ]
  }

  viewOf(id: string): ClusterView {
    return SubscriptionRef.getUnsafe(this.node(id).view)
  }

  partsOf(id: string): CatalogNode.CatalogNode["Service"] {
    const { parts } = this.node(id)
    if (parts === undefined) throw new Error(`${id} has not opened its catalog yet`)
    return parts
  }

  /** Starts a node on its disk, as a new run of its process; the store may be replaced by a bad one. */
  start(id: string, store: (files: Map<string, Uint8Array>) => Store.Store["Service"] = Store.makeMemory): Node {
    const bootId = ++this.boots
    const ip = `10.0.0.${id.charCodeAt(0)}`
    const initial: ClusterView = {
      self: memberId(id),
      bootId,
      role: "worker",
      reign: undefined,
      replicas: [],
      members: []
    }
    const node: Node = {
      id,
      ip,
      bootId,
      view: Effect.runSync(SubscriptionRef.make(initial)),
      observed: [],
      warm: [],
      fiber: undefined,
      catalog: undefined,
      parts: undefined
    }
    this.nodes.set(id, node)
    const self: Peers.Self = { id, bootId, label: "test", epoch: Effect.succeed(0) }
    const layer = Layer.mergeAll(serve, Catalog.layer).pipe(
      Layer.provideMerge(CatalogNode.layer),
      Layer.provide(PeerServer.layer({ self, bind: { host: ip, port: 7000 } })),
      Layer.provide(Peers.layer(self)),
      Layer.provide(this.net.layer(ip)),
      Layer.provide(Layer.succeed(ClusterManager, managerOf(node))),
      Layer.provide(Layer.succeed(Store.Store, store(this.disks.get(id) ?? new Map()))),
      Layer.provide(NodeCrypto.layerDigest)
    )
    node.fiber = this.fork(
      Effect.gen(function*() {
        const context = yield* Layer.build(Layer.fresh(layer))
        node.catalog = Context.get(context, Catalog.Catalog)
        node.parts = Context.get(context, CatalogNode.CatalogNode)
        return yield* Effect.never
      }).pipe(Effect.scoped)
    )
    return node
  }

  /** The process is gone, its disk stays. */
  kill(id: string): void {
    const node = this.node(id)
    this.nodes.delete(id)
    this.net.kill(node.ip)
    if (node.fiber !== undefined) this.world.fork(Fiber.interrupt(node.fiber))
    this.world.runFor(0)
  }

  /** Some hold others dead. */
  tellGone(to: ReadonlyArray<string>, gone: ReadonlyArray<string>): void {
    this.update(to, (view) => ({
      ...view,
      members: view.members.map((member) => gone.includes(member.id) ? { ...member, status: "dead" } : member)
    }))
  }

  /** All that run are alive and know each other. */
  tellMembers(to: ReadonlyArray<string> = [...this.nodes.keys()]): void {
    const members = [...this.nodes.values()].map((node): MemberView => ({
      id: memberId(node.id),
      bootId: node.bootId,
      startedAt: node.bootId,
      status: "alive",
      role: "worker",
      incarnation: 0,
      address: { host: node.ip, port: 7946 },
      meta: { http: "", rpc: `${node.ip}:7000`, data: "", release: "1", eligible: true, tags: {} }
    }))
    this.update(to, (view) => ({ ...view, members }))
  }

  private update(ids: ReadonlyArray<string>, change: (view: ClusterView) => ClusterView): void {
    for (const id of ids) this.world.fork(SubscriptionRef.update(this.node(id).view, change))
    this.world.runFor(0)
  }

  /** Makes a node master in the eyes of some, by default all. */
  reign(epoch: number, master: string, options: {
    readonly to?: ReadonlyArray<string>
    readonly replicas?: ReadonlyArray<string>
  } = {}): Reign.Reign {
    const reign = reignOf(epoch, this.node(master))
    const replicas = (options.replicas ?? []).map(memberId)
    this.update(options.to ?? [...this.nodes.keys()], (view) => ({
      ...view,
      reign,
      replicas,
      role: view.self === master ? "master" : replicas.includes(view.self) ? "replica" : "worker"
    }))
    return reign
  }

  fork<A, E>(effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return this.world.fork(Effect.provide(effect, Logger.layer([this.logger])))
  }

  /** Runs an effect in the world to its end. */
  run<A, E>(effect: Effect.Effect<A, E>, millis = 20_000): Exit.Exit<A, E> {
    const exit = this.world.join(this.fork(effect), millis)
    if (exit === undefined) throw new Error("not done in time")
    return exit
  }

  /** Runs an effect that must succeed. */
  get<A, E>(effect: Effect.Effect<A, E>): A {
    const exit = this.run(effect)
    if (Exit.isSuccess(exit)) return exit.value
    throw new Error(`failed: ${String(exit.cause)}`)
  }

  /** Runs an effect that must fail; its error. */
  error<A, E>(effect: Effect.Effect<A, E>): E {
    return this.get(Effect.flip(effect))
  }

  /** Deploys; the manifest. */
  manifest(at: string, name: string, code: string) {
    return this.catalog(at).deploy({ name, bundle: new TextEncoder().encode(code) })
  }

  /** Deploys; the version. */
  deploy(at: string, name: string, code: string) {
    return Effect.map(this.manifest(at, name, code), ({ version }) => version)
  }

  /** The live version of a function in the records of a node, without asking others. */
  live(at: string, name: string): string | undefined {
    const snapshot = this.get(this.catalog(at).snapshot)
    return snapshot.functions.find((one) => one.name === name)?.aliases["live"]
  }

  /** Runs until one of these nodes has a prepared change on its disk. */
  stepUntilPrepared(ids: ReadonlyArray<string>): string {
    for (let i = 0; i < 1000; i++) {
      const holder = ids.find((id) =>
        [...(this.disks.get(id)?.keys() ?? [])].some((path) => path.startsWith("prepared/"))
      )
      if (holder !== undefined) return holder
      this.world.runFor(0.1)
    }
    throw new Error("nothing was prepared")
  }

  /** Nodes whose disk has the bundle (by default any) and the record or prepared change of a function. */
  holders(name: string, bundle = ""): ReadonlyArray<string> {
    return [...this.disks].filter(([, files]) => {
      const paths = [...files.keys()]
      return paths.some((path) => path.startsWith(`bundles/${bundle}`)) &&
        paths.some((path) => path === `records/${name}` || path.startsWith(`prepared/${name}-`))
    }).map(([id]) => id)
  }
}
