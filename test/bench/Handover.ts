/** How long a write waits because the master is handed over, N = 5: deploys one after the other through one node, and
 * registrations through another, while the master moves again and again; the control is the same without a handover.
 *
 * A write counts to a handover when it overlaps it. Refused writes are told apart: there must be none. */
import { LocalCluster, type Node } from "../e2e/LocalCluster.ts"
import { type Row, row } from "./Row.ts"

const allRounds = 200
const pauseMs = 1

const bundle = Buffer.from("export default () => new Response('ok')").toString("base64")

interface Write {
  readonly from: number
  readonly took: number
  readonly ok: boolean
}

const post = (node: Node, path: string, body: unknown) =>
  node.call(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json" }
  })

/** Writes to the catalog without end: the same few functions, each time with another variable. */
const writer = (node: Node) => {
  const writes: Array<Write> = []
  let stopped = false
  const running = (async () => {
    for (let i = 0; !stopped; i++) {
      const from = performance.now()
      const { status } = await post(node, "/system/functions", { service: `f${i % 8}`, bundle, env: { I: String(i) } })
      writes.push({ from, took: performance.now() - from, ok: status === 200 })
      await new Promise((resolve) => setTimeout(resolve, pauseMs))
    }
  })()
  return {
    writes,
    stop: async () => {
      stopped = true
      await running
    }
  }
}

const overlaps = ({ from, took }: Write, begin: number, end: number): boolean => from < end && from + took > begin

export const run = async (
  progress: (line: string) => void,
  options: { readonly runs?: number }
): Promise<ReadonlyArray<Row>> => {
  const rounds = options.runs ?? allRounds
  const cluster = await LocalCluster.start(5)
  try {
    let master = await cluster.settled(5)
    const entry = cluster.alive.find((node) => node.name !== master)
    if (entry === undefined) throw new Error("no node to write through")
    const targets = cluster.alive.filter((node) => node !== entry).map((node) => node.name)
    const { stop, writes } = writer(entry)
    const took: Array<number> = []
    const closed: Array<number> = []
    const during: Array<number> = []
    const calm: Array<number> = []
    let refused = 0
    let aborted = 0
    for (let round = 0; took.length < rounds && round < 2 * rounds; round++) {
      const quiet = performance.now()
      await new Promise((resolve) => setTimeout(resolve, 100))
      const to = targets.filter((name) => name !== master)[round % (targets.length - 1)] ?? ""
      const begin = performance.now()
      const answer = await post(entry, "/system/handover", { to })
      const end = performance.now()
      await new Promise((resolve) => setTimeout(resolve, 60))
      if (answer.status !== 200) {
        aborted++
        progress(answer.body)
        continue
      }
      master = to
      took.push(end - begin)
      closed.push((JSON.parse(answer.body) as { readonly closedMs: number }).closedMs)
      for (const write of writes.splice(0)) {
        if (!write.ok) refused++
        else if (overlaps(write, begin, end)) during.push(write.took)
        else if (write.from >= quiet && write.from + write.took <= begin) calm.push(write.took)
      }
      if (took.length % 20 === 0) {
        progress(`${took.length} of ${rounds} handovers, ${aborted} aborted, ${refused} refused`)
      }
    }
    await stop()
    const control = row("handover.calm-write", "ms", calm)
    const beside = { name: control.name, p50: control.p50 }
    const median = control.p50
    return [
      control,
      row("handover.whole", "ms", took, beside),
      row("handover.master-closed", "ms", closed, beside),
      row("handover.write-during", "ms", during, beside),
      row("handover.write-delayed-by", "ms", during.map((ms) => Math.max(0, ms - median)), beside),
      row("handover.writes-refused", "count", Array.from({ length: took.length }, () => refused / took.length), null),
      row("handover.aborted", "count", Array.from({ length: took.length }, () => aborted / took.length), null)
    ]
  } finally {
    await cluster.stop()
  }
}
