/** Entry of an executor host: a process that holds worker threads, one per function instance.
 *
 * Boundary: this thread spawns, watches and kills; it never runs user code and no call passes through it. It loads
 * nothing but Node, so that it starts quickly. It ends, with everything it started, when the agent's channel closes.
 * Invariants: F2 (a worker over its memory ends alone where that can be had; see `watch`), M5. */
import * as Fs from "node:fs"
import process from "node:process"
import { Worker } from "node:worker_threads"
import type * as Control from "./Control.ts"
import * as WorkerSource from "./WorkerSource.ts"

const WatchMs = 100
const MiB = 1024 * 1024
/** How far V8's own limit lies above the function's. */
const HeapSlack = 32 * MiB
/** V8 lets about this much of buffers become garbage before it collects. */
const BufferSlack = 96 * MiB
const PatienceSamples = 5
const MaxMessage = 4096

interface Entry {
  readonly worker: Worker
  /** Bytes it may hold; undefined while it is a spare. */
  limit: number | undefined
  /** Samples in a row above the limit. */
  over: number
  /** Milliseconds its loop was busy, when last asked. */
  active: number
  asked: boolean
  end: { readonly kind: "crashed" | "out-of-memory"; readonly message: string } | undefined
}

const code = WorkerSource.load(new URL("./WorkerMain.ts", import.meta.url))
const workers = new Map<number, Entry>()
/** The folder of the workers' sockets; it goes with this process when the agent can no longer remove it. */
const folder = process.argv[2]

const send = (message: Control.ToAgent): void => {
  if (process.connected) process.send?.(message)
}

/** Ends this process and whatever functions have started in its group. */
const vanish = (): never => {
  if (folder !== undefined) Fs.rmSync(folder, { recursive: true, force: true })
  try {
    process.kill(-process.pid, "SIGKILL")
  } catch {
    // Not the leader of a group.
  }
  process.kill(process.pid, "SIGKILL")
  return process.exit(1)
}

const describe = (error: unknown): string => {
  const text = error instanceof Error ? error.stack ?? error.message : String(error)
  return text.slice(0, MaxMessage)
}

const spawn = ({ id, memoryMb, nice, path }: Extract<Control.ToHost, { readonly _tag: "Spawn" }>): void => {
  const data: Control.WorkerData = { path, nice, sources: code.sources }
  const worker = new Worker(code.entry, {
    eval: typeof code.entry === "string",
    env: {},
    workerData: data,
    stdout: true,
    stderr: true,
    name: `function ${id}`,
    resourceLimits: { maxOldGenerationSizeMb: memoryMb + HeapSlack / MiB }
  })
  const entry: Entry = { worker, limit: undefined, over: 0, active: 0, asked: false, end: undefined }
  workers.set(id, entry)
  worker.on("message", (message: unknown) => fromWorker(id, message))
  worker.on("error", (error: unknown) => {
    const code = error instanceof Error && "code" in error ? error.code : undefined
    const outOfMemory = code === "ERR_WORKER_OUT_OF_MEMORY"
    entry.end ??= outOfMemory
      ? { kind: "out-of-memory", message: "the heap reached its limit" }
      : { kind: "crashed", message: describe(error) }
  })
  worker.on("exit", (code) => {
    workers.delete(id)
    const { kind, message } = entry.end ?? { kind: "crashed" as const, message: `it exited with code ${code}` }
    send({ _tag: "Exit", id, kind, message })
  })
  // What bypasses the console is read and dropped, so that it cannot pile up here.
  worker.stdout.resume()
  worker.stderr.resume()
}

const isLine = (value: unknown): value is Control.Line =>
  typeof value === "object" && value !== null && "text" in value && typeof value.text === "string"
  && "level" in value && typeof value.level === "string" && "at" in value && typeof value.at === "number"
  && "dropped" in value && typeof value.dropped === "number"
  && (!("callId" in value) || value.callId === undefined || typeof value.callId === "string")

const fromWorker = (id: number, message: unknown): void => {
  if (typeof message !== "object" || message === null || !("_tag" in message)) return
  if (message._tag === "Ready") send({ _tag: "Ready", id })
  else if (message._tag === "Line" && "line" in message && isLine(message.line)) {
    const { at, callId, dropped, level, text } = message.line
    send({ _tag: "Line", id, line: { at, callId, dropped, level, text } })
  }
}

/** Heap and buffers of each instance, read while it runs, even in an endless loop. `resourceLimits` does not count
 * buffers, and V8 may abort this whole process at a heap limit: so what grows slowly is ended here, alone, a little
 * before. Garbage counts until it is collected, hence the slack and the samples in a row. Idle threads are not woken. */
const watch = (): void => {
  for (const entry of workers.values()) {
    const { limit, worker } = entry
    if (limit === undefined || entry.asked) continue
    const turned = worker.performance.eventLoopUtilization()
    if (turned.active === entry.active && entry.over === 0) continue
    entry.active = turned.active
    entry.asked = true
    worker.getHeapStatistics().then((heap) => {
      entry.asked = false
      judge(entry, limit, heap.used_heap_size, heap.external_memory)
    }, () => {
      // It is ending already.
    })
  }
}

const judge = (entry: Entry, limit: number, heap: number, buffers: number): void => {
  const tooMuch = heap > limit + HeapSlack / 2 || heap + buffers > limit + BufferSlack
  entry.over = tooMuch ? entry.over + 1 : 0
  if (entry.over < PatienceSamples && heap + buffers < 2 * limit + BufferSlack) return
  const message = `it held ${Math.round((heap + buffers) / MiB)} MiB of ${Math.round(limit / MiB)}`
  entry.end ??= { kind: "out-of-memory", message }
  void entry.worker.terminate()
}

const receive = (message: Control.ToHost): void => {
  switch (message._tag) {
    case "Spawn":
      return spawn(message)
    case "Assign": {
      const entry = workers.get(message.id)
      if (entry !== undefined) entry.limit = message.memoryMb * MiB
      return undefined
    }
    case "Kill":
      void workers.get(message.id)?.worker.terminate()
      return undefined
  }
}

process.on("disconnect", vanish)
process.on("message", receive)
process.title = "shoal executor host"
setInterval(watch, WatchMs)
// The agent may have gone before anybody listened.
if (!process.connected) vanish()
