/** What a gateway counts, and its text for Prometheus.
 *
 * Boundary: plain numbers, written on the hot path without an allocation; the control plane's metrics come as text over
 * the link and are appended by whoever serves `/metrics`. Labels come from fixed sets only. */

const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** Values read when the text is made. */
export interface Gauges {
  readonly inflight: number
  readonly queued: number
  readonly instances: number
  readonly spares: number
  readonly routes: number
  readonly peers: number
}

export class GatewayMetrics {
  readonly #calls = new Map<string, number>()
  readonly #rejected = new Map<string, number>()
  readonly #buckets = new Float64Array(bounds.length + 1)
  #seconds = 0
  #count = 0
  forwarded = 0
  received = 0
  refused = 0
  retried = 0
  lookups = 0
  lookupsTimedOut = 0

  /** One finished call. `outcome` is `ok`, `aborted` or the reason of its error, `start` how its instance was. */
  call(outcome: string, start: string, seconds: number): void {
    const key = `outcome="${outcome}",start="${start}"`
    this.#calls.set(key, (this.#calls.get(key) ?? 0) + 1)
    let at = 0
    while (at < bounds.length && seconds > (bounds[at] ?? 0)) at++
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1
    this.#seconds += seconds
    this.#count++
  }

  /** Input of a peer or client that was refused; the connection it came on is closed. */
  reject(reason: string): void {
    if (this.#rejected.size >= 64 && !this.#rejected.has(reason)) return
    this.#rejected.set(reason, (this.#rejected.get(reason) ?? 0) + 1)
  }

  rejectedTotal(): number {
    let total = 0
    for (const count of this.#rejected.values()) total += count
    return total
  }

  callsTotal(): number {
    return this.#count
  }

  text(gauges: Gauges): string {
    const lines: Array<string> = []
    const head = (name: string, type: string, help: string) => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`)
    }
    const single = (name: string, type: string, help: string, value: number) => {
      head(name, type, help)
      lines.push(`${name} ${value}`)
    }
    head("shoal_gateway_calls_total", "counter", "Calls that ended here, by outcome and start of their instance")
    for (const [labels, count] of this.#calls) lines.push(`shoal_gateway_calls_total{${labels}} ${count}`)
    head("shoal_gateway_call_duration_seconds", "histogram", "From the arrival of a call to the end of its answer")
    let sum = 0
    bounds.forEach((bound, at) => {
      sum += this.#buckets[at] ?? 0
      lines.push(`shoal_gateway_call_duration_seconds_bucket{le="${bound}"} ${sum}`)
    })
    lines.push(
      `shoal_gateway_call_duration_seconds_bucket{le="+Inf"} ${this.#count}`,
      `shoal_gateway_call_duration_seconds_sum ${this.#seconds}`,
      `shoal_gateway_call_duration_seconds_count ${this.#count}`
    )
    head("shoal_gateway_rejected_total", "counter", "Frames, hellos and requests refused as broken, by reason")
    for (const [reason, count] of this.#rejected) {
      lines.push(`shoal_gateway_rejected_total{reason="${reason}"} ${count}`)
    }
    single("shoal_gateway_forwarded_total", "counter", "Calls sent to another node", this.forwarded)
    single("shoal_gateway_received_total", "counter", "Calls taken from another node", this.received)
    single("shoal_gateway_refused_total", "counter", "Calls of other nodes given back", this.refused)
    single("shoal_gateway_retried_total", "counter", "Calls placed again after a refusal or a loss", this.retried)
    single("shoal_gateway_lookups_total", "counter", "Questions where a version is warm", this.lookups)
    single("shoal_gateway_lookups_timed_out_total", "counter", "Those without an answer in time", this.lookupsTimedOut)
    single("shoal_gateway_inflight", "gauge", "Calls accepted and not answered", gauges.inflight)
    single("shoal_gateway_queued", "gauge", "Calls that wait for an instance", gauges.queued)
    single("shoal_gateway_instances", "gauge", "Function instances on this node", gauges.instances)
    single("shoal_gateway_spares", "gauge", "Pre-warmed workers waiting to become one", gauges.spares)
    single("shoal_gateway_routes", "gauge", "Versions in the route cache", gauges.routes)
    single("shoal_gateway_peers", "gauge", "Data connections to other nodes", gauges.peers)
    return `${lines.join("\n")}\n`
  }
}
