/** Gateways on real loopback sockets over the fakes, and a client that shows everything of an answer. */
import * as Http from "node:http"
import * as Net from "node:net"
import type * as Link from "../../../src/functions/Link.ts"
import * as Gateway from "../../../src/node/gateway/Gateway.ts"
import * as Fakes from "./Fakes.ts"

export interface Node {
  readonly id: string
  readonly gateway: Gateway.Gateway
  readonly control: Fakes.FakeControl
  readonly executor: Fakes.FakeExecutor
  readonly port: number
  readonly dataPort: number
  readonly log: Array<Parameters<Gateway.Log>[0]>
  /** Cuts its data connections, as if its process had been killed. */
  readonly kill: () => void
}

export interface Nodes extends AsyncDisposable {
  readonly cluster: Fakes.FakeCluster
  readonly nodes: ReadonlyArray<Node>
  readonly first: Node
  readonly second: Node
  /** Sends view and catalog to all. */
  readonly push: () => void
}

/** A way to a port that can be cut. */
const relay = (port: number): Promise<{ readonly port: number; readonly cut: () => void }> =>
  new Promise((done) => {
    const sockets = new Set<Net.Socket>()
    const server = Net.createServer((near) => {
      const far = Net.connect(port, "127.0.0.1")
      for (const socket of [near, far]) {
        sockets.add(socket)
        socket.on("error", () => {})
        socket.on("close", () => [near, far].forEach((each) => each.destroy()))
      }
      near.pipe(far)
      far.pipe(near)
    })
    server.unref()
    const cut = () => {
      server.close()
      for (const socket of sockets) socket.destroy()
    }
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      done({ port: typeof address === "object" && address !== null ? address.port : 0, cut })
    })
  })

const loopback = { host: "127.0.0.1", port: 0 }

const addNode = async (
  cluster: Fakes.FakeCluster,
  options: { readonly id: string; readonly bootId: number; readonly handler: Fakes.Handler; readonly tuning: Tuning }
): Promise<Node> => {
  const { bootId, handler, id, tuning } = options
  const executor = new Fakes.FakeExecutor(id, handler)
  const log: Node["log"] = []
  const member: Link.Member = { id, bootId, status: "alive", data: undefined }
  const control = new Fakes.FakeControl(cluster, member)
  const gateway = await Gateway.makeGateway({
    http: loopback,
    data: loopback,
    self: { id, bootId, label: "test" },
    executor,
    link: control.gateway,
    log: (line) => log.push(line),
    tuning
  })
  const way = await relay(gateway.addresses.data.port)
  cluster.members.push({ ...member, data: `127.0.0.1:${way.port}` })
  const { data, http } = gateway.addresses
  return { id, gateway, control, executor, port: http.port, dataPort: data.port, log, kill: way.cut }
}

type Tuning = Partial<Gateway.Tuning>

/** Look-ups may take longer than a busy test machine pauses, unless a test is about that. */
const patient: Tuning = { locateMs: 5000, doubtMs: 5000 }

export const start = async (options: {
  readonly handler: Fakes.Handler
  readonly functions: ReadonlyArray<Link.Version>
  readonly count?: number
  readonly tuning?: Tuning
}): Promise<Nodes> => {
  const cluster = new Fakes.FakeCluster()
  cluster.functions = options.functions.map(Fakes.functionOf)
  const nodes: Array<Node> = []
  for (let at = 0; at < (options.count ?? 1); at++) {
    const tuning = { ...patient, ...options.tuning }
    const id = `n${at + 1}`
    nodes.push(await addNode(cluster, { id, bootId: at + 1, handler: options.handler, tuning }))
  }
  const push = () => nodes.forEach((node) => node.control.push())
  push()
  const [first, second = first] = nodes
  if (first === undefined || second === undefined) throw new Error("a cluster has a node")
  return {
    cluster,
    nodes,
    first,
    second,
    push,
    [Symbol.asyncDispose]: async () => {
      await Promise.all(nodes.map((node) => node.gateway.close()))
      nodes.forEach((node) => node.kill())
    }
  }
}

export interface Answer {
  readonly status: number
  readonly headers: Http.IncomingHttpHeaders
  readonly text: string
  /** It ended before it was complete. */
  readonly cut: boolean
}

export interface Asking {
  readonly method?: string
  readonly headers?: Http.OutgoingHttpHeaders
  readonly body?: string | Uint8Array
  /** Gets the request before its body is sent. */
  readonly onRequest?: (request: Http.ClientRequest) => void
  readonly agent?: Http.Agent
}

/** Opens a request; the caller reads the response. */
export const open = (node: Node, path: string, asking: Asking = {}): Promise<Http.IncomingMessage> =>
  new Promise((done, failed) => {
    const { agent = false, body, headers = {}, method = "GET", onRequest } = asking
    const request = Http.request({ host: "127.0.0.1", port: node.port, path, method, headers, agent }, done)
    request.on("error", failed)
    onRequest?.(request)
    if (onRequest === undefined) request.end(body)
  })

export const read = (response: Http.IncomingMessage): Promise<Answer> =>
  new Promise((done) => {
    const chunks: Array<Buffer> = []
    const finish = (cut: boolean) => () =>
      done({
        status: response.statusCode ?? 0,
        headers: response.headers,
        text: Buffer.concat(chunks).toString(),
        cut
      })
    response.on("data", (chunk: Buffer) => chunks.push(chunk))
    response.on("end", finish(false))
    response.on("aborted", finish(true))
    response.on("error", finish(true))
  })

export const call = async (node: Node, path: string, asking?: Asking): Promise<Answer> =>
  read(await open(node, path, asking))

export const errorOf = (answer: Answer): { readonly [field: string]: unknown } => JSON.parse(answer.text)

/** Turns the event loop until it holds. The test's own time limit ends it. */
export const until = async (holds: () => boolean): Promise<void> => {
  while (!holds()) await new Promise((done) => setImmediate(done))
}
