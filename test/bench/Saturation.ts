/** The control plane while the data plane is saturated: calls without a pause through every gateway, and a function in
 * an endless loop for every core, N = 5. How late gossip's acknowledgements come, and whether anybody is suspected or the
 * reign changes. One minute; `--runs N` takes N minutes.
 *
 * Times are those of the nodes' own histograms: each sample counts as the upper bound of its bucket. The control is the
 * same cluster at rest. */
import * as Os from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { LocalCluster, type Node } from "../e2e/LocalCluster.ts"
import { load } from "./Load.ts"
import { type Row, row } from "./Row.ts"

const restSeconds = 20
const inFlight = 64
const code = {
  hello: "export default () => new Response('ok')",
  spin: "export default () => { while (true) {} }"
}

interface Reading {
  /** how many acknowledgements came within how many milliseconds, beyond the next smaller bound */
  readonly acks: ReadonlyMap<number, number>
  readonly suspicions: number
  readonly reigns: number
}

const series = /^(\w+)(?:\{([^}]*)\})? (\S+)$/gm

const read = async (nodes: ReadonlyArray<Node>): Promise<Reading> => {
  const acks = new Map<number, number>()
  let suspicions = 0
  let reigns = 0
  for (const node of nodes) {
    const { body, status } = await node.call("/metrics")
    if (status !== 200) throw new Error(`the metrics of ${node.name}: ${status}`)
    let below = 0
    for (const [, name, labels = "", value = ""] of body.matchAll(series)) {
      if (name === "shoal_suspicions_total") suspicions += Number(value)
      if (name === "shoal_cluster_reign_changes_total") reigns += Number(value)
      if (name !== "shoal_probe_rtt_milliseconds_bucket") continue
      const bound = Number(/le="([^"]+)"/.exec(labels)?.[1]?.replace("+Inf", "Infinity"))
      acks.set(bound, (acks.get(bound) ?? 0) + Number(value) - below)
      below = Number(value)
    }
  }
  return { acks, suspicions, reigns }
}

const between = (before: Reading, after: Reading): Array<number> =>
  [...after.acks].flatMap(([bound, count]) =>
    Array.from({ length: count - (before.acks.get(bound) ?? 0) }, () => bound)
  )

/** Keeps a call to the endless loop under way until told otherwise. */
const spin = (node: Node) => {
  let stopped = false
  const running = (async () => {
    while (!stopped) await node.call("/function/spin").catch(() => sleep(100))
  })()
  return () => {
    stopped = true
    return running
  }
}

export const run = async (
  progress: (line: string) => void,
  options: { readonly runs?: number }
): Promise<ReadonlyArray<Row>> => {
  const cluster = await LocalCluster.start(5)
  try {
    for (const [service, text] of Object.entries(code)) {
      const body = JSON.stringify({
        service,
        bundle: Buffer.from(text).toString("base64"),
        limits: { timeoutMs: 5000 }
      })
      const headers = { "content-type": "application/json" }
      const { status } = await cluster.node("n1").call("/system/functions", { method: "POST", body, headers })
      if (status !== 200) throw new Error(`deploying ${service}: ${status}`)
    }
    const nodes = cluster.alive
    for (const node of nodes) await node.call("/function/hello")
    const first = await read(nodes)
    await sleep(restSeconds * 1000)
    const rested = await read(nodes)
    progress(`at rest for ${restSeconds} s`)
    const stops = nodes.slice(0, Os.cpus().length).map(spin)
    const rates: Array<number> = []
    let failures = 0
    const urls = nodes.map(({ http }) => `${http}/function/hello`)
    for (let minute = 0; minute < (options.runs ?? 1); minute++) {
      const result = await load(urls, { inFlight, millis: 54_000 }) // and a tenth to warm up
      rates.push(...result.rates)
      failures += result.failures
      const now = await read(nodes)
      progress(
        `minute ${minute + 1}: ${result.failures} of ${result.latencies.length} calls failed, suspicions ${
          now.suspicions - rested.suspicions
        }, reign changes ${now.reigns - rested.reigns}`
      )
    }
    const end = await read(nodes)
    await Promise.all(stops.map((stop) => stop()))
    const rest = row("saturation.acknowledgement-at-rest", "ms", between(first, rested))
    return [
      rest,
      row("saturation.acknowledgement", "ms", between(rested, end), { name: rest.name, p50: rest.p50 }),
      row("saturation.calls", "1/s", rates),
      row("saturation.calls-failed", "count", [failures]),
      row("saturation.suspicions", "count", [end.suspicions - rested.suspicions]),
      row("saturation.reign-changes", "count", [end.reigns - rested.reigns])
    ]
  } finally {
    await cluster.stop()
  }
}
