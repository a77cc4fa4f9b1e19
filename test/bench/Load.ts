/** A closed-loop HTTP load from this process: a fixed number of calls in flight on kept connections. */
import * as Http from "node:http"

export interface Result {
  /** calls per second in each slice of the run */
  readonly rates: ReadonlyArray<number>
  /** milliseconds of each call */
  readonly latencies: ReadonlyArray<number>
  readonly failures: number
}

const once = (url: URL, agent: Http.Agent): Promise<number> =>
  new Promise((resolve) => {
    const call = Http.get(
      { host: url.hostname, port: url.port, path: url.pathname + url.search, agent },
      (response) => {
        response.resume()
        response.once("end", () => resolve(response.statusCode ?? 0))
        response.once("error", () => resolve(0))
      }
    )
    call.once("error", () => resolve(0))
  })

/** Calls the urls in turn for `millis`, after a tenth of it to warm up. */
export const load = async (
  urls: ReadonlyArray<string>,
  options: { readonly inFlight: number; readonly millis: number; readonly slices?: number }
): Promise<Result> => {
  const targets = urls.map((url) => new URL(url))
  const agent = new Http.Agent({ keepAlive: true, maxSockets: options.inFlight })
  const slices = options.slices ?? 10
  const warm = performance.now() + options.millis / 10
  const end = warm + options.millis
  const slice = options.millis / slices
  const counts = Array.from({ length: slices }, () => 0)
  const latencies: Array<number> = []
  let failures = 0
  let next = 0
  const worker = async (): Promise<void> => {
    while (performance.now() < end) {
      const target = targets[next++ % targets.length]
      if (target === undefined) return
      const started = performance.now()
      const status = await once(target, agent)
      const now = performance.now()
      if (status !== 200) failures++
      if (started < warm || now >= end) continue
      latencies.push(now - started)
      const index = Math.floor((now - warm) / slice)
      counts[index] = (counts[index] ?? 0) + 1
    }
  }
  await Promise.all(Array.from({ length: options.inFlight }, worker))
  agent.destroy()
  return { rates: counts.map((count) => count / slice * 1000), latencies, failures }
}
