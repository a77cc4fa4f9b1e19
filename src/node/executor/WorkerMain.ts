/** Entry of a worker thread: a spare that becomes the instance of one function.
 *
 * Boundary: it owns one socket to the agent, on which the first stream says what to become and every later one is a
 * call; `Invocation` runs calls. It is small and without Effect, because spares are made while others work, and it
 * warms what a first call would wait for. User code in here can break only this thread.
 * Invariants: F2. */
import * as Module from "node:module"
import * as Net from "node:net"
import * as Os from "node:os"
import process from "node:process"
import { pathToFileURL } from "node:url"
import { parentPort, workerData } from "node:worker_threads"
import * as Mux from "../../functions/Mux.ts"
import type * as Control from "./Control.ts"
import * as Depth from "./Depth.ts"
import * as Handler from "./Handler.ts"
import * as Lines from "./Lines.ts"
import * as Turns from "./Turns.ts"

const decode = (bytes: Uint8Array): string => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8")

const data: Control.WorkerData = workerData
let handler: Handler.Handler | undefined
let starting = false

const post = (message: Control.FromWorker): void => parentPort?.postMessage(message)

/** Bundles are ECMAScript modules whatever their file is called. */
const importModule = (path: string): Promise<unknown> => {
  const bundle = pathToFileURL(path).href
  Module.registerHooks({
    load: (url, context, next) =>
      next(url, url === bundle && !url.endsWith(".ts") ? { ...context, format: "module" } : context)
  })
  return import(bundle)
}

const start = async (stream: Mux.MuxStream, head: Control.StartHead): Promise<void> => {
  try {
    lowerPriority(head.nice)
    Object.assign(process.env, head.env)
    const module = await importModule(head.bundlePath)
    const found = Handler.find(module, head.env)
    if (found === undefined) {
      return stream.error("no-handler", `${head.name} has no default export that is a function or has fetch`)
    }
    handler = found
    stream.end()
  } catch (error) {
    stream.error("import-failed", Handler.describe(error))
  }
}

/** On Linux this is the priority of this thread alone. */
const lowerPriority = (nice: number): void => {
  try {
    Os.setPriority(0, nice)
  } catch {
    // Not allowed here: run at the priority of the host.
  }
}

const serve = (socket: Net.Socket): void => {
  let scheduled = false
  const turns = new Turns.Turns(() => mux.flush())
  const onOpen = (stream: Mux.MuxStream, head: Uint8Array): void => {
    if (handler !== undefined) return Handler.call(handler, stream, JSON.parse(decode(head)), turns)
    if (starting) return stream.error("not-ready", "the instance is not started")
    starting = true
    void start(stream, JSON.parse(decode(head)))
  }
  const mux: Mux.Mux = new Mux.Mux({
    role: "server",
    maxStreams: 4096,
    onOpen,
    write: (chunks) => {
      if (chunks.length > 1) socket.cork()
      for (const chunk of chunks) socket.write(chunk)
      if (chunks.length > 1) socket.uncork()
    },
    onBroken: () => process.exit(70),
    onPending: () => {
      if (scheduled) return
      scheduled = true
      setImmediate(() => {
        scheduled = false
        mux.flush()
      })
    }
  })
  socket.on("data", (chunk) => typeof chunk === "string" ? undefined : mux.receive(chunk))
  socket.on("error", () => {})
  // Without an agent there is nobody to work for.
  socket.on("close", () => process.exit(0))
}

if (data.nice > 0) lowerPriority(data.nice)
Lines.install((line) => post({ _tag: "Line", line }))
Depth.install()
await Handler.warm()
// One connection, then the path is gone: closing the server unlinks it.
const server = Net.createServer((socket) => {
  server.close()
  serve(socket)
})
server.listen(data.path, () => post({ _tag: "Ready" }))
