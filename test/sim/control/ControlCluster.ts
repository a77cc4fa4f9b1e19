/** A whole control plane in virtual time: real membership, manager, replication, RPC and catalog of every node, on a
 * simulated network, disks and clocks. Only the gateway and the executor are missing.
 *
 * Job: starts, kills, pauses and resumes processes; gives each its clock, disk and transport; and shows the checkers
 * what happens at the doors of every node. A mutant breaks a rule at such a door.
 * Boundary: `ControlChecks` judges, `ControlFaults` decides what goes wrong when. */
import * as NodeCrypto from "@effect/platform-node/NodeCrypto"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as RpcServer from "effect/rpc/RpcServer"
import * as SocketServer from "effect/socket/SocketServer"
import * as ClusterActor from "../../../src/cluster/ClusterActor.ts"
import * as ClusterManager from "../../../src/cluster/ClusterManager.ts"
import { ClusterRpc } from "../../../src/cluster/ClusterRpc.ts"
import * as ClusterServer from "../../../src/cluster/ClusterServer.ts"
import type * as ClusterState from "../../../src/cluster/ClusterState.ts"
import * as NodeMeta from "../../../src/cluster/NodeMeta.ts"
import * as Peers from "../../../src/cluster/Peers.ts"
import * as PeerServer from "../../../src/cluster/PeerServer.ts"
import * as Store from "../../../src/cluster/Store.ts"
import * as Catalog from "../../../src/functions/Catalog.ts"
import * as CatalogHandlers from "../../../src/functions/CatalogHandlers.ts"
import * as CatalogNode from "../../../src/functions/CatalogNode.ts"
import { CatalogRpc } from "../../../src/functions/CatalogRpc.ts"
import * as Membership from "../../../src/membership/Membership.ts"
import { Transport } from "../../../src/membership/Transport.ts"
import * as SavedMembers from "../../../src/node/SavedMembers.ts"
import * as Member from "../../../src/swim/Member.ts"
import * as SimDisk from "../../../src/testing/SimDisk.ts"
import { SimNet } from "../../../src/testing/SimNet.ts"
import { type Skew, World } from "../../../src/testing/World.ts"
import * as Doors from "./Doors.ts"

export interface Services {
  readonly membership: Membership.Membership["Service"]
  readonly actor: ClusterActor.ClusterActor["Service"]
  readonly manager: ClusterManager.ClusterManager["Service"]
  readonly catalog: Catalog.Catalog["Service"]
  readonly parts: CatalogNode.CatalogNode["Service"]
  readonly state: ClusterState.ClusterState
}

/** One run of one node's program. */
export interface Process {
  readonly id: Member.MemberId
  readonly ip: string
  readonly bootId: number
  readonly bornAt: number
  readonly skew: Skew
  alive: boolean
  paused: boolean
  /** what waits for a paused process */
  held: Array<() => void>
  services: Services | undefined
  fiber: Fiber.Fiber<unknown, unknown> | undefined
}

export const ipOf = (id: string): string => `10.0.0.${id.slice(1)}`

export class ControlCluster {
  readonly world: World
  readonly net: SimNet
  readonly ids: ReadonlyArray<string>
  /** the newest process of every node, dead or alive */
  readonly processes = new Map<string, Process>()
  readonly disks = new Map<string, SimDisk.SimDisk>()
  readonly trace: Array<string> = []
  readonly watcher: Doors.Watcher
  readonly mutant: Doors.Mutant | undefined

  constructor(options: {
    readonly seed: number
    readonly nodes: number
    readonly watcher: Doors.Watcher
    readonly mutant?: Doors.Mutant | undefined
  }) {
    this.world = new World({ seed: options.seed })
    this.net = new SimNet(this.world, { latency: [0.2, 2] })
    this.watcher = options.watcher
    this.mutant = options.mutant
    this.ids = Array.from({ length: options.nodes }, (_, i) => `n${i + 1}`)
    for (const id of this.ids) {
      this.disks.set(id, new SimDisk.SimDisk(this.world, Doors.diskOf(options.mutant)))
    }
  }

  /** Processes that live, paused ones too. */
  get running(): ReadonlyArray<Process> {
    return [...this.processes.values()].filter(({ alive }) => alive)
  }

  process(id: string): Process | undefined {
    const process = this.processes.get(id)
    return process?.alive === true ? process : undefined
  }

  disk(id: string): SimDisk.SimDisk {
    const disk = this.disks.get(id)
    if (disk === undefined) throw new Error(`no disk ${id}`)
    return disk
  }

  start(id: string, skew: Skew = { rate: 1, offset: 0 }): Process {
    const first = !this.processes.has(id)
    const process: Process = {
      id: Member.id(id),
      ip: ipOf(id),
      bootId: 1 + Math.floor(this.world.random() * 2 ** 40),
      bornAt: this.world.now,
      skew,
      alive: true,
      paused: false,
      held: [],
      services: undefined,
      fiber: undefined
    }
    // whoever founds the cluster has nobody to join
    const join = first && this.processes.size === 0 ? [] : this.ids.filter((other) => other !== id)
    this.processes.set(id, process)
    process.fiber = this.world.fork(
      Effect.scoped(this.program(process, join.map((other) => `${ipOf(other)}:7946`))).pipe(
        Effect.tapCause((cause) =>
          Effect.sync(() => {
            if (process.alive && !Cause.hasInterruptsOnly(cause)) this.watcher.ended(process, Cause.pretty(cause))
          })
        ),
        Effect.provideService(Clock.Clock, this.clock(process))
      ),
      { seed: `${this.world.seed} ${id} ${process.bootId}` }
    )
    return process
  }

  /** As by `kill -9`: nothing of the process runs any more; what its kernel has stays. */
  kill(id: string): void {
    const process = this.process(id)
    if (process === undefined) return
    process.alive = false
    process.held = []
    this.net.kill(process.ip)
    this.watcher.died(process)
  }

  /** The machine loses its power. */
  powerLoss(id: string): void {
    const process = this.process(id)
    if (process !== undefined) {
      process.alive = false
      process.held = []
      this.net.vanish(process.ip)
      this.watcher.died(process)
    }
    this.disk(id).powerLoss()
  }

  pause(id: string): void {
    const process = this.process(id)
    if (process === undefined || process.paused) return
    process.paused = true
    this.net.pause(process.ip)
  }

  resume(id: string): void {
    const process = this.process(id)
    if (process?.paused !== true) return
    process.paused = false
    const { held } = process
    process.held = []
    for (const run of held) gate(process)(run)
    this.net.resume(process.ip)
  }

  partition(...groups: ReadonlyArray<ReadonlyArray<string>>): void {
    this.net.partition(...groups.map((group) => group.map(ipOf)))
  }

  /** Runs an effect as a part of a process. */
  fork<A, E>(process: Process, effect: Effect.Effect<A, E>): Fiber.Fiber<A, E> {
    return this.world.fork(
      effect.pipe(Effect.provide(this.log(process)), Effect.provideService(Clock.Clock, this.clock(process)))
    )
  }

  /** Runs an effect to its end, at most `millis`; `undefined` if it has none by then. */
  run<A, E>(process: Process, effect: Effect.Effect<A, E>, millis = 10_000): Exit.Exit<A, E> | undefined {
    return this.world.join(this.fork(process, effect), millis)
  }

  /** The clock of a process: skewed, and standing still to it while it is paused. */
  private clock(process: Process): Clock.Clock {
    const { world } = this
    const pass = gate(process)
    return Object.assign(world.clock(process.skew), {
      sleep: (duration: Duration.Duration) =>
        Effect.callback<void>((resume) => {
          const millis = Duration.toMillis(duration)
          if (millis === Infinity) return
          let due = true
          const cancel = world.after(millis / process.skew.rate, () =>
            pass(() => {
              if (due) resume(Effect.void)
            }))
          return Effect.sync(() => {
            due = false
            cancel()
          })
        })
    })
  }

  private readonly log = (process: Process) =>
    Logger.layer([Logger.make(({ fiber, logLevel, message }) => {
      if (!process.alive) return
      const notes = fiber.getRef(References.CurrentLogAnnotations)
      const line = `${logLevel} ${String(message)} ${JSON.stringify(notes)}`
      this.trace.push(`${this.world.now.toFixed(1)} ${process.id} ${line}`)
      if (logLevel === "Error" || logLevel === "Fatal") this.watcher.complained(process, line)
    })])

  private program(process: Process, join: ReadonlyArray<string>) {
    const { id, bootId, ip } = process
    const { mutant, watcher } = this
    let epoch = 0
    const self: Peers.Self = { id, bootId, label: "sim", epoch: Effect.sync(() => epoch) }
    const address = (port: number) => `${ip}:${port}`
    const metadata = NodeMeta.encode({
      http: address(8080),
      rpc: address(7000),
      data: address(7001),
      release: "1",
      eligible: true,
      tags: {}
    })
    const disk = Doors.storeOf(this.disk(id).store(gate(process)), { process, mutant, watcher })
    const make = Effect.gen({ self: this }, function*() {
      const base = Context.make(Store.Store, disk).pipe(
        Context.add(Transport, this.net.transport(ip)),
        Context.merge(yield* Layer.build(Layer.fresh(NodeCrypto.layerDigest)))
      )
      const accepting = yield* Layer.build(PeerServer.layer({ self, bind: { host: ip, port: 7000 } })).pipe(
        Effect.provideContext(base)
      )
      const known = yield* Effect.provideContext(SavedMembers.load, base)
      const below = yield* Layer.build(
        ClusterActor.layer({
          joining: join.length > 0 || known?.living === true,
          onEpoch: (next) => {
            epoch = next
          }
        }).pipe(
          Layer.provideMerge(Layer.merge(
            Doors.membership(
              Membership.layer({
                name: id,
                label: "sim",
                bind: address(7946),
                join,
                bootId,
                restore: known?.bytes,
                ...(metadata === undefined ? {} : { metadata })
              }),
              { process, mutant, watcher }
            ),
            Peers.layer(self)
          ))
        )
      ).pipe(Effect.provideContext(base))
      const bare = Context.get(below, ClusterActor.ClusterActor)
      const state = yield* bare.read((current) => current)
      watcher.born(process, state)
      const doors: Doors.Doors = { process, actor: bare, state, mutant, watcher }
      const actor = Doors.actor(doors)
      const managers = yield* Layer.build(ClusterManager.layerActor).pipe(
        Effect.provideContext(Context.make(ClusterActor.ClusterActor, actor))
      )
      const manager = Doors.manager(Context.get(managers, ClusterManager.ClusterManager), doors)
      const guarded = Context.merge(Context.merge(base, below), accepting).pipe(
        Context.add(ClusterManager.ClusterManager, manager),
        Context.add(ClusterActor.ClusterActor, actor)
      )
      const above = yield* Layer.build(Layer.mergeAll(serve, Catalog.layer).pipe(Layer.provideMerge(CatalogNode.layer)))
        .pipe(Effect.provideContext(guarded))
      const membership = Context.get(below, Membership.Membership)
      yield* Effect.provideContext(SavedMembers.keep(membership), base).pipe(Effect.forkScoped)
      process.services = {
        membership,
        actor,
        manager,
        catalog: Context.get(above, Catalog.Catalog),
        parts: Context.get(above, CatalogNode.CatalogNode),
        state
      }
      yield* Effect.forkScoped(Effect.andThen(membership.ready, Effect.sync(() => watcher.ready(process))))
      return yield* membership.conflict
    })
    return Effect.provide(make, this.log(process))
  }
}

/** Lets a process run only while it may. */
export const gate = (process: Process): SimDisk.Gate => (run) => {
  if (!process.alive) return
  if (process.paused) process.held.push(run)
  else run()
}

const serve = Layer.effectDiscard(Effect.gen(function*() {
  const { sockets } = yield* PeerServer.PeerServer
  for (const { serialization, server } of sockets) {
    yield* Layer.build(Layer.fresh(
      RpcServer.layer(ClusterRpc.merge(CatalogRpc), { disableFatalDefects: true, disableTracing: true }).pipe(
        Layer.provide([ClusterServer.layer, CatalogHandlers.layer]),
        Layer.provide(RpcServer.layerProtocolSocketServer),
        Layer.provide(Layer.succeed(SocketServer.SocketServer, server)),
        Layer.provide(serialization)
      )
    ))
  }
}))
