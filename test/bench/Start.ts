/** From nothing to five nodes with four functions: `shoal dev` until it says that it is ready, as `npm start` runs it.
 *
 * `cold` is the first start on a clone: no bundle of the entry and no compiled code is kept. The control is a Node process
 * that does nothing. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs/promises"
import * as Os from "node:os"
import * as Path from "node:path"
import { entry } from "../e2e/LocalCluster.ts"
import { median, type Row, row } from "./Row.ts"

const rounds = 5
const root = Path.resolve(import.meta.dirname, "../..")
const functions = Path.join(root, "examples/functions")

const emptyNode = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const began = performance.now()
    spawn(process.execPath, ["-e", "0"]).once("error", reject).once("exit", () => resolve(performance.now() - began))
  })

const start = async (files: ReadonlyArray<string>, compiled: string): Promise<number> => {
  const began = performance.now()
  const child = spawn(process.execPath, [entry, "dev", "--nodes", "5", "--port", "0", "--json", ...files], {
    env: { ...process.env, NODE_COMPILE_CACHE: compiled },
    stdio: ["ignore", "pipe", "inherit"]
  })
  const ended = new Promise((resolve) => child.once("close", resolve))
  let said = ""
  const ready = new Promise<number>((resolve, reject) => {
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      said += text
      if (said.includes("\"event\":\"ready\"")) resolve(performance.now() - began)
    })
    child.once("close", () => reject(new Error(`it ended before it was ready: ${said}`)))
  })
  try {
    return await ready
  } finally {
    child.kill("SIGTERM")
    await ended
  }
}

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  const files = (await Fs.readdir(functions)).map((name) => Path.join(functions, name))
  const compiled = await Fs.mkdtemp(Path.join(Os.tmpdir(), "shoal-start-"))
  try {
    const empty: Array<number> = []
    const cold: Array<number> = []
    const warm: Array<number> = []
    for (let round = 1; round <= rounds; round++) {
      progress(`round ${round} of ${rounds}`)
      empty.push(await emptyNode())
      await Fs.rm(Path.join(root, "node_modules/.cache/shoal"), { recursive: true, force: true })
      await Fs.rm(compiled, { recursive: true, force: true })
      cold.push(await start(files, compiled))
      warm.push(await start(files, compiled))
    }
    const control = { name: "node -e 0", p50: median(empty) }
    return [row("start.cold", "ms", cold, control), row("start.warm", "ms", warm, control)]
  } finally {
    await Fs.rm(compiled, { recursive: true, force: true })
  }
}
