/** A control plane of real layers in virtual time: manager, actor, RPC over simulated streams, a store per node. Only the
 * membership is scripted: it tells of starts at once, of kills when the test says so, and carries the reign with delay. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as References from "effect/References"
import * as RpcServer from "effect/rpc/RpcServer"
import type * as Scope from "effect/Scope"
import * as SocketServer from "effect/socket/SocketServer"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import * as ClusterActor from "../../src/cluster/ClusterActor.ts"
import * as ClusterManager from "../../src/cluster/ClusterManager.ts"
import { ClusterRpc } from "../../src/cluster/ClusterRpc.ts"
import * as ClusterServer from "../../src/cluster/ClusterServer.ts"
import type * as ClusterState from "../../src/cluster/ClusterState.ts"
import * as NodeMeta from "../../src/cluster/NodeMeta.ts"
import * as Peers from "../../src/cluster/Peers.ts"
import * as PeerServer from "../../src/cluster/PeerServer.ts"
import * as Reign from "../../src/cluster/Reign.ts"
import * as RoutingTable from "../../src/cluster/RoutingTable.ts"
import * as Store from "../../src/cluster/Store.ts"
import { Changes, type Snapshot } from "../../src/membership/Changes.ts"
import { Membership } from "../../src/membership/Membership.ts"
import type { TransportError } from "../../src/membership/Transport.ts"
import * as Member from "../../src/swim/Member.ts"
import { type Conditions, SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"

export interface WorldNode {
  readonly id: Member.MemberId
  readonly ip: string
  readonly bootId: number
  readonly startedAt: number
  readonly meta: Uint8Array
  readonly members: Map<string, Member.Member>
  readonly changes: Changes
  item: Uint8Array | undefined
  up: boolean
  fiber: Fiber.Fiber<never, Store.StoreError | TransportError> | undefined
  services: {
    readonly manager: ClusterManager.ClusterManager["Service"]
    readonly actor: ClusterActor.ClusterActor["Service"]
  } | undefined
}

const higher = (a: Uint8Array | undefined, b: Uint8Array): boolean => {
  if (a === undefined) return true
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const difference = (b[i] ?? 0) - (a[i] ?? 0)
    if (difference !== 0) return difference > 0
  }
  return b.length > a.length
}

export class ControlWorld {
  readonly world: World
  readonly net: SimNet
  readonly nodes = new Map<string, WorldNode>()
  readonly trace: Array<string> = []
  readonly stores = new Map<string, Layer.Layer<Store.Store>>()

  private readonly tracer: Tracer.Tracer

  constructor(seed: number, conditions: Partial<Conditions> = {}, tracer: Tracer.Tracer = Tracer.nativeTracer) {
    this.tracer = tracer
    this.world = new World({ seed })
    this.net = new SimNet(this.world, conditions)
  }

  node(id: string): WorldNode {
    const node = this.nodes.get(id)
    if (node === undefined) throw new Error(`no node ${id}`)
    return node
  }

  running(): Array<WorldNode> {
    return [...this.nodes.values()].filter((node) => node.up)
  }

  start(id: string): WorldNode {
    const joining = this.nodes.size > 0
    const ip = `10.0.0.${id.slice(1)}`
    const meta = NodeMeta.encode({
      http: `${ip}:8080`,
      rpc: `${ip}:7000`,
      data: `${ip}:7001`,
      release: "1",
      eligible: true,
      tags: {}
    })
    if (meta === undefined) throw new Error("metadata does not fit")
    const members = new Map<string, Member.Member>()
    const node: WorldNode = {
      id: Member.id(id),
      ip,
      bootId: 1 + Math.floor(this.world.random() * 2 ** 40),
      startedAt: Math.floor(this.world.epoch + this.world.now),
      meta,
      members,
      changes: new Changes({ capacity: 64, snapshot: () => this.snapshot(node) }),
      item: undefined,
      up: true,
      fiber: undefined,
      services: undefined
    }
    this.nodes.set(id, node)
    for (const other of this.running()) {
      this.tell(other, "Joined", node, "alive")
      if (other === node) continue
      this.tell(node, "Joined", other, "alive")
      if (other.item !== undefined) this.hear(node, other.item)
    }
    node.fiber = this.world.fork(
      Effect.scoped(this.program(node, joining)).pipe(Effect.withTracer(this.tracer)),
      { seed: `${this.world.seed} ${id}` }
    )
    return node
  }

  /** The process ends at once; gossip learns of it when `fail` is called. */
  kill(id: string): void {
    const node = this.node(id)
    node.up = false
    this.net.kill(node.ip)
    node.fiber?.interruptUnsafe()
  }

  /** What gossip concludes some seconds after a kill. */
  fail(id: string): void {
    for (const other of this.running()) this.tell(other, "Failed", this.node(id), "dead")
  }

  /** Runs an effect with a node's manager, in virtual time. */
  run<A, E>(
    id: string,
    f: (manager: ClusterManager.ClusterManager["Service"]) => Effect.Effect<A, E>
  ): Exit.Exit<A, E> {
    const { services } = this.node(id)
    if (services === undefined) throw new Error(`${id} has not started`)
    const exit = this.world.join(this.world.fork(Effect.withTracer(f(services.manager), this.tracer)), 10_000)
    if (exit === undefined) throw new Error("it took more than 10 s")
    return exit
  }

  /** Runs until the condition holds; the time it took, or undefined. */
  until(condition: () => boolean, millis: number, step = 1): number | undefined {
    const from = this.world.now
    while (!condition()) {
      if (this.world.now - from >= millis) return undefined
      this.world.runFor(step)
    }
    return this.world.now - from
  }

  views(): Map<string, Reign.Reign | undefined> {
    return new Map(this.running().map((node) => [node.id, this.state(node)?.election.reign]))
  }

  /** The reign that all running nodes obey, if it is one. */
  common(): Reign.Reign | undefined {
    const [first, ...rest] = [...this.views().values()]
    return rest.every((reign) => Reign.equals(reign, first)) ? first : undefined
  }

  state(node: WorldNode) {
    return this.peeked.get(node)
  }

  tablesAreEqual(): boolean {
    const digests = this.running().flatMap((node) => {
      const state = this.state(node)
      if (state === undefined || state.role === "worker") return []
      const { hash, size } = RoutingTable.digest(state.replica.table)
      return [`${size}:${hash}`]
    })
    return digests.length > 0 && new Set(digests).size === 1
  }

  private readonly peeked = new Map<WorldNode, ClusterState.ClusterState>()

  /** Looks at every node's state; call it after time has passed (a restarted actor has a new state). */
  peek(): void {
    for (const node of this.running()) {
      const { services } = node
      if (services === undefined) continue
      this.world.fork(Effect.asVoid(services.actor.read((state) => void this.peeked.set(node, state))))
    }
    this.world.runFor(0)
  }

  private snapshot(node: WorldNode): Snapshot {
    return {
      _tag: "Snapshot",
      members: [...node.members.values()],
      items: node.item === undefined ? [] : [{ key: ClusterActor.itemKey, value: node.item }]
    }
  }

  private tell(node: WorldNode, event: "Joined" | "Failed", about: WorldNode, status: Member.Status): void {
    const member: Member.Member = {
      id: about.id,
      bootId: about.bootId,
      startedAt: about.startedAt,
      address: { host: about.ip, port: 7946 },
      meta: about.meta,
      incarnation: 1,
      status
    }
    const previous = node.members.get(about.id)
    node.members.set(about.id, member)
    node.changes.publish(
      previous !== undefined && previous.bootId !== member.bootId
        ? { _tag: "Replaced", member, previous }
        : { _tag: event, member }
    )
  }

  private hear(node: WorldNode, value: Uint8Array): void {
    if (!node.up || !higher(node.item, value)) return
    node.item = value
    node.changes.publish({ _tag: "ItemChanged", key: ClusterActor.itemKey, value })
    for (const other of this.running()) {
      if (other === node || this.net.isCut(node.ip, other.ip)) continue
      this.world.after(20 + this.world.random() * 200, () => {
        if (node.up && !this.net.isCut(node.ip, other.ip)) this.hear(other, value)
      })
    }
  }

  /** Gossip meets again after a partition. */
  exchangeItems(): void {
    for (const node of this.running()) {
      for (const other of this.running()) if (other.item !== undefined) this.hear(node, other.item)
    }
  }

  private membership(node: WorldNode): Layer.Layer<Membership> {
    return Layer.succeed(
      Membership,
      Membership.of({
        self: Effect.sync(() => node.members.get(node.id) ?? failed()),
        members: Effect.sync(() => [...node.members.values()]),
        changes: node.changes.stream,
        join: () => Effect.void,
        leave: Effect.void,
        setMetadata: () => Effect.void,
        setItem: (_key, value) => Effect.sync(() => this.hear(node, value)),
        item: () => Effect.sync(() => Option.fromUndefinedOr(node.item)),
        ready: Effect.void,
        conflict: Effect.never,
        broadcast: () => Effect.die("not scripted"),
        send: () => Effect.die("not scripted"),
        messages: () => Stream.die("not scripted"),
        saved: Effect.die("not scripted"),
        health: Effect.die("not scripted"),
        statistics: Effect.die("not scripted")
      })
    )
  }

  private program(
    node: WorldNode,
    joining: boolean
  ): Effect.Effect<never, Store.StoreError | TransportError, Scope.Scope> {
    let epoch = 0
    const self: Peers.Self = { id: node.id, bootId: node.bootId, label: "test", epoch: Effect.sync(() => epoch) }
    const transport = this.net.layer(node.ip)
    const store = this.stores.get(node.id) ??
      Layer.succeedContext(Effect.runSync(Effect.scoped(Layer.build(Store.layerMemory))))
    this.stores.set(node.id, store)
    const manager = ClusterManager.layer({
      joining,
      onEpoch: (next) => {
        epoch = next
      }
    }).pipe(
      Layer.provide(this.membership(node)),
      Layer.provide(Peers.layer(self)),
      Layer.provide(store)
    )
    const serve = Layer.effectDiscard(Effect.gen(function*() {
      const { sockets } = yield* PeerServer.PeerServer
      const disableTracing = !(yield* Peers.traced)
      for (const { serialization, server } of sockets) {
        yield* Layer.build(Layer.fresh(
          RpcServer.layer(ClusterRpc, { disableFatalDefects: true, disableTracing }).pipe(
            Layer.provide(ClusterServer.layer),
            Layer.provide(RpcServer.layerProtocolSocketServer),
            Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
            Layer.provide(serialization)
          )
        ))
      }
    })).pipe(Layer.provide(PeerServer.layer({ self, bind: { host: node.ip, port: 7000 } })))
    const log = Logger.layer([Logger.make(({ fiber, logLevel, message }) => {
      const note = fiber.getRef(References.CurrentLogAnnotations)
      this.trace.push(`${this.world.now.toFixed(1)} ${node.id} ${logLevel} ${String(message)} ${JSON.stringify(note)}`)
    })])
    const whole = serve.pipe(Layer.provideMerge(manager), Layer.provide(transport), Layer.provide(log))
    return Effect.gen(function*() {
      const context = yield* Layer.build(whole)
      node.services = {
        manager: Context.get(context, ClusterManager.ClusterManager),
        actor: Context.get(context, ClusterActor.ClusterActor)
      }
      return yield* Effect.never
    })
  }
}

const failed = (): never => {
  throw new Error("a node is a member of itself")
}
