/** `shoal dev`: a cluster of real processes on this machine, with functions, shown until Ctrl-C.
 *
 * Either everything comes up or nothing stays: a node that does not start or a file that does not compile ends all. After
 * that a node that dies is reported and the others go on. At the end every node is asked to leave at the same time.
 * Boundary: `DevProcess` owns the processes, `DevView` the words; nothing here knows how a node works. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs/promises"
import { createServer } from "node:net"
import { tmpdir } from "node:os"
import * as path from "node:path"
import { format, type Secret } from "../membership/ClusterKey.ts"
import * as DataFolder from "../node/DataFolder.ts"
import * as Client from "./Client.ts"
import * as Deploy from "./Deploy.ts"
import * as DevEntry from "./DevEntry.ts"
import * as DevProcess from "./DevProcess.ts"
import * as DevScreen from "./DevScreen.ts"
import type * as DevView from "./DevView.ts"
import { CommandError, UsageError } from "./Failure.ts"
import * as KeyOption from "./KeyOption.ts"
import * as NodeSettings from "./NodeSettings.ts"
import * as Query from "./Query.ts"
import * as Report from "./Report.ts"
import { type Ready, Session } from "./Session.ts"

export interface DevFlags extends KeyOption.Flags {
  readonly files: ReadonlyArray<string>
  readonly nodes: string | undefined
  readonly port: string | undefined
  readonly dataDir: string | undefined
  readonly logLevel: string | undefined
  readonly json: boolean
}

interface Node {
  readonly process: DevProcess.DevProcess
  readonly ready: Ready
}

const maxNodes = 32
const startLimit = Duration.seconds(30)
const settleLimit = Duration.seconds(15)
const lookEvery = "500 millis"

export const dev = Effect.fn("Dev.dev")(function*(flags: DevFlags) {
  const session = yield* Session
  const started = yield* Clock.currentTimeMillis
  const options = yield* optionsOf(flags)
  yield* session.serving
  return yield* Effect.scoped(Effect.gen(function*() {
    const screen = yield* DevScreen.make(flags.json)
    const folder = yield* dataFolder(flags.dataDir)
    // At the same time: a file that does not compile is known before the nodes are up, and ends their start.
    const [bundles, nodes] = yield* Effect.all(
      [bundleAll(flags.files), startNodes({ ...options, folder, screen })],
      { concurrency: "unbounded" }
    )
    yield* settled(nodes)
    const names = yield* deployAll(nodes, bundles, screen)
    const millis = (yield* Clock.currentTimeMillis) - started
    yield* screen.show({ event: "ready", nodes: nodes.length, millis, dataDir: folder, urls: urls(nodes, names) })
    return yield* Effect.raceFirst(watch(nodes, screen), ends(nodes, screen))
  }))
})

const optionsOf = (flags: DevFlags) =>
  Effect.gen(function*() {
    const count = yield* whole("--nodes", flags.nodes ?? "3", 1, maxNodes)
    const port = yield* whole("--port", flags.port ?? "8080", 0, 65_535)
    const logLevel = NodeSettings.logLevels.find((level) => level === (flags.logLevel ?? "warn"))
    if (logLevel === undefined) {
      return yield* new UsageError({
        message: `--log-level: "${flags.logLevel}" is none of ${NodeSettings.logLevels.join(", ")}`
      })
    }
    const { env, forget } = yield* Session
    const keys = yield* KeyOption.read(flags, env)
    yield* forget(["SHOAL_KEY"], flags.key !== undefined)
    return { count, port, insist: flags.port !== undefined, logLevel, key: keys[0] }
  })

const whole = (flag: string, text: string, least: number, most: number): Effect.Effect<number, UsageError> => {
  const value = /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN
  return value >= least && value <= most
    ? Effect.succeed(value)
    : Effect.fail(new UsageError({ message: `${flag}: "${text}" is not a whole number from ${least} to ${most}` }))
}

const bundleAll = (files: ReadonlyArray<string>) =>
  Effect.gen(function*() {
    const bundles = yield* Effect.forEach(files, Deploy.bundle)
    const names = bundles.map(({ name }) => name)
    const twice = names.findIndex((name, index) => names.indexOf(name) < index)
    if (twice === -1) return bundles
    const first = files[names.indexOf(names[twice] ?? "")]
    return yield* new UsageError({ message: `${first} and ${files[twice]} both make a function "${names[twice]}"` })
  })

/** The folder above the nodes' data folders. A temporary one goes when everything has ended. */
const dataFolder = (given: string | undefined): Effect.Effect<string, CommandError, Scope.Scope> =>
  given === undefined
    ? Effect.acquireRelease(
      attempt(() => fs.mkdtemp(path.join(tmpdir(), "shoal-dev-")), "a temporary folder cannot be made"),
      (folder) => Effect.ignore(attempt(() => fs.rm(folder, { recursive: true, force: true }), "not removed"))
    )
    : Effect.as(attempt(() => DataFolder.make(path.resolve(given)), `--data-dir ${given}`), path.resolve(given))

const attempt = <A>(run: () => Promise<A>, what: string): Effect.Effect<A, CommandError> =>
  Effect.tryPromise({
    try: run,
    catch: (cause) =>
      new CommandError({ message: `${what}: ${cause instanceof Error ? cause.message : String(cause)}` })
  })

interface StartOptions {
  readonly count: number
  readonly port: number
  /** The first port was asked for: it is an error when it is in use. */
  readonly insist: boolean
  readonly logLevel: string
  readonly key: Secret | undefined
  readonly folder: string
  readonly screen: DevScreen.DevScreen
}

/** The first node, then all others at once, joined to it. */
const startNodes = (options: StartOptions) =>
  Effect.gen(function*() {
    const session = yield* Session
    const entry = yield* DevEntry.prepare(session.entry)
    const ports = yield* httpPorts(options)
    const processes: Array<DevProcess.DevProcess> = []
    yield* Effect.addFinalizer(() => stopAll(processes, options.screen))
    const start = (index: number, join: ReadonlyArray<string>) =>
      Effect.gen(function*() {
        const name = `n${index + 1}`
        const settings = {
          name,
          bind: "127.0.0.1:0",
          http: `127.0.0.1:${ports[index] ?? 0}`,
          rpc: "127.0.0.1:0",
          data: "127.0.0.1:0",
          "data-dir": path.join(options.folder, name),
          profile: "local",
          "log-level": options.logLevel
        }
        const args = [
          ...Object.entries(settings).flatMap(([flag, value]) => [`--${flag}`, value]),
          ...join.flatMap((seed) => ["--join", seed])
        ]
        const process = yield* Effect.uninterruptible(Effect.tap(
          DevProcess.start({ name, entry, args, env: environment(session.env, options.key) }),
          (process) => Effect.sync(() => processes.push(process))
        ))
        const ready = yield* Effect.timeoutOrElse(process.ready, {
          duration: startLimit,
          orElse: () => Effect.fail(new CommandError({ message: `${name} was not ready after 30 s` }))
        })
        yield* options.screen.show({
          event: "started",
          name,
          pid: process.pid,
          http: ready.http,
          gossip: ready.gossip
        })
        return { process, ready }
      })
    const first = yield* start(0, [])
    const others = Array.from({ length: options.count - 1 }, (_, index) => start(index + 1, [first.ready.gossip]))
    return [first, ...(yield* Effect.all(others, { concurrency: "unbounded" }))]
  })

/** A variable such as SHOAL_NAME is meant for one node and would reach all. The key goes where nobody else sees it. */
const environment = (env: Readonly<Record<string, string | undefined>>, key: Secret | undefined) => ({
  ...Object.fromEntries(Object.entries(env).filter(([name]) => !name.startsWith("SHOAL_"))),
  ...(key === undefined ? {} : { SHOAL_KEY: format(key) })
})

const httpPorts = ({ count, insist, port }: StartOptions): Effect.Effect<ReadonlyArray<number>, CommandError> =>
  Effect.gen(function*() {
    const wanted = Array.from({ length: count }, (_, index) => port === 0 ? 0 : port + index)
    const free = yield* Effect.forEach(wanted, isFree)
    if (insist && free[0] === false) {
      return yield* new CommandError({ message: `--port: 127.0.0.1:${port} is in use` })
    }
    return wanted.map((candidate, index) => free[index] === true ? candidate : 0)
  })

const isFree = (port: number): Effect.Effect<boolean> =>
  port > 65_535 ? Effect.succeed(false) : Effect.callback((resume) => {
    const server = createServer()
    server.once("error", () => resume(Effect.succeed(false)))
    server.listen({ port, host: "127.0.0.1" }, () => server.close(() => resume(Effect.succeed(true))))
  })

const stopAll = (processes: ReadonlyArray<DevProcess.DevProcess>, screen: DevScreen.DevScreen): Effect.Effect<void> =>
  Effect.gen(function*() {
    const running = processes.filter((process) => process.isRunning())
    if (running.length === 0) return
    yield* screen.close
    yield* screen.show({ event: "leaving", nodes: running.length })
    const killed = yield* Effect.forEach(running, (process) => process.stop, { concurrency: "unbounded" })
    yield* screen.show({ event: "left", killed: running.filter((_, index) => killed[index]).map(({ name }) => name) })
  })

const server = (node: Node): URL =>
  new URL(node.ready.http.startsWith("http") ? node.ready.http : `http://${node.ready.http}`)

/** Every node sees all others alive, and the same master. */
const settled = (nodes: ReadonlyArray<Node>): Effect.Effect<void, CommandError> =>
  Effect.gen(function*() {
    const statuses = yield* Effect.forEach(nodes, (node) => status(server(node)), { concurrency: "unbounded" })
    const masters = new Set(statuses.map((value) => value.reign?.master ?? undefined))
    const complete = statuses.every((value) => value.members.alive >= nodes.length)
    return complete && masters.size === 1 && !masters.has(undefined)
  }).pipe(
    Effect.orElseSucceed(() => false),
    Effect.repeat({ until: (done) => done, schedule: Schedule.spaced("50 millis") }),
    Effect.asVoid,
    Effect.timeoutOrElse({
      duration: settleLimit,
      orElse: () =>
        Effect.fail(new CommandError({ message: "the nodes run but did not agree on members and a master in 15 s" }))
    })
  )

const status = (server: URL) =>
  Effect.flatMap(
    Client.json(server, { method: "GET", path: "/system/status" }, "1 second"),
    (value) => Query.decode(Report.Status, value, "/system/status")
  )

const deployAll = (nodes: ReadonlyArray<Node>, bundles: ReadonlyArray<Deploy.Bundle>, screen: DevScreen.DevScreen) =>
  Effect.forEach(bundles, (bundle) =>
    Effect.gen(function*() {
      const [first] = nodes
      if (first === undefined) return bundle.name
      const { deployed } = yield* Deploy.send(server(first), { bundle, name: bundle.name, env: {}, limits: {} }).pipe(
        Effect.retry({ while: (error) => error.retryable === true, schedule: Schedule.spaced("200 millis"), times: 50 })
      )
      yield* screen.show({
        event: "deployed",
        name: deployed.name,
        version: Report.shortVersion(deployed.version),
        bytes: bundle.code.byteLength
      })
      return deployed.name
    }), { concurrency: 4 })

/** A line to paste for every function, each through another node. */
const urls = (nodes: ReadonlyArray<Node>, names: ReadonlyArray<string>): ReadonlyArray<string> =>
  names.flatMap((name, index) => {
    const node = nodes[index % nodes.length]
    return node === undefined ? [] : [new URL(`/function/${name}`, server(node)).href]
  })

/** Looks at the cluster through a living node, for ever. */
const watch = (nodes: ReadonlyArray<Node>, screen: DevScreen.DevScreen): Effect.Effect<never> =>
  Effect.forever(Effect.gen(function*() {
    const snapshot = yield* look(nodes.filter((node) => node.process.isRunning()))
    yield* screen.update(
      snapshot,
      nodes.map(({ process, ready }) => ({
        name: process.name,
        pid: process.pid,
        http: ready.http,
        running: process.isRunning()
      }))
    )
    yield* Effect.sleep(lookEvery)
  }))

/** The first living node that answers in time tells; one that hangs is not waited for. */
const look = (nodes: ReadonlyArray<Node>): Effect.Effect<DevView.Snapshot | undefined> =>
  Effect.gen(function*() {
    for (const node of nodes) {
      const get = (path: string) => Client.json(server(node), { method: "GET", path }, "1 second")
      const seen = yield* Effect.result(Effect.all({
        members: Effect.flatMap(get("/system/members"), (value) => Query.decode(Report.Members, value, "members")),
        status: Effect.flatMap(get("/system/status"), (value) => Query.decode(Report.Status, value, "status")),
        functions: Effect.flatMap(
          get("/system/functions"),
          (value) => Query.decode(Report.Functions, value, "functions")
        )
      }, { concurrency: "unbounded" }))
      if (Result.isSuccess(seen)) return seen.success
    }
    return undefined
  })

/** Reports every process that ends; fails when none is left. */
const ends = (nodes: ReadonlyArray<Node>, screen: DevScreen.DevScreen): Effect.Effect<never, CommandError> =>
  Effect.forEach(nodes, ({ process }) =>
    Effect.flatMap(process.ended, (how) =>
      screen.show({
        event: "ended",
        name: process.name,
        pid: process.pid,
        how: DevProcess.describeEnd(how),
        expected: how.code === 0,
        lines: process.lines()
      })), { concurrency: "unbounded", discard: true }).pipe(
      Effect.andThen(Effect.fail(new CommandError({ message: "no node is left" })))
    )
