/** From `kill -9` or `SIGSTOP` of the master to the next master, which takes registrations from then on, and to the next
 * deploy that is acknowledged, N = 10, while warm functions are called through the other nodes.
 *
 * The control is the same write with the master in place. The called functions are those that are not warm on the
 * master: none of their calls may fail or start anything. */
import { setTimeout as sleep } from "node:timers/promises"
import { ended, LocalCluster, type Node, waitUntil } from "../e2e/LocalCluster.ts"
import { type Row, row } from "./Row.ts"

const size = 10
const rounds = 100
const names = Array.from({ length: 10 }, (_, i) => `f${i}`)
const writerPauseMs = 2
const callPauseMs = 10

const bundle = Buffer.from("export default () => new Response('ok')").toString("base64")
const path = "/system/functions"

const write = (node: Node, service: string, value: string) =>
  node.call(path, {
    method: "POST",
    body: JSON.stringify({ service, bundle, env: { VALUE: value } }),
    headers: { "content-type": "application/json" }
  })

/** Asks for a write again and again; the time at which one was acknowledged. */
const firstWrite = async (node: Node, value: string): Promise<number> => {
  while ((await write(node, "written", value)).status !== 200) await sleep(writerPauseMs)
  return performance.now()
}

interface Listed {
  readonly name: string
  readonly warm: ReadonlyArray<string>
}

interface Calls {
  readonly took: Array<number>
  readonly wrong: Array<string>
}

/** Calls warm functions through the nodes in turn until stopped. */
const caller = (nodes: ReadonlyArray<Node>, services: ReadonlyArray<string>, calls: Calls) => {
  let stopped = false
  const running = (async () => {
    const open = new Set<Promise<void>>()
    for (let i = 0; !stopped; i++) {
      const node = nodes[i % nodes.length]
      const service = services[i % services.length]
      if (node === undefined || service === undefined) return
      const from = performance.now()
      const call = node.call(`/function/${service}`).then(({ body, headers, status }) => {
        calls.took.push(performance.now() - from)
        if (status === 200 && headers["x-shoal-start"] === "warm") return
        calls.wrong.push(`${service} through ${node.name}: ${status} ${String(headers["x-shoal-start"])} ${body}`)
      }).finally(() => open.delete(call))
      open.add(call)
      await sleep(callPauseMs)
    }
    await Promise.all(open)
  })()
  return () => {
    stopped = true
    return running
  }
}

/** When one of them became master, by its log, after `since`; milliseconds since the epoch. */
const becameMaster = (nodes: ReadonlyArray<Node>, since: number): Promise<number> =>
  waitUntil("the next master says so", async () => {
    for (const { stderr } of nodes) {
      for (const [, text = ""] of stderr.matchAll(/timestamp=(\S+)[^\n]*message="became master"/g)) {
        const at = Date.parse(text)
        if (at >= since) return at
      }
    }
    return false
  })

const warmElsewhere = (cluster: LocalCluster, master: Node): Promise<Array<string>> =>
  waitUntil("functions warm on other nodes", async () => {
    const others = cluster.alive.filter((node) => node !== master)
    const [other] = others
    if (other === undefined) return false
    // a function starts where it is called first; then everybody gets to know where that is
    for (const [i, name] of names.entries()) await others[i % others.length]?.call(`/function/${name}`)
    for (const node of others) await Promise.all(names.map((name) => node.call(`/function/${name}`)))
    const listed = await other.json<ReadonlyArray<Listed>>(path)
    const found = listed.filter(({ name, warm }) =>
      names.includes(name) && warm.length > 0 && !warm.includes(master.name)
    )
    return found.length > 0 && found.map(({ name }) => name)
  })

export const run = async (
  progress: (line: string) => void,
  options: { readonly runs?: number; readonly part?: string }
): Promise<ReadonlyArray<Row>> => {
  const count = options.runs ?? rounds
  const signals = (["SIGKILL", "SIGSTOP"] as const).filter((name) =>
    options.part === undefined || options.part === name
  )
  const cluster = await LocalCluster.start(size)
  const rows: Array<Row> = []
  try {
    for (const name of names) await write(cluster.node("n1"), name, "")
    for (const signal of signals) {
      const reigns: Array<number> = []
      const samples: Array<number> = []
      const idle: Array<number> = []
      const calls: Calls = { took: [], wrong: [] }
      for (let round = 0; round < count; round++) {
        const master = cluster.node(await cluster.settled(size, 60_000))
        const others = cluster.alive.filter((node) => node !== master)
        const writer = others[round % others.length]
        if (writer === undefined) throw new Error("no node to write through")
        const stop = caller(others, await warmElsewhere(cluster, master), calls)
        const calm = performance.now()
        idle.push(await firstWrite(writer, `calm ${signal} ${round}`) - calm)
        await sleep(100)
        const at = Date.now()
        const from = performance.now()
        master.kill(signal)
        samples.push(await firstWrite(writer, `${signal} ${round}`) - from)
        await sleep(100)
        await stop()
        reigns.push(await becameMaster(others, at) - at)
        const wrong = calls.wrong.length
        progress(`${signal} ${round + 1} of ${count}: ${samples.at(-1)?.toFixed(0)} ms, wrong calls so far: ${wrong}`)
        if (signal === "SIGSTOP") master.kill("SIGCONT")
        else {
          await ended(master)
          await cluster.again(master)
        }
      }
      for (const line of calls.wrong.slice(0, 10)) progress(line)
      const name = `failover.${signal.toLowerCase()}`
      const calm = row(`${name}.calm-deploy`, "ms", idle)
      rows.push(
        calm,
        row(`${name}.next-master`, "ms", reigns),
        row(`${name}.first-deploy`, "ms", samples, { name: calm.name, p50: calm.p50 }),
        row(`${name}.warm-call`, "ms", calls.took),
        row(`${name}.calls-failed-or-not-warm`, "calls", [calls.wrong.length])
      )
    }
    return rows
  } finally {
    for (const node of cluster.alive) node.kill("SIGCONT")
    await cluster.stop()
  }
}
