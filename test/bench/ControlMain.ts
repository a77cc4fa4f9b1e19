/** One node of the benchmark of the control plane, in a process of its own: does what the parent asks and answers with
 * times (milliseconds since the epoch, with fractions).
 *
 * Boundary: the real node; measures only what cannot be seen from outside. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { setTimeout as sleep } from "node:timers/promises"
import { ClusterManager } from "../../src/cluster/ClusterManager.ts"
import { formatAddress } from "../../src/membership/Transport.ts"
import * as Node from "../../src/node/Node.ts"

export interface Settings {
  readonly name: string
  readonly dataDir: string
  readonly join: ReadonlyArray<string>
  readonly eligible: boolean
}

export type Order =
  | { readonly _tag: "Start"; readonly settings: Settings }
  /** `perSecond` 0: as fast as they are taken. */
  | { readonly _tag: "Register"; readonly prefix: string; readonly count: number; readonly perSecond: number }
  | { readonly _tag: "Watch"; readonly until: number }
  | { readonly _tag: "Become"; readonly role: string; readonly routes: number }
  | { readonly _tag: "Look"; readonly versions: ReadonlyArray<string> }
  | { readonly _tag: "State"; readonly collect?: boolean }

export type Answer =
  | { readonly _tag: "Started"; readonly gossip: string }
  | { readonly _tag: "Registered"; readonly at: ReadonlyArray<number> }
  /** How many routes counted from when on. */
  | { readonly _tag: "Watched"; readonly seen: ReadonlyArray<readonly [at: number, routes: number]> }
  | { readonly _tag: "Became"; readonly role: number; readonly routes: number }
  | { readonly _tag: "Looked"; readonly took: ReadonlyArray<number> }
  | {
    readonly _tag: "State"
    readonly role: string
    readonly master: string | undefined
    readonly alive: number
    readonly routes: number
    /** after a collection, if it was asked for */
    readonly heapBytes: number
    /** the longest since the last time it was asked, milliseconds */
    readonly stallMs: number
  }

const now = (): number => performance.timeOrigin + performance.now()
const anyPort = { host: "127.0.0.1", port: 0 }
const stalls = monitorEventLoopDelay({ resolution: 1 })
let manager: ClusterManager["Service"] | undefined

const start = ({ dataDir, eligible, join, name }: Settings): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const config = {
      name,
      bind: anyPort,
      http: anyPort,
      rpc: anyPort,
      data: anyPort,
      join,
      dataDir,
      profile: "lan",
      tags: {},
      release: "bench",
      label: "bench",
      eligible,
      spares: 0,
      lingerMs: 0
    } as const
    Effect.runFork(
      Effect.gen(function*() {
        const context = yield* Layer.build(Node.layer(config))
        manager = Context.get(context, ClusterManager)
        const { gossip } = Context.get(context, Node.Node).addresses
        resolve({ _tag: "Started", gossip: formatAddress(gossip) })
        return yield* Effect.never
      }).pipe(
        Effect.scoped,
        Effect.provide(Logger.layer([])),
        Effect.tapCause((cause) => Effect.sync(() => reject(new Error(String(cause)))))
      )
    )
    stalls.enable()
  })

const routes = (self: ClusterManager["Service"]): Promise<number> => Effect.runPromise(self.routes)

/** Polls about every millisecond until `done`. */
const poll = async (done: () => Promise<boolean>): Promise<void> => {
  while (!await done()) await sleep(1)
}

const obey = async (order: Order): Promise<Answer> => {
  if (order._tag === "Start") return start(order.settings)
  const self = manager
  if (self === undefined) throw new Error("not started")
  switch (order._tag) {
    case "Register": {
      const { count, perSecond, prefix } = order
      const at: Array<number> = []
      const begun = now()
      while (at.length < count) {
        const due = perSecond === 0 ? count : Math.min(count, Math.floor((now() - begun) * perSecond / 1000) + 1)
        while (at.length < due) {
          const version = `${prefix}${String(at.length).padStart(64 - prefix.length, "0")}`
          at.push(now())
          await Effect.runPromise(self.register(version))
        }
        await sleep(1)
      }
      return { _tag: "Registered", at }
    }
    case "Watch": {
      const seen: Array<readonly [number, number]> = []
      await poll(async () => {
        const count = await routes(self)
        if (seen.at(-1)?.[1] !== count) seen.push([now(), count])
        return count >= order.until
      })
      return { _tag: "Watched", seen }
    }
    case "Become": {
      await poll(async () => (await Effect.runPromise(self.view)).role === order.role)
      const role = now()
      await poll(async () => await routes(self) >= order.routes)
      return { _tag: "Became", role, routes: now() }
    }
    case "Look": {
      const took: Array<number> = []
      for (const version of order.versions) {
        const begun = performance.now()
        const { nodes } = await Effect.runPromise(self.locate(version))
        if (nodes.length > 0) took.push(performance.now() - begun)
      }
      return { _tag: "Looked", took }
    }
    case "State": {
      const { members, reign, role } = await Effect.runPromise(self.view)
      const alive = members.filter(({ status }) => status === "alive").length
      const stallMs = stalls.max / 1e6
      stalls.reset()
      if (order.collect === true) globalThis.gc?.()
      const heapBytes = process.memoryUsage().heapUsed
      return { _tag: "State", role, master: reign?.id, alive, routes: await routes(self), heapBytes, stallMs }
    }
  }
}

process.on("message", (order) => {
  obey(order as Order).then((answer) => process.send?.(answer), (error: unknown) => {
    process.stderr.write(`${String(error)}\n`)
    process.exit(1)
  })
})
process.on("disconnect", () => process.exit(0))
