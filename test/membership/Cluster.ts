/** Real members on a simulated network: what the membership tests share. */
import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import type { Change } from "../../src/membership/Changes.ts"
import type * as Config from "../../src/membership/Config.ts"
import * as Membership from "../../src/membership/Membership.ts"
import type { Member } from "../../src/swim/Member.ts"
import { type Conditions, SimNet } from "../../src/testing/SimNet.ts"
import { World } from "../../src/testing/World.ts"

export interface Node {
  readonly name: string
  readonly ip: string
  readonly service: Membership.Membership["Service"]
  readonly fiber: Fiber.Fiber<void, unknown>
  readonly changes: Array<Change>
  readonly logs: Array<string>
  readonly registry: Metric.MetricRegistry
}

export class Cluster {
  readonly world: World
  readonly net: SimNet
  /** processes started so far: each draws its own random numbers */
  private started = 0

  constructor(options: { readonly seed?: number; readonly conditions?: Partial<Conditions> } = {}) {
    this.world = new World({ seed: options.seed ?? 1 })
    this.net = new SimNet(this.world, options.conditions)
  }

  /** Starts the process `name` on the host `ip` and waits until its sockets are open. */
  start(name: string, ip: string, options: Partial<Config.Options> = {}, transport = this.net.layer(ip)): Node {
    const changes: Array<Change> = []
    const logs: Array<string> = []
    const logger = Logger.make(({ fiber, message }) => {
      const annotations = JSON.stringify(fiber.getRef(References.CurrentLogAnnotations))
      logs.push(`${Array.isArray(message) ? message[0] : message} ${annotations}`)
    })
    const registry: Metric.MetricRegistry = new Map()
    let service: Membership.Membership["Service"] | undefined
    const program = Effect.gen(function*() {
      const membership = yield* Membership.Membership
      service = membership
      yield* Effect.forkScoped(
        Stream.runForEach(membership.changes, (change) => Effect.sync(() => changes.push(change)))
      )
      return yield* membership.conflict
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Membership.layer({ name, bind: `${ip}:7946`, ...options }).pipe(
          Layer.provide(transport),
          Layer.provideMerge(Logger.layer([logger]))
        )
      ),
      Effect.provideService(Metric.MetricRegistry, registry)
    )
    const fiber = this.world.fork(program, { seed: `${this.world.seed}-${this.started++}` })
    this.world.runFor(0)
    if (service === undefined) throw new Error(`${name} did not start: ${JSON.stringify(fiber.pollUnsafe())}`)
    return { name, ip, service, fiber, changes, logs, registry }
  }

  /** `kill -9`: the sockets close, the program is gone. */
  kill(node: Node): void {
    this.net.kill(node.ip)
    node.fiber.interruptUnsafe()
    this.world.runFor(0)
  }

  /** Runs an effect of a member to its end in virtual time. */
  run<A, E>(effect: Effect.Effect<A, E>, millis = 60_000): A {
    const exit = this.world.join(this.world.fork(effect), millis)
    if (exit === undefined) throw new Error("did not end in time")
    if (Exit.isFailure(exit)) throw new Error(`failed: ${JSON.stringify(exit.cause)}`)
    return exit.value
  }

  members(node: Node): ReadonlyArray<Member> {
    return this.run(node.service.members, 1)
  }

  /** "name:status" of everybody that `node` knows, sorted. */
  view(node: Node): Array<string> {
    return this.members(node).map((member) => `${member.id}:${member.status}`).sort()
  }

  /** Runs until `holds`, in steps of 50 virtual ms; returns how long it took. */
  until(holds: () => boolean, millis: number, what: string): number {
    const start = this.world.now
    while (!holds()) {
      if (this.world.now - start >= millis) assert.fail(`not within ${millis} ms: ${what}`)
      this.world.runFor(50)
    }
    return this.world.now - start
  }

  /** Runs until every node of `nodes` has the view `expected`. */
  agree(nodes: ReadonlyArray<Node>, expected: ReadonlyArray<string>, millis: number): number {
    const wanted = [...expected].sort().join(" ")
    return this.until(
      () => nodes.every((node) => this.view(node).join(" ") === wanted),
      millis,
      `everybody sees ${wanted}; now ${nodes.map((node) => `${node.name}: ${this.view(node).join(" ")}`).join(" | ")}`
    )
  }
}
