/** Runs inside a network namespace of its own, in which a bridge connects one namespace for each of five nodes: cuts
 * their links, and prints what came of it as one line of JSON.
 *
 * Boundary: `Network.test.ts` makes the outer namespace and judges; everything made here ends with it. */
import * as Effect from "effect/Effect"
import { execFileSync } from "node:child_process"
import process from "node:process"
import { setTimeout as sleep } from "node:timers/promises"
import { tokenOf } from "../../src/cli/KeyToken.ts"
import { LocalCluster, type Node, waitUntil } from "./LocalCluster.ts"

const size = 5
const prefix = `shoal${process.pid}`
const spaceOf = (name: string): string => `${prefix}-${name}`
const hostOf = (name: string): string => `10.77.0.${name.slice(1)}`
const linkOf = (name: string): string => `v${name}`

const ip = (...args: ReadonlyArray<string>): void => void execFileSync("ip", args, { stdio: "pipe" })
const inside = (name: string, ...command: ReadonlyArray<string>): void => ip("netns", "exec", spaceOf(name), ...command)

const names = Array.from({ length: size }, (_, i) => `n${i + 1}`)

const build = (): void => {
  ip("link", "set", "lo", "up")
  ip("link", "add", "hub", "type", "bridge")
  ip("addr", "add", "10.77.0.254/24", "dev", "hub")
  ip("link", "set", "hub", "up")
  for (const name of names) {
    ip("netns", "add", spaceOf(name))
    ip("link", "add", linkOf(name), "type", "veth", "peer", "name", "eth0", "netns", spaceOf(name))
    ip("link", "set", linkOf(name), "master", "hub", "up")
    inside(name, "ip", "link", "set", "lo", "up")
    inside(name, "ip", "addr", "add", `${hostOf(name)}/24`, "dev", "eth0")
    inside(name, "ip", "link", "set", "eth0", "up")
  }
}

const clean = (): void => {
  for (const name of names) {
    try {
      ip("netns", "del", spaceOf(name))
    } catch {
      // it was not made
    }
  }
}

const cut = (name: string, state: "up" | "down"): void => ip("link", "set", linkOf(name), state)

const key = Buffer.alloc(32, 5).toString("base64")

const deploy = async (node: Node, service: string): Promise<number> => {
  const bundle = Buffer.from(`export default () => new Response("${service}")`).toString("base64")
  const { status } = await node.call("/system/functions", {
    method: "POST",
    body: JSON.stringify({ service, bundle }),
    headers: { "content-type": "application/json" },
    timeoutMs: 20_000
  }).catch(() => ({ status: 0 }))
  return status
}

/** The one master that all of `nodes` name, other than `former`. */
const masterOf = (cluster: LocalCluster, nodes: ReadonlyArray<Node>, former?: string): Promise<string> =>
  waitUntil("one master", async () => {
    const masters = new Set((await Promise.all(nodes.map((node) => cluster.status(node)))).map((s) => s.reign?.master))
    const [master] = masters
    return masters.size === 1 && typeof master === "string" && master !== former && master
  }, 30_000)

const answers = async (nodes: ReadonlyArray<Node>, service: string): Promise<boolean> => {
  const all = await Promise.all(nodes.map((node) => node.call(`/function/${service}`)))
  return all.every(({ body, status }) => status === 200 && body === service)
}

const play = async (cluster: LocalCluster) => {
  const acknowledged: Array<string> = []
  const write = async (node: Node, service: string): Promise<number> => {
    const status = await deploy(node, service)
    if (status === 200) acknowledged.push(service)
    return status
  }
  const first = await cluster.settled(size, 30_000)
  await write(cluster.node(first), "before")

  // the master's link is cut: the others go on with another, it accepts nothing
  cut(first, "down")
  const rest = cluster.alive.filter(({ name }) => name !== first)
  const began = performance.now()
  const second = await masterOf(cluster, rest, first)
  const takeoverMs = performance.now() - began
  const during = await write(rest[0] as Node, "during")
  await waitUntil(
    "the one that was cut off is dead",
    async () => (await cluster.status(rest[0] as Node)).members.dead === 1
  )
  cut(first, "up")
  const healed = await cluster.settled(size, 60_000)
  const everywhere = await waitUntil(
    "what was acknowledged answers everywhere",
    async () => (await Promise.all(acknowledged.map((service) => answers(cluster.alive, service)))).every(Boolean),
    20_000
  )

  // the link of a worker flaps: nobody is declared dead, the master stays, writes go on
  const worker = cluster.alive.find(({ name }) => name !== healed && name !== first) as Node
  const marks = cluster.alive.map(({ stderr }) => stderr.length)
  const written: Array<number> = []
  for (let i = 0; i < 6; i++) {
    cut(worker.name, "down")
    await sleep(700)
    cut(worker.name, "up")
    written.push(await write(cluster.node(healed), `flapping${i}`))
    await sleep(1500)
  }
  const stayed = await cluster.settled(size, 30_000)
  const since = cluster.alive.map(({ stderr }, i) => stderr.slice(marks[i])).join("\n")
  return {
    first,
    second,
    takeoverMs,
    during,
    healed,
    everywhere,
    written,
    stayed,
    deaths: [...since.matchAll(/Member failed/g)].length,
    acknowledged: acknowledged.length
  }
}

build()
try {
  const token = await Effect.runPromise(tokenOf({ key, keyFile: undefined }, {})) ?? ""
  const cluster = await LocalCluster.start(size, {
    env: { SHOAL_KEY: key },
    headers: { authorization: `Bearer ${token}` },
    placeOf: (name) => ({ host: hostOf(name), command: ["ip", "netns", "exec", spaceOf(name)] })
  })
  try {
    console.log(JSON.stringify(await play(cluster)))
  } finally {
    await cluster.stop()
  }
} finally {
  clean()
}
