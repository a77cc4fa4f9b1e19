/** The control plane of real nodes on loopback: how fast a registration is visible at every replica, how many a master
 * takes, and what a table of 100,000 functions costs: memory, look-ups, the snapshot for a new replica.
 *
 * Eight processes: the master, its three replicas, two that can take a replica's place, and two that only register. */
import { type ChildProcess, fork } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { Answer, Order } from "./ControlMain.ts"
import { type Row, row } from "./Row.ts"

const table = 100_000
const pace = 1000
const paced = 5000
const alone = 100
const lookups = 2000
const snapshots = 10

class Peer {
  readonly name: string
  readonly process: ChildProcess
  gossip = ""

  constructor(name: string) {
    this.name = name
    this.process = fork(Path.join(import.meta.dirname, "ControlMain.ts"), {
      execArgv: ["--expose-gc"],
      stdio: ["ignore", "ignore", "inherit", "ipc"]
    })
  }

  /** One order at a time. */
  ask<Tag extends Answer["_tag"]>(tag: Tag, order: Order): Promise<Extract<Answer, { readonly _tag: Tag }>> {
    return new Promise((resolve, reject) => {
      const ended = () => reject(new Error(`${this.name} ended`))
      this.process.once("exit", ended)
      this.process.once("message", (message) => {
        this.process.off("exit", ended)
        const answer = message as Answer
        if (answer._tag === tag) resolve(answer as Extract<Answer, { readonly _tag: Tag }>)
        else reject(new Error(`${this.name} answered ${answer._tag} to ${order._tag}`))
      })
      this.process.send(order)
    })
  }
}

class Peers {
  readonly folder = mkdtempSync(Path.join(Os.tmpdir(), "shoal-bench-"))
  readonly all: Array<Peer> = []

  async add(name: string, eligible: boolean): Promise<Peer> {
    const peer = new Peer(name)
    const join = this.all.slice(0, 1).map(({ gossip }) => gossip)
    const dataDir = Path.join(this.folder, `${name}-${peer.process.pid ?? 0}`)
    const { gossip } = await peer.ask("Started", { _tag: "Start", settings: { name, dataDir, join, eligible } })
    peer.gossip = gossip
    this.all.push(peer)
    return peer
  }

  async kill(peer: Peer): Promise<void> {
    this.all.splice(this.all.indexOf(peer), 1)
    const ended = new Promise((resolve) => peer.process.once("exit", resolve))
    peer.process.kill("SIGKILL")
    await ended
  }

  /** Waits until everybody sees everybody; who has which role then. */
  async settled(): Promise<{ readonly master: Peer; readonly replicas: Array<Peer>; readonly workers: Array<Peer> }> {
    for (let tries = 0; tries < 600; tries++) {
      const states = await Promise.all(this.all.map((peer) => peer.ask("State", { _tag: "State" })))
      const having = (role: string) => this.all.filter((_, i) => states[i]?.role === role)
      const [master] = having("master")
      const same = states.every((state) => state.alive === this.all.length && state.master === master?.name)
      if (master !== undefined && same) return { master, replicas: having("replica"), workers: having("worker") }
      await sleep(50)
    }
    throw new Error("the nodes do not agree")
  }

  end(): void {
    for (const { process } of this.all) process.kill("SIGKILL")
    rmSync(this.folder, { recursive: true, force: true, maxRetries: 5 })
  }
}

/** Registers at `writer`; for each registration, how long until the last of `replicas` counted it. */
const visible = async (
  writer: Peer,
  replicas: ReadonlyArray<Peer>,
  load: { readonly prefix: string; readonly count: number; readonly perSecond: number; readonly before: number }
): Promise<{ readonly took: Array<number>; readonly seconds: number }> => {
  const { before, ...rest } = load
  const watching = replicas.map((peer) => peer.ask("Watched", { _tag: "Watch", until: before + load.count }))
  const { at } = await writer.ask("Registered", { _tag: "Register", ...rest })
  const all = await Promise.all(watching)
  const took = at.map((begun, i) =>
    Math.max(...all.map(({ seen }) => (seen.find(([, routes]) => routes > before + i)?.[0] ?? Number.NaN) - begun))
  )
  const last = Math.max(...all.map(({ seen }) => seen.at(-1)?.[0] ?? Number.NaN))
  return { took, seconds: (last - (at[0] ?? Number.NaN)) / 1000 }
}

/** The bare thing: a few bytes there and back on a TCP connection of this process. */
const echo = async (): Promise<Row> => {
  const server = Net.createServer((socket) => socket.setNoDelay(true).on("data", (bytes) => void socket.write(bytes)))
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as Net.AddressInfo
  const socket = Net.connect(port, "127.0.0.1").setNoDelay(true)
  const samples: Array<number> = []
  for (let i = 0; i < lookups; i++) {
    const begun = performance.now()
    await new Promise((resolve) => {
      socket.once("data", resolve)
      socket.write(Buffer.alloc(80))
    })
    samples.push(performance.now() - begun)
  }
  socket.destroy()
  server.close()
  return row("control.bare-tcp-round-trip", "ms", samples)
}

/** Kills replica after replica; how long the next one takes from its role to its whole table. */
const takeOver = async (peers: Peers, rounds: number, progress: (line: string) => void) => {
  const took: Array<number> = []
  const stalls: Array<number> = []
  for (let round = 0; round < rounds; round++) {
    const { master, replicas, workers } = await peers.settled()
    const [oldest] = replicas
    const next = workers.find(({ name }) => !name.startsWith("w"))
    if (oldest === undefined || next === undefined) throw new Error("no replica to replace")
    const { routes } = await master.ask("State", { _tag: "State" })
    const becoming = next.ask("Became", { _tag: "Become", role: "replica", routes })
    await peers.kill(oldest)
    const became = await becoming
    took.push(became.routes - became.role)
    const { stallMs } = await master.ask("State", { _tag: "State" })
    stalls.push(stallMs)
    progress(
      `snapshot ${round + 1} of ${rounds}: ${took.at(-1)?.toFixed(0)} ms, master stalled ${stallMs.toFixed(0)} ms`
    )
    await peers.add(`c${round + 10}`, true)
  }
  return { took, stalls }
}

export const run = async (
  progress: (line: string) => void,
  options: { readonly runs?: number }
): Promise<ReadonlyArray<Row>> => {
  const bare = await echo()
  const beside = { name: bare.name, p50: bare.p50 }
  const peers = new Peers()
  try {
    for (const name of ["c1", "c2", "c3", "c4", "c5", "c6"]) await peers.add(name, true)
    const writers = [await peers.add("w1", false), await peers.add("w2", false)]
    const { master, replicas, workers } = await peers.settled()
    const [first, second] = writers
    const [replica] = replicas
    const reader = workers.find((peer) => !writers.includes(peer))
    if (first === undefined || second === undefined || replica === undefined || reader === undefined) {
      throw new Error("not the roles that were expected")
    }
    progress(`${replicas.length} replicas`)
    await visible(first, replicas, { prefix: "a", count: 500, perSecond: pace, before: 0 }) // the first ones compile
    const calm = await visible(first, replicas, { prefix: "b", count: alone, perSecond: 10, before: 500 })
    progress("registered one by one")
    const loaded = await visible(first, replicas, { prefix: "c", count: paced, perSecond: pace, before: 500 + alone })
    progress(`registered ${pace} a second`)
    const { heapBytes } = await replica.ask("State", { _tag: "State", collect: true })
    const before = 500 + alone + paced
    const each = (table - before) / 2
    const together = await Promise.all([
      visible(first, [master, ...replicas], { prefix: "d", count: each, perSecond: 0, before: before + each }),
      second.ask("Registered", { _tag: "Register", prefix: "e", count: each, perSecond: 0 })
    ])
    const rate = 2 * each / together[0].seconds
    progress(`registered ${rate.toFixed(0)} a second`)
    await peers.settled()
    const grown = (await replica.ask("State", { _tag: "State", collect: true })).heapBytes - heapBytes
    const versions = Array.from(
      { length: lookups },
      (_, i) => `e${String(Math.floor(i * each / lookups)).padStart(63, "0")}`
    )
    await reader.ask("Looked", { _tag: "Look", versions: versions.slice(0, 200) })
    const { took: looked } = await reader.ask("Looked", { _tag: "Look", versions })
    const { stalls, took } = await takeOver(peers, options.runs ?? snapshots, progress)
    const one = row("control.register-to-visible-alone", "ms", calm.took)
    return [
      bare,
      one,
      row(`control.register-to-visible-${pace}-per-second`, "ms", loaded.took, { name: one.name, p50: one.p50 }),
      row("control.registrations", "1/s", [rate]),
      row("control.table-of-100000-heap", "MB", [grown / 1e6]),
      row("control.look-up-by-rpc", "ms", looked, beside),
      row("control.snapshot-of-100000", "ms", took, beside),
      row("control.snapshot-stall-of-master", "ms", stalls)
    ]
  } finally {
    peers.end()
  }
}
