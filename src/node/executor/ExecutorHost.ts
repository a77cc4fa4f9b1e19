/** The agent's side of one executor host process and of the worker threads in it.
 *
 * Boundary: starts the process, asks it for workers and for their end, and hears why they ended. Which function runs
 * where is the pool's business. The process gets none of the agent's environment and leads a process group of its own,
 * so that a Ctrl-C at the agent's terminal does not reach it and its end takes its children along.
 * Invariants: F2. */
import { type ChildProcess, spawn } from "node:child_process"
import * as Net from "node:net"
import * as Path from "node:path"
import process from "node:process"
import { fileURLToPath } from "node:url"
import type * as Executor from "../../functions/Executor.ts"
import * as Mux from "../../functions/Mux.ts"
import type * as Control from "./Control.ts"

export interface Options {
  /** A short private folder for sockets; removed by whoever ends last. */
  readonly folder: string
  readonly onLine: (worker: ExecutorWorker, line: Control.Line) => void
  /** The process is gone: `host-crash`, or `stopped` when it was ended on purpose. Its workers end right after. */
  readonly onExit: (reason: Executor.ExitReason) => void
}

/** Milliseconds a worker has for its first sign of life. */
const BootMs = 15_000
/** Milliseconds from the order to end a thread until its whole host is ended instead. */
const KillMs = 3000
/** Milliseconds to wait for the host to say why a connection closed. */
const ReasonMs = 500

let sockets = 0

/** A thread in the host, connected. */
export class ExecutorWorker {
  readonly id: number
  readonly mux: Mux.Mux
  readonly host: ExecutorHost
  readonly exited: Promise<Executor.ExitReason>
  /** Set once it has ended or is ending. */
  reason: Executor.ExitReason | undefined
  readonly #socket: Net.Socket
  readonly #resolve: (reason: Executor.ExitReason) => void
  #gone = false
  #scheduled = false
  #timer: NodeJS.Timeout | undefined

  constructor(host: ExecutorHost, id: number, socket: Net.Socket) {
    this.host = host
    this.id = id
    this.#socket = socket
    const { promise, resolve } = Promise.withResolvers<Executor.ExitReason>()
    this.exited = promise
    this.#resolve = resolve
    this.mux = new Mux.Mux({
      role: "client",
      maxStreams: 4096,
      write: (chunks) => this.#write(chunks),
      onPending: () => this.#pending(),
      onBroken: (broken) => this.kill({ kind: "crashed", message: `it broke its connection: ${broken}` })
    })
    socket.on("data", (chunk) => typeof chunk === "string" ? undefined : this.mux.receive(chunk))
    socket.on("error", () => {})
    socket.on("close", () => {
      // The reason comes from the host, usually right behind this.
      if (!this.#gone) this.#timer ??= setTimeout(() => this.kill(lost), ReasonMs)
    })
  }

  /** Ends the thread, for this reason unless it was ending for another one. */
  kill(reason: Executor.ExitReason): void {
    if (this.#gone) return
    this.reason ??= reason
    clearTimeout(this.#timer)
    this.host.killWorker(this.id)
    this.mux.closeAll(this.reason.kind, this.reason.message)
    this.#timer = setTimeout(() => this.host.killFor(this), KillMs)
  }

  /** For the host: the thread has ended. */
  ended(reason: Executor.ExitReason): void {
    if (this.#gone) return
    this.#gone = true
    clearTimeout(this.#timer)
    this.reason ??= reason
    this.mux.closeAll(this.reason.kind, this.reason.message)
    this.#socket.destroy()
    this.#resolve(this.reason)
  }

  #write(chunks: ReadonlyArray<Uint8Array>): void {
    if (chunks.length > 1) this.#socket.cork()
    for (const chunk of chunks) this.#socket.write(chunk)
    if (chunks.length > 1) this.#socket.uncork()
  }

  #pending(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      this.mux.flush()
    })
  }
}

const lost: Executor.ExitReason = { kind: "crashed", message: "its connection closed" }

interface Booting {
  readonly path: string
  readonly timer: NodeJS.Timeout
  readonly resolve: (worker: ExecutorWorker) => void
  readonly reject: (reason: Executor.ExitReason) => void
  socket: Net.Socket | undefined
}

export class ExecutorHost {
  readonly #options: Options
  readonly #child: ChildProcess
  readonly #workers = new Map<number, ExecutorWorker>()
  readonly #booting = new Map<number, Booting>()
  readonly exited: Promise<Executor.ExitReason>
  #lastId = 0
  #reason: Executor.ExitReason | undefined
  #culprit: ExecutorWorker | undefined
  #gone = false

  constructor(options: Options) {
    this.#options = options
    const { promise, resolve } = Promise.withResolvers<Executor.ExitReason>()
    this.exited = promise
    this.#child = spawn(process.execPath, [fileURLToPath(new URL("./HostMain.ts", import.meta.url)), options.folder], {
      stdio: ["ignore", "ignore", "ignore", "ipc"],
      env: {},
      detached: true
    })
    this.#child.on("message", (message: Control.ToAgent) => this.#receive(message))
    this.#child.on("error", (error) => this.#ended(`it could not be started: ${error.message}`, resolve))
    this.#child.on("exit", (code, signal) => this.#ended(`its process ended with ${signal ?? code}`, resolve))
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** False once it has ended, or is ending. */
  get alive(): boolean {
    return this.#reason === undefined
  }

  /** Workers in it, those still booting included. */
  get size(): number {
    return this.#workers.size + this.#booting.size
  }

  get workers(): Iterable<ExecutorWorker> {
    return this.#workers.values()
  }

  /** A new thread, ready to become an instance, booting with this niceness. Rejects with an `Executor.ExitReason`. */
  spawnWorker(memoryMb: number, nice = 0): Promise<ExecutorWorker> {
    if (this.#reason !== undefined) return Promise.reject(this.#reason)
    const id = ++this.#lastId
    const path = Path.join(this.#options.folder, `${++sockets}.s`)
    const { promise, reject, resolve } = Promise.withResolvers<ExecutorWorker>()
    const timer = setTimeout(() => this.#failBoot(id, { kind: "crashed", message: "it did not boot in time" }), BootMs)
    this.#booting.set(id, { path, timer, resolve, reject, socket: undefined })
    this.#send({ _tag: "Spawn", id, path, memoryMb, nice })
    return promise
  }

  /** The worker became an instance with this limit. */
  assign(id: number, memoryMb: number): void {
    this.#send({ _tag: "Assign", id, memoryMb })
  }

  killWorker(id: number): void {
    this.#send({ _tag: "Kill", id })
  }

  /** Ends the process with all its workers. */
  kill(reason: Executor.ExitReason): void {
    this.#reason ??= reason
    const pid = this.#child.pid
    if (pid === undefined || this.#child.exitCode !== null || this.#child.signalCode !== null) return
    try {
      process.kill(-pid, "SIGKILL")
    } catch {
      this.#child.kill("SIGKILL")
    }
  }

  /** Ends the process because this worker cannot be ended alone. */
  killFor(worker: ExecutorWorker): void {
    this.#culprit ??= worker
    this.kill({ kind: "host-crash", message: `thread ${worker.id} in it could not be ended` })
  }

  /** The worker for which the process was ended, where that is known. */
  get culprit(): ExecutorWorker | undefined {
    return this.#culprit
  }

  #send(message: Control.ToHost): void {
    if (this.#child.connected) this.#child.send(message, () => {})
  }

  #receive(message: Control.ToAgent): void {
    switch (message._tag) {
      case "Ready":
        return this.#connect(message.id)
      case "Line": {
        const worker = this.#workers.get(message.id)
        return worker === undefined ? undefined : this.#options.onLine(worker, message.line)
      }
      case "Exit": {
        const reason: Executor.ExitReason = { kind: message.kind, message: message.message }
        this.#failBoot(message.id, reason)
        const worker = this.#workers.get(message.id)
        this.#workers.delete(message.id)
        return worker?.ended(reason)
      }
    }
  }

  #connect(id: number): void {
    const booting = this.#booting.get(id)
    if (booting === undefined || booting.socket !== undefined) return
    const socket = Net.connect(booting.path)
    booting.socket = socket
    socket.once("error", (error) => this.#failBoot(id, { kind: "crashed", message: error.message }))
    socket.once("connect", () => {
      if (!this.#booting.delete(id)) return
      clearTimeout(booting.timer)
      const worker = new ExecutorWorker(this, id, socket)
      this.#workers.set(id, worker)
      booting.resolve(worker)
    })
  }

  #failBoot(id: number, reason: Executor.ExitReason): void {
    const booting = this.#booting.get(id)
    if (booting === undefined) return
    this.#booting.delete(id)
    clearTimeout(booting.timer)
    booting.socket?.destroy()
    this.killWorker(id)
    booting.reject(reason)
  }

  #ended(message: string, resolve: (reason: Executor.ExitReason) => void): void {
    if (this.#gone) return
    this.#gone = true
    const reason: Executor.ExitReason = this.#reason ?? { kind: "host-crash", message }
    this.#reason = reason
    for (const id of this.#booting.keys()) this.#failBoot(id, reason)
    const workers = [...this.#workers.values()]
    this.#workers.clear()
    this.#options.onExit(reason)
    for (const worker of workers) worker.ended(reason)
    resolve(reason)
  }
}
