/** The executor alone, without gateway and HTTP: calls to a warm instance over its worker's socket, and starts, beside
 * a bare `node:http` handler in a process of its own, called by the same process in the same run. */
import { spawn } from "node:child_process"
import * as Path from "node:path"
import type * as Executor from "../../src/functions/Executor.ts"
import * as ExecutorPool from "../../src/node/executor/ExecutorPool.ts"
import { load } from "./Load.ts"
import { median, type Row, row } from "./Row.ts"

const rounds = 5
const millis = 1500
const starts = 40

const bareServer = `
const server = require("node:http").createServer((request, response) => response.end("hello " + request.url))
server.listen(0, "127.0.0.1", () => console.log(server.address().port))
process.stdin.resume().on("end", () => process.exit(0))
`

const startBare = (): Promise<{ readonly url: string; readonly stop: () => void }> =>
  new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["-e", bareServer], { stdio: ["pipe", "pipe", "inherit"] })
    child.once("error", reject)
    child.stdout.once("data", (port: Buffer) =>
      resolve({ url: `http://127.0.0.1:${port.toString().trim()}/`, stop: () => child.stdin.end() }))
  })

const spec = (memoryMb: number): Executor.StartSpec => ({
  version: "hello",
  name: "hello",
  bundlePath: Path.resolve(import.meta.dirname, "../fixtures/functions/hello.js"),
  env: {},
  limits: { memoryMb }
})

const headers = [["host", "127.0.0.1:8080"], ["connection", "keep-alive"], ["accept", "*/*"]] as const

/** One call, its reply read as a gateway reads it. */
const once = (instance: Executor.Instance): Promise<void> =>
  new Promise((resolve, reject) => {
    const stream = instance.call({ callId: "bench", method: "GET", url: "/", headers, timeoutMs: 30_000, depth: 0 })
    stream.onHead = (head) => JSON.parse(Buffer.from(head).toString("utf8"))
    stream.onData = (chunk) => stream.consumed(chunk.length)
    stream.onEnd = () => resolve()
    stream.onError = (code, message) => reject(new Error(`${code}: ${message}`))
    stream.end()
  })

const calls = async (instance: Executor.Instance, inFlight: number) => {
  const latencies: Array<number> = []
  const warm = performance.now() + millis / 10
  const end = warm + millis
  await Promise.all(Array.from({ length: inFlight }, async () => {
    for (let began = performance.now(); began < end; began = performance.now()) {
      await once(instance)
      if (began >= warm) latencies.push(performance.now() - began)
    }
  }))
  return { latencies, rate: latencies.length / (performance.now() - warm) * 1000 }
}

const warmCalls = async (pool: ExecutorPool.ExecutorPool, progress: (line: string) => void): Promise<Array<Row>> => {
  const bare = await startBare()
  const instance = await pool.start(spec(128))
  const rows: Array<Row> = []
  try {
    for (const inFlight of [1, 64]) {
      const measured = { latencies: Array<number>(), rates: Array<number>() }
      const control = { latencies: Array<number>(), rates: Array<number>() }
      for (let round = 1; round <= rounds; round++) {
        progress(`warm calls, ${inFlight} in flight, round ${round} of ${rounds}`)
        const http = await load([bare.url], { inFlight, millis, slices: 1 })
        for (const latency of http.latencies) control.latencies.push(latency)
        control.rates.push(...http.rates)
        const own = await calls(instance, inFlight)
        for (const latency of own.latencies) measured.latencies.push(latency)
        measured.rates.push(own.rate)
      }
      const name = `bare node:http, ${inFlight} in flight`
      rows.push(
        row(`executor.call.${inFlight}.rate`, "calls/s", measured.rates, { name, p50: median(control.rates) }),
        row(`executor.call.${inFlight}.latency`, "ms", measured.latencies, { name, p50: median(control.latencies) })
      )
    }
    return rows
  } finally {
    bare.stop()
    await instance.stop("measured")
  }
}

/** Milliseconds until an instance is ready, and until its first answer after that. */
const measureStarts = async (
  pool: ExecutorPool.ExecutorPool,
  memoryMb: number,
  expected: Executor.Instance["start"]
) => {
  const ready: Array<number> = []
  const first: Array<number> = []
  for (let index = 0; index < starts; index++) {
    await pool.ready
    const began = performance.now()
    const instance = await pool.start(spec(memoryMb))
    if (instance.start !== expected) throw new Error(`a start was ${instance.start} instead of ${expected}`)
    ready.push(performance.now() - began)
    const called = performance.now()
    await once(instance)
    first.push(performance.now() - called)
    await instance.stop("measured")
  }
  return { ready, first }
}

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  const pool = ExecutorPool.make()
  try {
    await pool.ready
    const rows = await warmCalls(pool, progress)
    progress(`${starts} prewarmed starts`)
    const prewarmed = await measureStarts(pool, 128, "prewarmed")
    progress(`${starts} cold starts`)
    // More memory than spares have: such a function cannot take one.
    const cold = await measureStarts(pool, 256, "cold")
    const control = { name: "cold start", p50: median(cold.ready) }
    return [
      ...rows,
      row("executor.start.prewarmed", "ms", prewarmed.ready, control),
      row("executor.start.prewarmed.firstCall", "ms", prewarmed.first, control),
      row("executor.start.cold", "ms", cold.ready),
      row("executor.start.cold.firstCall", "ms", cold.first, control)
    ]
  } finally {
    await pool.close()
  }
}
