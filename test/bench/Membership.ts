/** Members on real loopback sockets, lan preset: joins, leaves, kills, a burst of broadcasts, and what idling costs.
 *
 * 30 members in five processes that are already warm, and one more process for each member that is killed. All figures
 * are from the order to the last member that saw it. `--runs N` repeats each (default 10; kills are slow). */
import { type ChildProcess, fork } from "node:child_process"
import * as Dgram from "node:dgram"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"
import type { News, Order } from "./MemberProcess.ts"
import { type Row, row } from "./Row.ts"

const processes = 5
const burst = 3000
const idleMs = 20_000

type Saw = Extract<News, { readonly _tag: "Saw" }>

class Host {
  readonly process: ChildProcess
  readonly members = new Set<string>()

  constructor(process: ChildProcess) {
    this.process = process
  }

  order(order: Order): void {
    this.process.send(order)
  }
}

/** All processes and everything that their members have told. */
class Cluster {
  readonly hosts: Array<Host> = []
  readonly news: Array<News> = []
  private readonly waiting = new Set<() => void>()
  private round = 0
  names: Array<string> = []

  static async start(): Promise<Cluster> {
    const cluster = new Cluster()
    for (let i = 0; i < processes; i++) cluster.hosts.push(await cluster.host())
    return cluster
  }

  async host(): Promise<Host> {
    const child = fork(Path.join(import.meta.dirname, "MemberProcess.ts"), { serialization: "advanced" })
    await new Promise<void>((resolve) => child.once("message", () => resolve()))
    child.on("message", (news) => {
      const told = news as News
      if (told._tag === "Died") throw new Error(`${told.name} died: ${told.cause}`)
      this.news.push(told)
      for (const wake of this.waiting) wake()
    })
    return new Host(child)
  }

  /** Waits until `ready` finds what it looks for in the news. */
  async until<A>(what: string, find: () => A | undefined, millis = 60_000): Promise<A> {
    const deadline = performance.now() + millis
    while (true) {
      const found = find()
      if (found !== undefined) return found
      const left = deadline - performance.now()
      if (left <= 0) throw new Error(`not within ${millis} ms: ${what}`)
      await new Promise<void>((resolve) => {
        const wake = () => {
          clearTimeout(timer)
          this.waiting.delete(wake)
          resolve()
        }
        const timer = setTimeout(wake, Math.min(left, 1000))
        this.waiting.add(wake)
      })
    }
  }

  of<Tag extends News["_tag"]>(tag: Tag): Array<Extract<News, { readonly _tag: Tag }>> {
    return this.news.filter((news): news is Extract<News, { readonly _tag: Tag }> => news._tag === tag)
  }

  saw(what: Saw["what"], about: string): Array<Saw> {
    return this.of("Saw").filter((news) => news.what === what && news.about === about)
  }

  /** When each of `count` members first saw `what`, or undefined. */
  times(what: Saw["what"], about: string, count: number): Array<number> | undefined {
    const first = new Map<string, number>()
    for (const { at, name } of this.saw(what, about)) if (!first.has(name)) first.set(name, at)
    return first.size >= count ? [...first.values()] : undefined
  }

  /** A fresh cluster: one member, then all others at once through it. Returns how long until all see all. */
  async form(total: number, keyed = false): Promise<number> {
    const round = ++this.round
    this.news.length = 0
    this.names = Array.from({ length: total }, (_, i) => `r${round}-${i}`)
    for (const host of this.hosts) host.members.clear()
    this.names.forEach((name, i) => this.hosts[i % this.hosts.length]?.members.add(name))
    const [first] = this.names
    const [home] = this.hosts
    if (first === undefined || home === undefined) throw new Error("no members")
    home.order({ _tag: "Start", names: [first], join: [], total, keyed })
    const { address } = await this.until("the first is up", () => this.of("Started").at(0))
    await sleep(200)
    const begun = performance.timeOrigin + performance.now()
    for (const host of this.hosts) {
      const names = [...host.members].filter((name) => name !== first)
      host.order({ _tag: "Start", names, join: [address], total, keyed })
    }
    const done = await this.until("all see all", () => {
      const complete = this.of("Complete")
      return complete.length >= total ? complete : undefined
    })
    return Math.max(...done.map(({ at }) => at)) - begun
  }

  home(name: string): Host {
    const host = this.hosts.find(({ members }) => members.has(name))
    if (host === undefined) throw new Error(`nobody hosts ${name}`)
    return host
  }

  async dissolve(): Promise<void> {
    const before = this.of("Stopped").length
    for (const host of this.hosts) host.order({ _tag: "Stop" })
    await this.until("all stopped", () => this.of("Stopped").length >= before + this.hosts.length ? true : undefined)
  }

  end(): void {
    for (const { process } of this.hosts) process.kill("SIGKILL")
  }
}

const joins = async (cluster: Cluster, total: number, runs: number, say: (line: string) => void) => {
  const samples: Array<number> = []
  for (let run = 0; run < runs; run++) {
    samples.push(await cluster.form(total))
    say(`join ${run + 1}/${runs}: ${samples.at(-1)?.toFixed(0)} ms`)
    if (run < runs - 1) await cluster.dissolve()
  }
  return samples
}

/** One member after the other says goodbye and is replaced by nobody; a new cluster when a third has gone. */
const leaves = async (cluster: Cluster, total: number, runs: number, say: (line: string) => void) => {
  const samples: Array<number> = []
  let failures = 0
  let left = 0
  for (let run = 0; run < runs; run++) {
    if (left < total * 0.7) {
      if (run > 0) await cluster.dissolve()
      await cluster.form(total)
      left = total
      await sleep(1500)
    }
    const name = cluster.names[left - 1]
    if (name === undefined) break
    const begun = performance.timeOrigin + performance.now()
    cluster.home(name).order({ _tag: "Leave", name })
    const times = await cluster.until("leave seen", () => cluster.times("Left", name, left - 1), 40_000)
    samples.push(Math.max(...times) - begun)
    left--
    await sleep(300)
    failures += cluster.saw("Failed", name).length
    say(`leave ${run + 1}/${runs}: ${samples.at(-1)?.toFixed(0)} ms`)
  }
  return { samples, failures }
}

const kills = async (cluster: Cluster, total: number, runs: number, say: (line: string) => void) => {
  const samples: Array<number> = []
  const spreads: Array<number> = []
  for (let run = 0; run < runs; run++) {
    await cluster.form(total - 1)
    const victim = await cluster.host()
    const name = `victim-${total}-${run}`
    const { address } = cluster.of("Started")[0] ?? { address: "" }
    victim.order({ _tag: "Start", names: [name], join: [address], total })
    await cluster.until("the victim sees all", () => cluster.of("Complete").find((news) => news.name === name))
    await sleep(2500 + Math.random() * 1000)
    const begun = performance.timeOrigin + performance.now()
    victim.process.kill("SIGKILL")
    const times = await cluster.until("kill seen", () => cluster.times("Failed", name, total - 1))
    samples.push(Math.max(...times) - begun)
    spreads.push(Math.max(...times) - Math.min(...times))
    const others = cluster.of("Saw").filter(({ about, what }) => what === "Failed" && about !== name).length
    say(
      `kill ${run + 1}/${runs} of ${total}: ${samples.at(-1)?.toFixed(0)} ms, spread ${
        spreads.at(-1)?.toFixed(0)
      } ms, false ${others}`
    )
    await cluster.dissolve()
  }
  return { samples, spreads }
}

const bursts = async (cluster: Cluster, total: number, runs: number, say: (line: string) => void) => {
  const samples: Array<number> = []
  for (let run = 0; run < runs; run++) {
    await cluster.form(total)
    await sleep(1500)
    const [name = ""] = cluster.names
    const begun = performance.timeOrigin + performance.now()
    cluster.home(name).order({ _tag: "Burst", name, count: burst })
    const done = await cluster.until("burst received", () => {
      const all = cluster.of("GotAll")
      return all.length >= total ? all : undefined
    }, 120_000)
    if (!done.every(({ inOrder }) => inOrder)) throw new Error("out of order")
    samples.push(Math.max(...done.map(({ at }) => at)) - begun)
    const suspicions = cluster.of("Saw").filter(({ what }) => what !== "Left").length
    say(`burst ${run + 1}/${runs}: ${samples.at(-1)?.toFixed(0)} ms, suspicions ${suspicions}`)
    await cluster.dissolve()
  }
  return samples
}

/** Packets and bytes per member and second, after everything has settled. */
const idle = async (cluster: Cluster, total: number, keyed: boolean, say: (line: string) => void) => {
  await cluster.form(total, keyed)
  await sleep(15_000)
  const numbers = async () => {
    const before = cluster.of("Numbers").length
    for (const host of cluster.hosts) host.order({ _tag: "Statistics" })
    return cluster.until("numbers", () => {
      const all = cluster.of("Numbers").slice(before)
      return all.length >= total ? all : undefined
    })
  }
  const before = new Map((await numbers()).map((each) => [each.name, each]))
  await sleep(idleMs)
  const packets: Array<number> = []
  const bytes: Array<number> = []
  for (const after of await numbers()) {
    const start = before.get(after.name)
    packets.push((after.packets - (start?.packets ?? 0)) / (idleMs / 1000))
    bytes.push((after.bytes - (start?.bytes ?? 0)) / (idleMs / 1000))
  }
  await cluster.dissolve()
  say(`idle: ${Math.max(...packets).toFixed(2)} packets, ${Math.max(...bytes).toFixed(0)} B at most`)
  return { packets, bytes }
}

/** The bare thing: a datagram there and back between two sockets of this process. */
const control = async (): Promise<Row> => {
  const [a, b] = [Dgram.createSocket("udp4"), Dgram.createSocket("udp4")]
  await Promise.all([a, b].map((socket) => new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", resolve))))
  b.on("message", (message, { address, port }) => b.send(message, port, address))
  const samples: Array<number> = []
  for (let i = 0; i < 500; i++) {
    const begun = performance.now()
    await new Promise<void>((resolve) => {
      a.once("message", () => resolve())
      a.send(Buffer.alloc(80), b.address().port, "127.0.0.1")
    })
    samples.push(performance.now() - begun)
  }
  a.close()
  b.close()
  return row("membership.bare-udp-round-trip", "ms", samples)
}

export interface Options {
  /** How often each thing is done. */
  readonly runs?: number
  /** Only one of join, leave, burst, idle, kill-10, kill-30. */
  readonly part?: string
}

export const run = async (
  progress: (line: string) => void,
  options: Options = {}
): Promise<ReadonlyArray<Row>> => {
  const runs = options.runs ?? 10
  const wanted = (part: string): boolean => options.part === undefined || options.part === part
  const bare = await control()
  const beside = { name: bare.name, p50: bare.p50 }
  const cluster = await Cluster.start()
  try {
    const rows = [bare]
    await joins(cluster, 10, 2, () => {}) // the first joins compile
    await cluster.dissolve()
    if (wanted("join")) {
      const samples = await joins(cluster, 30, runs, progress)
      rows.push(row("membership.join-30-all-see-all", "ms", samples, beside))
      await cluster.dissolve()
    }
    if (wanted("leave")) {
      const { failures, samples } = await leaves(cluster, 30, runs, progress)
      rows.push(row("membership.leave-30-seen-by-all", "ms", samples, beside))
      rows.push(row("membership.leave-30-shown-as-failure", "count", [failures]))
      await cluster.dissolve()
    }
    if (wanted("burst")) {
      const samples = await bursts(cluster, 30, Math.max(1, Math.ceil(runs / 10)), progress)
      rows.push(row("membership.burst-3000-received-by-30", "ms", samples, beside))
    }
    if (wanted("idle")) {
      for (const keyed of [false, true]) {
        const { bytes, packets } = await idle(cluster, 30, keyed, progress)
        const suffix = keyed ? "-with-a-key" : ""
        rows.push(row(`membership.idle-30-packets${suffix}`, "1/s per member", packets))
        rows.push(row(`membership.idle-30-bytes${suffix}`, "B/s per member", bytes))
      }
    }
    for (const total of [10, 30]) {
      if (!wanted(`kill-${total}`)) continue
      const { samples, spreads } = await kills(cluster, total, runs, progress)
      rows.push(row(`membership.kill-${total}-seen-by-all`, "ms", samples, beside))
      rows.push(row(`membership.kill-${total}-spread`, "ms", spreads, beside))
    }
    return rows
  } finally {
    cluster.end()
  }
}
