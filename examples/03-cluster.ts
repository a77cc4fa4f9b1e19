/** Five nodes of a cluster in one process, built from Layers, running a function deployed from code.
 *
 * Run: npx node examples/03-cluster.ts
 *
 * Expected output ("..." stands for what differs):
 *   5 nodes: n1 master, 2 replicas, 2 workers
 *   deployed greet
 *   n1 answers "hello from greet", ...
 *   n2 answers "hello from greet", ... warm
 *   n3 answers "hello from greet", ... warm
 *   n4 answers "hello from greet", ... warm
 *   n5 answers "hello from greet", ... warm
 *   everybody has left
 */
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Stream from "effect/Stream"
import { mkdtempSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { ClusterManager } from "../src/cluster/ClusterManager.ts"
import { Catalog } from "../src/functions/Catalog.ts"
import { formatAddress } from "../src/membership/Transport.ts"
import * as Node from "../src/node/Node.ts"
import type { NodeConfig } from "../src/node/NodeConfig.ts"

const folder = mkdtempSync(join(tmpdir(), "shoal-example-"))
const anyPort = { host: "127.0.0.1", port: 0 }

const config = (name: string, seeds: ReadonlyArray<string>): NodeConfig => ({
  name,
  bind: anyPort,
  http: anyPort,
  rpc: anyPort,
  data: anyPort,
  join: seeds,
  dataDir: join(folder, name),
  profile: "local",
  tags: {},
  release: "example",
  label: "example",
  spares: 1,
  lingerMs: 0
})

/** A program of its own provides `Node.layer(config)` once; five nodes in one process need a fresh layer each. */
const start = Effect.fn("start")(function*(name: string, seeds: ReadonlyArray<string>) {
  const context = yield* Layer.build(Layer.fresh(Node.layer(config(name, seeds))))
  return {
    name,
    node: Context.get(context, Node.Node),
    cluster: Context.get(context, ClusterManager),
    catalog: Context.get(context, Catalog)
  }
})

const greet = `export default () => new Response("hello from greet")`

const program = Effect.gen(function*() {
  const first = yield* start("n1", [])
  const seed = formatAddress(first.node.addresses.gossip)
  const others = yield* Effect.forEach(["n2", "n3", "n4", "n5"], (name) => start(name, [seed]), {
    concurrency: "unbounded"
  })
  const nodes = [first, ...others]

  for (const { cluster } of nodes) {
    yield* cluster.views.pipe(
      Stream.takeUntil(({ members, reign }) => members.length === 5 && reign !== undefined),
      Stream.runDrain
    )
  }
  const { members } = yield* first.cluster.view
  const count = (role: string) => members.filter((member) => member.role === role).length
  yield* Console.log(
    `${members.length} nodes: ${first.name} ${members.find(({ id }) => id === "n1")?.role}, ` +
      `${count("replica")} replicas, ${count("worker")} workers`
  )

  yield* first.catalog.deploy({ name: "greet", bundle: new TextEncoder().encode(greet) })
  yield* Console.log("deployed greet")

  for (const { name, node } of nodes) {
    const response = yield* HttpClient.get(`http://${formatAddress(node.addresses.http)}/function/greet`)
    const { "x-shoal-hops": hops, "x-shoal-start": began } = response.headers
    yield* Console.log(`${name} answers "${yield* response.text}", ${hops} hops, ${began}`)
  }

  yield* Effect.forEach(nodes, ({ node }) => node.leave, { concurrency: "unbounded" })
  yield* Console.log("everybody has left")
}).pipe(Effect.scoped, Effect.provide([FetchHttpClient.layer, Logger.layer([])]))

NodeRuntime.runMain(program)
