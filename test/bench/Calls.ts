/** Calls per second and latency of a warm function, here and one hop away, beside a bare `node:http` handler. */
import { spawn } from "node:child_process"
import * as Path from "node:path"
import { LocalCluster, type Node, shoal, waitUntil } from "../e2e/LocalCluster.ts"
import { load, type Result } from "./Load.ts"
import { median, type Row, row } from "./Row.ts"

const bareServer = `
const server = require("node:http").createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/plain" })
  response.end("hello you\\n")
})
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

const hopsOf = async (node: Node): Promise<number> =>
  Number((await node.call("/function/hello")).headers["x-shoal-hops"])

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  const bare = await startBare()
  const cluster = await LocalCluster.start(3)
  try {
    const file = Path.resolve(import.meta.dirname, "../e2e/functions/hello.ts")
    const deployed = await shoal(["deploy", file, "--server", cluster.node("n1").http])
    if (deployed.code !== 0) throw new Error(deployed.stderr)
    await cluster.node("n2").call("/function/hello")
    const find = (hops: number) =>
      waitUntil(`a node ${hops} hops away`, async () => {
        for (const node of cluster.alive) if (await hopsOf(node) === hops) return node
        return undefined
      })
    const local = await find(0)
    const remote = await find(1)
    const subjects = { bare: bare.url, local: `${local.http}/function/hello`, hop: `${remote.http}/function/hello` }
    const rows: Array<Row> = []
    for (const inFlight of [1, 64]) {
      const results: Record<keyof typeof subjects, Array<Result>> = { bare: [], local: [], hop: [] }
      for (let round = 0; round < 5; round++) {
        for (const name of ["bare", "local", "hop"] as const) {
          progress(`${name}, ${inFlight} in flight, round ${round + 1} of 5`)
          results[name].push(await load([subjects[name]], { inFlight, millis: 1500, slices: 5 }))
        }
      }
      const control = (field: "rates" | "latencies") => ({
        name: `bare node:http, ${inFlight} in flight`,
        p50: median(results.bare.flatMap((result) => result[field]))
      })
      for (const name of ["bare", "local", "hop"] as const) {
        const failures = results[name].reduce((sum, result) => sum + result.failures, 0)
        if (failures > 0) throw new Error(`${failures} calls of ${name} failed`)
        for (const [field, unit] of [["rates", "calls/s"], ["latencies", "ms"]] as const) {
          const title = `calls.${name}.${inFlight}.${field === "rates" ? "rate" : "latency"}`
          rows.push(
            row(title, unit, results[name].flatMap((result) => result[field]), name === "bare" ? null : control(field))
          )
        }
      }
    }
    return rows
  } finally {
    bare.stop()
    await cluster.stop()
  }
}
