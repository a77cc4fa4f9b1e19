/** From `kill -9` of the master to the next write that a deploy is acknowledged for, N = 5. */
import { readFile } from "node:fs/promises"
import * as Path from "node:path"
import { ended, LocalCluster, type Node } from "../e2e/LocalCluster.ts"
import { type Row, row } from "./Row.ts"

const rounds = 20
const writerPauseMs = 2

/** Asks for a write again and again; the time at which one was acknowledged. */
const firstWrite = async (node: Node, bundle: string, name: string): Promise<number> => {
  const body = JSON.stringify({ service: name, bundle })
  while (true) {
    const answer = await node.call("/system/functions", {
      method: "POST",
      body,
      headers: { "content-type": "application/json" }
    })
    if (answer.status === 200) return performance.now()
    await new Promise((resolve) => setTimeout(resolve, writerPauseMs))
  }
}

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  const cluster = await LocalCluster.start(5)
  const source = await readFile(Path.resolve(import.meta.dirname, "../e2e/functions/hello.ts"))
  const bundle = Buffer.from(source.toString().replace(/: (Request|Response)/g, "")).toString("base64")
  try {
    const samples: Array<number> = []
    const idle: Array<number> = []
    for (let round = 0; round < rounds; round++) {
      const master = cluster.node(await cluster.settled(5, 60_000))
      const writer = cluster.alive.find((node) => node !== master)
      if (writer === undefined) throw new Error("no node to write through")
      const calm = performance.now()
      idle.push(await firstWrite(writer, bundle, `calm${round}`) - calm)
      const killed = performance.now()
      master.kill("SIGKILL")
      samples.push(await firstWrite(writer, bundle, `f${round}`) - killed)
      progress(`round ${round + 1} of ${rounds}: ${samples.at(-1)?.toFixed(0)} ms`)
      await ended(master)
      await cluster.add(master.name)
    }
    const calm = row("failover.calm-write", "ms", idle)
    return [calm, row("failover.kill-master-to-write", "ms", samples, { name: calm.name, p50: calm.p50 })]
  } finally {
    await cluster.stop()
  }
}
