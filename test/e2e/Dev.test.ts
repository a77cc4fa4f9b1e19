/** `shoal dev`, the main job of the repository: a cluster of processes that ends with its parent. */
import { assert, describe, it } from "@effect/vitest"
import { type ChildProcess, spawn } from "node:child_process"
import { readdir, readFile } from "node:fs/promises"
import * as Path from "node:path"
import { entry, request, waitUntil } from "./LocalCluster.ts"

const root = Path.resolve(import.meta.dirname, "../..")

interface Dev {
  readonly child: ChildProcess
  readonly said: () => string
  readonly servers: () => ReadonlyArray<string>
  readonly exited: () => number | null | undefined
}

const start = (args: ReadonlyArray<string>): Dev => {
  const child = spawn(process.execPath, [entry, "dev", ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"] })
  let text = ""
  let code: number | null | undefined
  child.stdout?.setEncoding("utf8").on("data", (part: string) => (text += part))
  child.stderr?.setEncoding("utf8").on("data", (part: string) => (text += part))
  child.once("exit", (exit, signal) => (code = signal === null ? exit : null))
  return {
    child,
    said: () => text,
    servers: () => [...new Set(text.match(/http:\/\/127\.0\.0\.1:\d+/g))],
    exited: () => code
  }
}

/** The living processes whose parent is, or was, `pid`: found by the command line they share with no one else. */
const descendants = async (pid: number, marker: string): Promise<ReadonlyArray<number>> => {
  const found: Array<number> = []
  for (const name of await readdir("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === pid) continue
    const line = await readFile(`/proc/${name}/cmdline`, "utf8").catch(() => "")
    if (line.includes(marker)) found.push(Number(name))
  }
  return found
}

const ready = (dev: Dev) =>
  waitUntil("dev is ready", async () => {
    if (dev.exited() !== undefined) throw new Error(`dev ended: ${dev.said()}`)
    return dev.said().includes("curl") && dev.servers().length > 0
  }, 30_000)

describe.runIf(process.platform === "linux")("shoal dev", () => {
  for (const signal of ["SIGINT", "SIGKILL"] as const) {
    it(`answers calls, and after ${signal} leaves no process behind`, async () => {
      const folder = Path.join("/tmp", `shoal-dev-test-${process.pid}-${signal}`)
      const dev = start(["--nodes", "3", "--data-dir", folder, "examples/functions/hello.ts"])
      try {
        await ready(dev)
        const [server] = dev.servers()
        const answer = await request(`${server}/function/hello`)
        assert.strictEqual(answer.status, 200, answer.body)
        assert.isAtLeast((await descendants(dev.child.pid ?? 0, folder)).length, 3)
        const asked = performance.now()
        dev.child.kill(signal)
        await waitUntil(
          "every process has ended",
          async () => (await descendants(dev.child.pid ?? 0, folder)).length === 0,
          10_000
        )
        if (signal === "SIGINT") {
          await waitUntil("dev has ended", async () => dev.exited() !== undefined)
          assert.strictEqual(dev.exited(), 0, dev.said())
          assert.isBelow(performance.now() - asked, 8000)
        }
      } finally {
        dev.child.kill("SIGKILL")
      }
    })
  }
})
