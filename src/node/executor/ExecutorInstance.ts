/** One instance of a function, as the agent holds it: a worker with a function in it.
 *
 * Boundary: turns calls into streams of the worker's connection and its ends into reasons.
 * Invariants: F1 (a call on an ended instance reports the end on its stream, it never throws). */
import * as Executor from "../../functions/Executor.ts"
import type * as Mux from "../../functions/Mux.ts"
import type * as Control from "./Control.ts"
import type * as ExecutorHost from "./ExecutorHost.ts"

let instances = 0

export class ExecutorInstance implements Executor.Instance {
  readonly id: string
  readonly name: string
  readonly version: string
  readonly start: "prewarmed" | "cold"
  readonly exited: Promise<Executor.ExitReason>
  readonly #worker: ExecutorHost.ExecutorWorker
  readonly #spec: Executor.StartSpec
  readonly #pings = new Set<() => void>()
  #initMs = 0

  constructor(made: {
    readonly worker: ExecutorHost.ExecutorWorker
    readonly spec: Executor.StartSpec
    readonly start: "prewarmed" | "cold"
  }) {
    this.id = `${made.spec.name}-${++instances}`
    this.name = made.spec.name
    this.version = made.spec.version
    this.start = made.start
    this.exited = made.worker.exited
    this.#worker = made.worker
    this.#spec = made.spec
    void this.exited.then(() => this.#pings.forEach((failed) => failed()))
  }

  get initMs(): number {
    return this.#initMs
  }

  get inflight(): number {
    return this.#worker.mux.inflight
  }

  /** Loads the bundle. Rejects with `StartError`. */
  init(how: { readonly began: number; readonly nice: number; readonly timeoutMs: number }): Promise<void> {
    const { bundlePath, env, name, version } = this.#spec
    const head: Control.StartHead = { name, version, bundlePath, env, nice: how.nice }
    const { promise, reject, resolve } = Promise.withResolvers<void>()
    const fail = (reason: Executor.StartReason, message: string): void =>
      reject(new Executor.StartError({ reason, message }))
    const stream = this.#worker.mux.open(Buffer.from(JSON.stringify(head)))
    if (stream === undefined) {
      const ended = this.#worker.reason
      fail(ended?.kind ?? "capacity", ended?.message ?? "the head of the start is too large")
      return promise
    }
    const timer = setTimeout(() => fail("init-timeout", `${name} did not load in ${how.timeoutMs} ms`), how.timeoutMs)
    stream.onError = (code, message) => {
      clearTimeout(timer)
      fail(Executor.isStartReason(code) ? code : "crashed", message)
    }
    stream.onEnd = () => {
      clearTimeout(timer)
      this.#initMs = performance.now() - how.began
      resolve()
    }
    stream.end()
    return promise
  }

  call(head: Executor.CallHead): Mux.MuxStream {
    const stream = this.#worker.mux.open(Buffer.from(JSON.stringify(head)))
    if (stream !== undefined) return stream
    const { reason } = this.#worker
    return reason === undefined
      ? refused("capacity", "too many calls, or the head is too large")
      : refused(reason.kind, reason.message)
  }

  ping(timeoutMs?: number): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    const failed = (): void => answer(false)
    const timer = timeoutMs === undefined ? undefined : setTimeout(failed, timeoutMs)
    const answer = (alive: boolean): void => {
      clearTimeout(timer)
      this.#pings.delete(failed)
      resolve(alive)
    }
    this.#pings.add(failed)
    if (!this.#worker.mux.ping(() => answer(true))) answer(false)
    return promise
  }

  async stop(reason: string): Promise<void> {
    this.#worker.kill({ kind: "stopped", message: reason })
    await this.exited
  }
}

/** A stream that has failed before it began and says so a little later. */
const refused = (code: string, message: string): Mux.MuxStream => {
  const stream: Mux.MuxStream = {
    id: 0,
    finished: true,
    head: () => {},
    write: () => true,
    end: () => {},
    error: () => {},
    cancel: () => {},
    consumed: () => {},
    onHead: undefined,
    onData: undefined,
    onEnd: undefined,
    onError: undefined,
    onCancel: undefined,
    onWritable: undefined
  }
  queueMicrotask(() => stream.onError?.(code, message))
  return stream
}
