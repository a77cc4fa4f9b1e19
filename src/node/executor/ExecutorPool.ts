/** The executor of a node: instances of functions in worker threads of executor hosts, with spares kept warm.
 *
 * Boundary: it starts, counts and ends instances and hosts; which instance serves a call, and when a call has taken too
 * long, is the gateway's decision. A spare is a worker that has everything but the function; what a start waits for is
 * then the import of its bundle. Versions whose host died under them are suspects and get a host of their own.
 * Invariants: F1, F2, M5 (instances, starts, spares, hosts and suspects are bounded). */
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Executor from "../../functions/Executor.ts"
import type * as Control from "./Control.ts"
import * as ExecutorHost from "./ExecutorHost.ts"
import { ExecutorInstance } from "./ExecutorInstance.ts"
import * as SyntaxCheck from "./SyntaxCheck.ts"

export interface Options {
  /** Pre-warmed workers to keep. Default 2. */
  readonly spares?: number
  /** Heap limit of spares in MiB; functions that need more start cold. Default 128. */
  readonly spareMemoryMb?: number
  /** Instances at once, those starting included. Default 64. */
  readonly maxInstances?: number
  /** Starts at once; up to 256 more wait. Default 4. */
  readonly concurrentStarts?: number
  /** Milliseconds a bundle may take to load. Default 10,000. */
  readonly initTimeoutMs?: number
  /** Niceness of function threads, 0 to 19. Default 10. */
  readonly nice?: number
  /** Where the private folder for sockets is made; a short path. Default: the system's folder for temporary files. */
  readonly folder?: string
  readonly onLog?: (log: Executor.Log) => void
}

const MaxWaiting = 256
const MaxSuspects = 256
/** A suspect whose own host has lived this long may return to the shared one. */
const ClearMs = 5 * 60_000
const MaxBackoffMs = 5000
/** Making a spare would slow down the first calls of the instance that took one. */
const RefillMs = 50

interface Settings {
  readonly spares: number
  readonly spareMemoryMb: number
  readonly maxInstances: number
  readonly concurrentStarts: number
  readonly initTimeoutMs: number
  readonly nice: number
  readonly onLog: (log: Executor.Log) => void
}

/** The longest path of a unix socket is about 104 bytes. */
const makeFolder = (wanted = Os.tmpdir()): string =>
  Fs.mkdtempSync(Path.join(wanted.length > 60 ? "/tmp" : wanted, "shoal-executor-"))

export const make = (options: Options = {}): ExecutorPool => new ExecutorPool(options)

export class ExecutorPool implements Executor.Executor {
  readonly #settings: Settings
  readonly #folder: string
  readonly #instances = new Map<ExecutorHost.ExecutorWorker, ExecutorInstance>()
  readonly #hosts = new Set<ExecutorHost.ExecutorHost>()
  readonly #suspects = new Map<string, number>()
  readonly #waiting: Array<() => void> = []
  readonly #takers: Array<{
    readonly resolve: (worker: ExecutorHost.ExecutorWorker) => void
    readonly reject: (reason: Executor.ExitReason) => void
  }> = []
  readonly #expecting: Array<() => void> = []
  #shared: ExecutorHost.ExecutorHost | undefined
  #spares: Array<ExecutorHost.ExecutorWorker> = []
  #booting = 0
  #running = 0
  #acquiring = 0
  #failures = 0
  #timer: NodeJS.Timeout | undefined
  #closed = false

  constructor(options: Options) {
    this.#settings = {
      spares: options.spares ?? 2,
      spareMemoryMb: options.spareMemoryMb ?? 128,
      maxInstances: options.maxInstances ?? 64,
      concurrentStarts: options.concurrentStarts ?? 4,
      initTimeoutMs: options.initTimeoutMs ?? 10_000,
      nice: options.nice ?? 10,
      onLog: options.onLog ?? (() => {})
    }
    this.#folder = makeFolder(options.folder)
    this.#refill()
  }

  get spares(): number {
    return this.#spares.length
  }

  /** Resolves once all spares are there, or the pool is closed. */
  get ready(): Promise<void> {
    if (this.#closed || this.#spares.length >= this.#settings.spares) return Promise.resolve()
    return new Promise((resolve) => this.#expecting.push(resolve))
  }

  /** Instances that run or start. */
  get instances(): number {
    return this.#instances.size + this.#acquiring
  }

  /** Process ids of the hosts, for those who measure or break them. */
  get pids(): ReadonlyArray<number> {
    return [...this.#hosts].flatMap(({ pid }) => pid === undefined ? [] : [pid])
  }

  async start(spec: Executor.StartSpec): Promise<Executor.Instance> {
    const began = performance.now()
    await this.#admit()
    try {
      return await this.#start(spec, began)
    } finally {
      this.#running--
      this.#waiting.shift()?.()
      this.#refillLater(RefillMs)
    }
  }

  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const next of this.#waiting.splice(0)) next()
    for (const next of this.#expecting.splice(0)) next()
    for (const { reject } of this.#takers.splice(0)) reject({ kind: "stopped", message: "the executor closed" })
    const hosts = [...this.#hosts]
    for (const host of hosts) host.kill({ kind: "stopped", message: "the executor closed" })
    await Promise.all(hosts.map(({ exited }) => exited))
    Fs.rmSync(this.#folder, { recursive: true, force: true })
  }

  async #admit(): Promise<void> {
    if (this.#running >= this.#settings.concurrentStarts) {
      if (this.#waiting.length >= MaxWaiting) throw refuse("capacity", "too many starts are waiting")
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    }
    if (this.#closed || this.instances >= this.#settings.maxInstances) {
      this.#waiting.shift()?.()
      throw this.#closed
        ? refuse("closed", "the executor is closed")
        : refuse("capacity", `${this.#settings.maxInstances} instances run already`)
    }
    this.#running++
    this.#acquiring++
  }

  async #start(spec: Executor.StartSpec, began: number): Promise<Executor.Instance> {
    const { start, worker } = await this.#worker(spec).finally(() => this.#acquiring--)
    const instance = new ExecutorInstance({ worker, spec, start })
    this.#instances.set(worker, instance)
    void worker.exited.then(() => this.#instances.delete(worker))
    worker.host.assign(worker.id, spec.limits.memoryMb)
    try {
      await instance.init({ began, nice: this.#settings.nice, timeoutMs: this.#settings.initTimeoutMs })
    } catch (error) {
      await instance.stop("it did not start")
      throw await explained(error, spec)
    }
    return instance
  }

  async #worker(
    spec: Executor.StartSpec
  ): Promise<{ readonly worker: ExecutorHost.ExecutorWorker; readonly start: "prewarmed" | "cold" }> {
    const { memoryMb } = spec.limits
    try {
      if (this.#isSuspect(spec.version)) return { worker: await this.#alone(memoryMb), start: "cold" }
      if (memoryMb > this.#settings.spareMemoryMb) {
        return { worker: await this.#sharedHost().spawnWorker(memoryMb), start: "cold" }
      }
      const spare = this.#spares.shift()
      if (spare !== undefined) return { worker: spare, start: "prewarmed" }
      const { promise, reject, resolve } = Promise.withResolvers<ExecutorHost.ExecutorWorker>()
      this.#takers.push({ reject, resolve })
      // After trouble the timer decides, so that a host that cannot live is not started in a loop.
      if (this.#failures === 0) this.#refill()
      else this.#retryLater()
      return { worker: await promise, start: "cold" }
    } catch (reason) {
      if (!isReason(reason)) throw reason
      throw refuse(this.#closed ? "closed" : "host-crash", reason.message)
    }
  }

  /** A worker in a host of its own, which ends with it. */
  async #alone(memoryMb: number): Promise<ExecutorHost.ExecutorWorker> {
    const host = this.#host()
    const end = (): void => host.kill({ kind: "stopped", message: "its function has ended" })
    try {
      const worker = await host.spawnWorker(memoryMb)
      void worker.exited.then(end)
      return worker
    } catch (reason) {
      end()
      throw reason
    }
  }

  #sharedHost(): ExecutorHost.ExecutorHost {
    if (this.#shared === undefined || !this.#shared.alive) this.#shared = this.#host()
    return this.#shared
  }

  #host(): ExecutorHost.ExecutorHost {
    const host: ExecutorHost.ExecutorHost = new ExecutorHost.ExecutorHost({
      folder: this.#folder,
      onLine: (worker, line) => this.#log(worker, line),
      onExit: (reason) => this.#hostEnded(host, reason)
    })
    this.#hosts.add(host)
    return host
  }

  #hostEnded(host: ExecutorHost.ExecutorHost, reason: Executor.ExitReason): void {
    this.#hosts.delete(host)
    const before = this.#spares.length
    this.#spares = this.#spares.filter((spare) => spare.host !== host)
    if (host === this.#shared || this.#spares.length < before) this.#retryLater()
    if (reason.kind !== "host-crash") return
    const there = [...this.#instances].filter(([worker]) => worker.host === host).map(([, instance]) => instance)
    const culprit = host.culprit === undefined ? undefined : this.#instances.get(host.culprit)
    const busy = there.filter(({ inflight }) => inflight > 0)
    const suspects = culprit !== undefined ? [culprit] : busy.length > 0 ? busy : there
    for (const { version } of suspects) this.#suspect(version)
  }

  #suspect(version: string): void {
    this.#suspects.delete(version)
    this.#suspects.set(version, performance.now())
    for (const oldest of this.#suspects.keys()) {
      if (this.#suspects.size <= MaxSuspects) break
      this.#suspects.delete(oldest)
    }
  }

  #isSuspect(version: string): boolean {
    const since = this.#suspects.get(version)
    if (since === undefined) return false
    if (performance.now() - since < ClearMs) return true
    this.#suspects.delete(version)
    return false
  }

  /** Makes workers for those who wait for one, and the spares that are missing. */
  #refill(): void {
    const wanted = (): number => this.#settings.spares + this.#takers.length
    while (!this.#closed && this.#spares.length + this.#booting < wanted()) {
      const nice = this.#booting < this.#takers.length ? 0 : this.#settings.nice
      this.#booting++
      this.#sharedHost().spawnWorker(this.#settings.spareMemoryMb, nice).then(
        (worker) => this.#booted(worker),
        (reason) => {
          this.#booting--
          this.#takers.shift()?.reject(reason)
          this.#retryLater()
        }
      )
    }
  }

  #booted(worker: ExecutorHost.ExecutorWorker): void {
    this.#booting--
    this.#failures = 0
    const taker = this.#takers.shift()
    if (taker !== undefined) return taker.resolve(worker)
    this.#spares.push(worker)
    if (this.#spares.length >= this.#settings.spares) { for (const next of this.#expecting.splice(0)) next() }
    void worker.exited.then(() => {
      if (!this.#spares.includes(worker)) return
      this.#spares = this.#spares.filter((spare) => spare !== worker)
      this.#retryLater()
    })
  }

  /** Fills up again, at once after the first trouble, then ever later. */
  #retryLater(): void {
    if (this.#timer !== undefined) return
    this.#refillLater(this.#failures === 0 ? 0 : Math.min(MaxBackoffMs, 50 * 2 ** this.#failures))
    this.#failures++
  }

  #refillLater(wait: number): void {
    if (this.#closed || this.#timer !== undefined) return
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#refill()
    }, wait)
  }

  #log(worker: ExecutorHost.ExecutorWorker, line: Control.Line): void {
    const instance = this.#instances.get(worker)
    if (instance === undefined) return
    const { id, name, version } = instance
    this.#settings.onLog({ instance: id, name, version, ...line })
  }
}

const refuse = (reason: Executor.StartReason, message: string): Executor.StartError =>
  new Executor.StartError({ reason, message })

/** With the place, where the import did not say it. */
const explained = async (error: unknown, { bundlePath }: Executor.StartSpec): Promise<unknown> => {
  if (!Executor.isStartError(error) || !error.message.startsWith("SyntaxError")) return error
  if (error.message.includes(Path.basename(bundlePath))) return error
  const place = await SyntaxCheck.find(bundlePath)
  return place === undefined ? error : refuse(error.reason, place)
}

const isReason = (value: unknown): value is Executor.ExitReason =>
  typeof value === "object" && value !== null && "kind" in value && "message" in value
