/** A cluster of real node processes on loopback, for tests and benchmarks: start, stop, kill, freeze, call, wait.
 *
 * Boundary: knows the command line and the HTTP interface, nothing of the inside. Every process it starts is in its
 * list and ended by its own id. */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdtemp, rm } from "node:fs/promises"
import * as Http from "node:http"
import * as Os from "node:os"
import * as Path from "node:path"
import { setTimeout as sleep } from "node:timers/promises"

const root = Path.resolve(import.meta.dirname, "../..")
export const entry = Path.join(root, "src/cli/main.ts")

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly body: string
}

export interface Run {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export class Node {
  readonly name: string
  readonly dataDir: string
  readonly process: ChildProcess
  readonly agent = new Http.Agent({ keepAlive: true, maxSockets: 64 })
  /** sent with every call */
  headers: Record<string, string> = {}
  http = ""
  gossip = ""
  stdout = ""
  stderr = ""
  exit: number | null | undefined = undefined

  constructor(name: string, dataDir: string, process: ChildProcess) {
    this.name = name
    this.dataDir = dataDir
    this.process = process
    process.stdout?.setEncoding("utf8").on("data", (text: string) => (this.stdout += text))
    process.stderr?.setEncoding("utf8").on(
      "data",
      (text: string) => (this.stderr = (this.stderr + text).slice(-200_000))
    )
    process.once("exit", (code, signal) => {
      this.exit = code ?? (signal === null ? null : -1)
      this.agent.destroy()
    })
  }

  get alive(): boolean {
    return this.exit === undefined
  }

  kill(signal: NodeJS.Signals): void {
    if (this.alive) this.process.kill(signal)
  }

  call(
    path: string,
    options: {
      readonly method?: string
      readonly body?: string | Uint8Array
      readonly headers?: Record<string, string>
      readonly timeoutMs?: number
    } = {}
  ): Promise<Answer> {
    const headers = { ...this.headers, ...options.headers }
    return request(`${this.http}${path}`, { ...options, headers, agent: this.agent })
  }

  async json<A>(path: string): Promise<A> {
    const answer = await this.call(path)
    if (answer.status !== 200) throw new Error(`${this.name}${path}: ${answer.status} ${answer.body}`)
    return JSON.parse(answer.body) as A
  }
}

export const request = (
  url: string,
  options: {
    readonly method?: string
    readonly body?: string | Uint8Array
    readonly headers?: Record<string, string>
    readonly agent?: Http.Agent
    readonly timeoutMs?: number
  } = {}
): Promise<Answer> =>
  new Promise((resolve, reject) => {
    const call = Http.request(url, {
      method: options.method ?? "GET",
      headers: options.headers ?? {},
      ...(options.agent === undefined ? {} : { agent: options.agent }),
      timeout: options.timeoutMs ?? 35_000
    }, (response) => {
      let body = ""
      response.setEncoding("utf8")
      response.on("data", (text: string) => (body += text))
      response.on("end", () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      response.on("error", reject)
    })
    call.on("timeout", () => call.destroy(new Error(`no answer from ${url} in time`)))
    call.on("error", reject)
    call.end(options.body)
  })

/** Runs the command line to its end. */
export const shoal = (
  args: ReadonlyArray<string>,
  options: { readonly env?: Record<string, string>; readonly timeoutMs?: number } = {}
): Promise<Run> =>
  new Promise((resolve) => {
    const child = spawn(process.execPath, [entry, ...args], {
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    const timer = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 30_000)
    child.once("close", (code) => {
      clearTimeout(timer)
      resolve({ code, stdout, stderr })
    })
  })

/** Polls until `check` gives a value; says what was last seen when it takes too long. */
export const waitUntil = async <A>(
  what: string,
  check: () => Promise<A | undefined | false>,
  withinMs = 15_000
): Promise<A> => {
  const end = performance.now() + withinMs
  let last: unknown
  while (performance.now() < end) {
    try {
      const value = await check()
      if (value !== undefined && value !== false) return value
      last = value
    } catch (error) {
      last = error
    }
    await sleep(20)
  }
  throw new Error(
    `${what}: not within ${withinMs} ms; last: ${last instanceof Error ? last.message : JSON.stringify(last)}`
  )
}

export interface Status {
  readonly self: string
  readonly reign: { readonly epoch: number; readonly master: string | null } | null
  readonly role: "master" | "replica" | "worker"
  readonly replicas: ReadonlyArray<string>
  readonly members: { readonly alive: number; readonly suspect: number; readonly dead: number; readonly left: number }
  readonly functions: number
  readonly routes: number
}

export interface StartOptions {
  readonly args?: ReadonlyArray<string>
  /** Where all nodes listen; default 127.0.0.1. */
  readonly host?: string
  readonly env?: Readonly<Record<string, string>>
  /** Sent with every call. */
  readonly headers?: Record<string, string>
  /** For Node itself, as `--cpu-prof`. */
  readonly execArgv?: ReadonlyArray<string>
  /** A place of its own for a node: the address it listens on and the command that runs another there. */
  readonly placeOf?: (name: string) => { readonly host: string; readonly command: readonly [string, ...Array<string>] }
}

export class LocalCluster {
  readonly nodes: Array<Node> = []
  readonly folder: string
  private readonly options: StartOptions

  private constructor(folder: string, options: StartOptions) {
    this.folder = folder
    this.options = options
  }

  /** Starts `size` nodes n1...; the first is the seed of the others. Ready when all see all and one master. */
  static async start(size: number, options: StartOptions = {}): Promise<LocalCluster> {
    const folder = await mkdtemp(Path.join(Os.tmpdir(), "shoal-test-"))
    const cluster = new LocalCluster(folder, options)
    try {
      await cluster.add("n1")
      await Promise.all(Array.from({ length: size - 1 }, (_, i) => cluster.add(`n${i + 2}`)))
      await cluster.settled(size)
      return cluster
    } catch (error) {
      await cluster.stop()
      throw error
    }
  }

  /** Starts one more node (or a stopped one again, on its folder). */
  async add(
    name: string,
    options: {
      readonly join?: ReadonlyArray<string>
      readonly bind?: string
      readonly host?: string
      readonly args?: ReadonlyArray<string>
      readonly env?: Readonly<Record<string, string>>
    } = {}
  ): Promise<Node> {
    const { args: extra = [], env, execArgv = [], headers = {}, placeOf } = this.options
    const place = placeOf?.(name)
    const host = options.host ?? place?.host ?? this.options.host ?? "127.0.0.1"
    const dataDir = Path.join(this.folder, name)
    const join = options.join ?? this.alive.slice(0, 2).map((node) => node.gossip)
    const args = [
      "up",
      "--json",
      "--name",
      name,
      "--bind",
      options.bind ?? `${host}:0`,
      "--http",
      `${host}:0`,
      "--rpc",
      `${host}:0`,
      "--data",
      `${host}:0`,
      "--data-dir",
      dataDir
    ]
    for (const seed of join) args.push("--join", seed)
    const whole = [process.execPath, ...execArgv, entry, ...args, ...extra, ...options.args ?? []]
    const [command, ...rest] = place === undefined ? whole : [...place.command, ...whole]
    const child = spawn(command ?? process.execPath, rest, {
      env: { ...process.env, ...env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    const node = new Node(name, dataDir, child)
    node.headers = headers
    this.nodes.push(node)
    await waitUntil(`${name} ready`, async () => {
      if (!node.alive) throw new Error(`${name} exited with ${node.exit}: ${node.stderr}`)
      for (const line of node.stdout.split("\n")) {
        if (!line.startsWith("{")) continue
        const said = JSON.parse(line) as { readonly event?: string; readonly http?: string; readonly gossip?: string }
        if (said.event !== "ready" || said.http === undefined || said.gossip === undefined) continue
        node.http = said.http.startsWith("http") ? said.http : `http://${said.http}`
        node.gossip = said.gossip
        return true
      }
      return false
    }, 20_000)
    return node
  }

  /** Starts a node that has ended again: same name, folder and gossip address. */
  again(node: Node): Promise<Node> {
    return this.add(node.name, { bind: node.gossip })
  }

  get alive(): Array<Node> {
    return this.nodes.filter((node) => node.alive)
  }

  node(name: string): Node {
    const node = this.alive.find((candidate) => candidate.name === name)
    if (node === undefined) throw new Error(`no living node ${name}`)
    return node
  }

  status(node: Node): Promise<Status> {
    return node.json<Status>("/system/status")
  }

  /** Waits until every living node sees `size` living members and all obey one master that is among them. */
  async settled(size: number, withinMs = 20_000): Promise<string> {
    return waitUntil("all see all and one master", async () => {
      const all = await Promise.all(this.alive.map((node) => this.status(node)))
      const masters = new Set(all.map((status) => status.reign?.master))
      const master = all[0]?.reign?.master
      if (masters.size !== 1 || master === undefined || master === null) return false
      if (!this.alive.some((node) => node.name === master)) return false
      if (all.some((status) => status.members.alive !== size)) return false
      return master
    }, withinMs)
  }

  /** Asks every node to leave, then ends what is left. */
  async stop(): Promise<void> {
    for (const node of this.alive) node.kill("SIGTERM")
    await Promise.race([
      Promise.all(this.nodes.map((node) => ended(node))),
      sleep(8000)
    ])
    for (const node of this.alive) node.kill("SIGKILL")
    await Promise.all(this.nodes.map((node) => ended(node)))
    await rm(this.folder, { recursive: true, force: true })
  }
}

export const ended = (node: Node): Promise<void> =>
  node.alive ? new Promise((resolve) => node.process.once("exit", () => resolve())) : Promise.resolve()
