/** In-memory doubles below the gateway: a control plane at the other end of the link, and an executor whose instances
 * speak the real `Mux` to handlers given as functions. */
import type * as Executor from "../../../src/functions/Executor.ts"
import * as Link from "../../../src/functions/Link.ts"
import * as Manifest from "../../../src/functions/Manifest.ts"
import * as Mux from "../../../src/functions/Mux.ts"

const encoder = new TextEncoder()
const decoder = new TextDecoder()

export const bytesOf = (text: string): Uint8Array => encoder.encode(text)

/** What a fake handler works with: the head, and the worker's end of the stream. */
export type Handler = (head: Executor.CallHead, stream: Mux.MuxStream, instance: FakeInstance) => void

export const reply = (
  stream: Mux.MuxStream,
  body: string | Uint8Array,
  options: { readonly status?: number; readonly headers?: Array<[string, string]> } = {}
): void => {
  stream.head(bytesOf(JSON.stringify({ status: options.status ?? 200, headers: options.headers ?? [] })))
  if (body.length > 0) stream.write(typeof body === "string" ? bytesOf(body) : body)
  stream.end(bytesOf("{\"execMs\":1.5}"))
}

export class FakeInstance implements Executor.Instance {
  readonly id: string
  readonly version: string
  readonly start = "prewarmed"
  readonly initMs = 2
  readonly exited: Promise<Executor.ExitReason>
  stopped: string | undefined
  #exit: (reason: Executor.ExitReason) => void = () => {}
  #spinning = false
  /** What came, or was to go, while it spun. */
  #held: Array<() => void> = []
  readonly #client: Mux.Mux
  readonly #server: Mux.Mux

  constructor(spec: Executor.StartSpec, id: string, handler: Handler) {
    this.id = id
    this.version = spec.version
    this.exited = new Promise((done) => {
      this.#exit = done
    })
    const deliver = (to: () => Mux.Mux) => (chunks: ReadonlyArray<Uint8Array>) =>
      setImmediate(() => {
        const receive = () => chunks.forEach((chunk) => to().receive(chunk))
        if (this.#spinning) this.#held.push(receive)
        else receive()
      })
    this.#client = new Mux.Mux({
      role: "client",
      write: deliver(() => this.#server),
      onBroken: (reason) => this.end({ kind: "crashed", message: reason }),
      maxStreams: 4096
    })
    this.#server = new Mux.Mux({
      role: "server",
      write: deliver(() => this.#client),
      onBroken: (reason) => this.end({ kind: "crashed", message: reason }),
      maxStreams: 4096,
      onOpen: (stream, head) => handler(JSON.parse(decoder.decode(head)), stream, this)
    })
  }

  get inflight(): number {
    return this.#client.inflight
  }

  call(head: Executor.CallHead): Mux.MuxStream {
    const stream = this.#client.open(bytesOf(JSON.stringify(head)))
    if (stream === undefined) throw new Error("the fake has no more streams")
    return stream
  }

  get spinning(): boolean {
    return this.#spinning
  }

  /** Until it is set to false nothing is read or written. */
  set spinning(spins: boolean) {
    this.#spinning = spins
    if (!spins) { for (const receive of this.#held.splice(0)) receive() }
  }

  ping(): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>()
    void this.exited.then(() => resolve(false))
    if (!this.#client.ping(() => resolve(true))) resolve(false)
    return promise
  }

  stop(reason: string): Promise<void> {
    this.stopped = reason
    this.end({ kind: "stopped", message: reason })
    return Promise.resolve()
  }

  end(reason: Executor.ExitReason): void {
    this.#exit(reason)
    this.#client.closeAll(reason.kind, reason.message)
  }
}

export class FakeExecutor implements Executor.Executor {
  readonly spares = 1
  readonly started: Array<FakeInstance> = []
  /** Settles before an instance is ready. */
  gate: Promise<void> = Promise.resolve()
  failure: Executor.StartError | undefined
  readonly #name: string
  readonly #handler: Handler

  constructor(name: string, handler: Handler) {
    this.#name = name
    this.#handler = handler
  }

  async start(spec: Executor.StartSpec): Promise<Executor.Instance> {
    await this.gate
    if (this.failure !== undefined) throw this.failure
    const instance = new FakeInstance(spec, `${this.#name}-${this.started.length}`, this.#handler)
    this.started.push(instance)
    return instance
  }

  close(): Promise<void> {
    return Promise.resolve()
  }
}

export const manifestOf = (name: string, limits: Manifest.PartialLimits = {}): Link.Version => ({
  name: Manifest.FunctionName.make(name),
  version: Buffer.from(name.padEnd(32, ".")).toString("hex"),
  bundle: "b".repeat(64),
  size: 10,
  limits: { ...Manifest.defaults, ...limits },
  env: {},
  createdAt: 1
})

export const functionOf = (manifest: Link.Version): Link.Function => ({
  name: manifest.name,
  aliases: { live: manifest.version, canary: manifest.version },
  manifests: [manifest]
})

/** The cluster as fakes see it: one routing table and one table of leases for all nodes, both exact. */
export class FakeCluster {
  readonly routes = new Map<string, Map<string, number>>()
  readonly leases = new Map<string, string>()
  readonly members: Array<Link.Member> = []
  readonly ports: Array<Link.ControlPort> = []
  functions: Array<Link.Function> = []

  view(self: Link.Member): Link.ToGateway {
    return {
      _tag: "View",
      self: self.id,
      bootId: self.bootId,
      role: "worker",
      epoch: 1,
      members: this.members.map((member) => ({ ...member }))
    }
  }
}

export class FakeControl {
  readonly seen: Array<Link.ToControl> = []
  readonly port: Link.ControlPort
  readonly gateway: Link.GatewayPort
  readonly #cluster: FakeCluster
  readonly self: Link.Member
  /** Questions that get no answer. */
  readonly silent = new Set<string>()
  /** Functions that only `Resolve` knows. */
  readonly hidden: Array<Link.Version> = []

  constructor(cluster: FakeCluster, self: Link.Member) {
    const { control, gateway } = Link.pair()
    this.#cluster = cluster
    this.self = self
    this.port = control
    this.gateway = gateway
    control.onMessage((message) => {
      this.seen.push(message)
      if (!this.silent.has(message._tag)) setImmediate(() => this.#answer(message))
    })
  }

  count(tag: Link.ToControl["_tag"]): number {
    return this.seen.filter((message) => message._tag === tag).length
  }

  push(): void {
    this.port.post(this.#cluster.view(this.self))
    this.port.post({ _tag: "Catalog", functions: this.#cluster.functions })
  }

  #answer(message: Link.ToControl): void {
    const { routes, leases } = this.#cluster
    const { bootId, id } = this.self
    switch (message._tag) {
      case "Locate": {
        const nodes = [...routes.get(message.version) ?? []].map(([id, bootId]) => ({ id, bootId }))
        const holder = leases.get(message.version)
        if (nodes.length === 0 && holder === undefined) leases.set(message.version, id)
        const lease = nodes.length > 0 ? "none" : holder === undefined || holder === id ? "granted" : "wait"
        return this.port.post({ _tag: "Located", id: message.id, nodes, lease })
      }
      case "Resolve": {
        const manifest = this.hidden.find(({ name }) => name === message.name)
        return this.port.post({ _tag: "Resolved", id: message.id, manifest, unavailable: false })
      }
      case "Bundle":
        return this.port.post({ _tag: "Bundled", id: message.id, path: "/bundle.mjs", message: "" })
      case "Admin":
        return this.port.post({
          _tag: "AdminReply",
          id: message.id,
          status: 200,
          contentType: "application/json",
          body: bytesOf(JSON.stringify({ method: message.method, path: message.path, query: message.query }))
        })
      case "Started": {
        leases.delete(message.version)
        const nodes = routes.get(message.version) ?? new Map<string, number>()
        routes.set(message.version, nodes.set(id, bootId))
        return
      }
      case "Stopped":
        routes.get(message.version)?.delete(id)
        return
      case "LeaseEnd":
        leases.delete(message.version)
        return
      case "LeaseRenew":
      case "Drained":
        return
    }
  }
}
