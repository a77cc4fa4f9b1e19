/** What a node says, and leaves behind, when it is used wrongly or its surroundings are broken. */
import { afterAll, assert, beforeAll, describe, it } from "@effect/vitest"
import * as Dgram from "node:dgram"
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { ended, LocalCluster, shoal, waitUntil } from "./LocalCluster.ts"

const oneLine = (text: string): boolean => text.trim().split("\n").length === 1 && text.trim().length > 0

const up = (flags: Readonly<Record<string, string>>) => {
  const all = { bind: "127.0.0.1:0", http: "127.0.0.1:0", "log-level": "error", ...flags }
  return shoal(["up", ...Object.entries(all).flatMap(([flag, value]) => [`--${flag}`, value])], { timeoutMs: 15_000 })
}

describe("a node in trouble", () => {
  let cluster: LocalCluster
  let folder: string

  beforeAll(async () => {
    folder = await mkdtemp(Path.join(Os.tmpdir(), "shoal-trouble-"))
    cluster = await LocalCluster.start(2)
  })

  afterAll(async () => {
    await cluster?.stop()
    await rm(folder, { recursive: true, force: true })
  })

  it("exits 2 with one helpful line for wrong usage", async () => {
    for (
      const args of [
        ["upp"],
        ["up", "--nmae", "x"],
        ["up", "--bind", "127.0.0.1"],
        ["up", "--bind", "0.0.0.0:7000"],
        ["up", "--join", "nowhere"],
        ["members", "--server", "not a url"]
      ]
    ) {
      const run = await shoal(args)
      assert.strictEqual(run.code, 2, `${args.join(" ")}: ${run.stderr}`)
      assert.isTrue(oneLine(run.stderr), run.stderr)
      assert.strictEqual(run.stdout, "")
    }
  })

  it("exits 1 and names the port that is in use, for each of its listeners", async () => {
    const server = Net.createServer().listen(0, "127.0.0.1")
    await new Promise((resolve) => server.once("listening", resolve))
    const { port } = server.address() as Net.AddressInfo
    try {
      for (const flag of ["http", "rpc", "data", "bind"]) {
        const run = await up({ name: "busy", "data-dir": Path.join(folder, "busy"), [flag]: `127.0.0.1:${port}` })
        assert.strictEqual(run.code, 1, `${flag}: ${run.stderr}`)
        assert.include(run.stderr, `${port}`)
        assert.isTrue(oneLine(run.stderr), run.stderr)
      }
    } finally {
      server.close()
    }
  })

  it("exits 1 when another process has its data folder, and says which", async () => {
    const holder = cluster.node("n2")
    const run = await up({ name: "second", "data-dir": holder.dataDir })
    assert.strictEqual(run.code, 1)
    assert.include(run.stderr, holder.dataDir)
    assert.include(run.stderr, `${holder.process.pid}`)
  })

  it("exits 1 when its data folder cannot be used", async () => {
    const file = Path.join(folder, "a-file")
    await writeFile(file, "")
    await chmod(file, 0o444)
    const run = await up({ name: "nofolder", "data-dir": file })
    assert.strictEqual(run.code, 1, run.stderr)
    assert.include(run.stderr, file)
  })

  it("exits 1 where no folder can be made, instead of trying for ever", async () => {
    for (const nowhere of ["/proc/shoal", "/proc/shoal/below", "/dev/null/shoal"]) {
      const run = await up({ name: "nowhere", "data-dir": nowhere })
      assert.strictEqual(run.code, 1, run.stderr)
      assert.include(run.stderr, nowhere)
      assert.isTrue(oneLine(run.stderr), run.stderr)
    }
    const dev = await shoal(["dev", "--nodes", "1", "--port", "0", "--data-dir", "/proc/shoal"])
    assert.strictEqual(dev.code, 1, dev.stderr)
    assert.include(dev.stderr, "/proc/shoal")
  })

  it("says of a seed that its name is not known, and goes on trying", async () => {
    const lost = await cluster.add("lost", { join: ["no-such-host.invalid:7946"] })
    await waitUntil("it says what is wrong", async () => lost.stderr.includes("unknown host name"), 30_000)
    lost.kill("SIGTERM")
    await ended(lost)
    assert.strictEqual(lost.exit, 0)
  })

  it("exits 1 when an older living node has its name, and leaves that one alone", async () => {
    const run = await up({ name: "n2", "data-dir": Path.join(folder, "twin"), join: cluster.node("n1").gossip })
    assert.strictEqual(run.code, 1, run.stderr)
    assert.include(run.stderr, "n2")
    assert.include(run.stderr, "already")
    await cluster.settled(2)
  })

  it("refuses a function that does not compile with file, line and column, and changes nothing", async () => {
    const broken = Path.join(folder, "broken.ts")
    await writeFile(broken, "export default (request: Request) => {\n  return new Response(\"unbalanced\"\n}\n")
    const server = cluster.node("n1").http
    const before = (await shoal(["functions", "--json", "--server", server])).stdout
    const run = await shoal(["deploy", broken, "--server", server])
    assert.strictEqual(run.code, 1)
    assert.match(run.stderr, /broken\.ts:\d+:\d+/)
    assert.strictEqual((await shoal(["functions", "--json", "--server", server])).stdout, before)
  })

  it("counts and ignores junk datagrams and broken peer frames", async () => {
    const node = cluster.node("n1")
    const members = await node.json<
      ReadonlyArray<{ readonly id: string; readonly metadata: { readonly rpc?: string; readonly data?: string } }>
    >("/system/members")
    const self = members.find((member) => member.id === "n1")
    const [host = "", port = "0"] = node.gossip.split(":")
    const udp = Dgram.createSocket("udp4")
    for (let i = 0; i < 200; i++) {
      const junk = Buffer.from(Array.from({ length: (i * 7) % 1200 }, (_, j) => (i * 31 + j * 17) & 0xff))
      await new Promise((resolve) => udp.send(junk, Number(port), host, resolve))
    }
    udp.close()
    for (const address of [node.gossip, self?.metadata.rpc, self?.metadata.data]) {
      if (address === undefined) continue
      const [at = "", tcp = "0"] = address.split(":")
      const socket = Net.connect(Number(tcp), at)
      socket.on("error", () => {}).resume()
      socket.end(Buffer.alloc(5000, 0x99))
      await new Promise((resolve) => socket.once("close", resolve))
    }
    await waitUntil("junk is counted", async () => {
      const text = (await node.call("/metrics")).body
      const line = text.split("\n").filter((entry) => /reject/.test(entry) && !entry.startsWith("#"))
      return line.some((entry) => Number(entry.split(" ").at(-1)) > 0)
    })
    assert.strictEqual((await cluster.status(node)).members.alive, 2)
  })

  it("keeps trying a seed that does not answer, says so, and joins when it appears", async () => {
    const probe = Net.createServer().listen(0, "127.0.0.1")
    await new Promise((resolve) => probe.once("listening", resolve))
    const { port } = probe.address() as Net.AddressInfo
    await new Promise((resolve) => probe.close(resolve))
    const early = await cluster.add("early", { join: [`localhost:${port}`] })
    await waitUntil("it says that the seed does not answer", async () => early.stderr.includes(`${port}`))
    const late = await cluster.add("late", { join: [], bind: `127.0.0.1:${port}` })
    await waitUntil("the two found each other", async () => (await cluster.status(late)).members.alive === 2, 30_000)
    early.kill("SIGTERM")
    late.kill("SIGTERM")
    await Promise.all([ended(early), ended(late)])
    assert.deepStrictEqual([early.exit, late.exit], [0, 0])
  })
})
