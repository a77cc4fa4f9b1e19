/** The membership simulator: member-seconds of virtual time per second of processor time, idle and while a member's
 * crash is found out, and the memory of many members in one process. The control is the same run without the network:
 * machines that are only woken. */
import * as Result from "effect/Result"
import process from "node:process"
import * as Plan from "../../src/testing/simulator/Plan.ts"
import * as Scenarios from "../../src/testing/simulator/Scenarios.ts"
import { Simulation } from "../../src/testing/simulator/Simulation.ts"
import * as Trial from "../../src/testing/simulator/Trial.ts"
import { median, type Row, row } from "./Row.ts"

const rounds = 5

const plan = (nodes: number, loss: number): Plan.Plan => {
  const scenario = Scenarios.find("steady")
  if (scenario === undefined) throw new Error("no scenario is called steady")
  return scenario.plan({ seed: 1, nodes, network: { loss } })
}

/** Processor time of this process in ms: other work on the machine does not count. */
const cpu = (): number => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1000
}

const make = (nodes: number, loss: number): Simulation => {
  const made = plan(nodes, loss)
  return new Simulation({ plan: made, params: Result.getOrThrow(Plan.params(made)) })
}

/** Member-seconds per second of a calm cluster, slice by slice. */
const idle = (nodes: number, seconds: number, loss: number): Array<number> => {
  const sim = make(nodes, loss)
  sim.run(2000)
  return Array.from({ length: rounds }, () => {
    const began = cpu()
    sim.run(sim.now + seconds * 1000)
    return nodes * seconds / ((cpu() - began) / 1000)
  })
}

const crash = (nodes: number, check: boolean): Array<number> =>
  Array.from({ length: rounds }, (_, i) => {
    const scenario = Scenarios.find("crash")
    if (scenario === undefined) throw new Error("no scenario is called crash")
    const began = cpu()
    const { memberHours } = Trial.run({ plan: scenario.plan({ seed: 1 + i, nodes }), check })
    return memberHours * 3600 / ((cpu() - began) / 1000)
  })

const memory = (nodes: number): number => {
  const before = process.memoryUsage().rss
  const sim = make(nodes, 0)
  sim.run(1000)
  return (process.memoryUsage().rss - before) / (nodes * nodes)
}

export const run = async (progress: (line: string) => void): Promise<ReadonlyArray<Row>> => {
  // First, before anything else has left memory to use again.
  progress("memory, N = 4000")
  const rows: Array<Row> = [row("simulator.memory.entry", "B", [memory(4000)])]
  const unit = "member-s/s"
  progress("calm, N = 100")
  const small = idle(100, 60, 0)
  const control = { name: "100 members, calm", p50: median(small) }
  rows.push(row("simulator.calm.100", unit, small))
  for (const [nodes, seconds] of [[1000, 20], [10_000, 3]] as const) {
    progress(`calm, N = ${nodes}`)
    const rates = idle(nodes, seconds, 0)
    rows.push(row(`simulator.calm.${nodes}`, unit, rates, control))
    rows.push(row(`simulator.calm.${nodes}.realtime`, "x/s", rates.map((rate) => rate / nodes)))
  }
  progress("a fifth of all datagrams lost, N = 100")
  rows.push(row("simulator.lossy.100", unit, idle(100, 60, 0.2), control))
  progress("a crash, N = 1000")
  rows.push(row("simulator.crash.1000", unit, crash(1000, false), control))
  rows.push(row("simulator.crash.1000.checked", unit, crash(1000, true), control))
  return rows
}
