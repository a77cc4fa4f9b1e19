/** The seeds of the control plane on all cores: one process per core, a small share at a time. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Os from "node:os"
import * as Path from "node:path"
import { text } from "node:stream/consumers"
import * as Sweep from "./Sweep.ts"

const share = 25

const child = async (from: number, seeds: number): Promise<Sweep.Summary> => {
  const process_ = spawn(process.execPath, [Path.join(import.meta.dirname, "ShareMain.ts"), `${from}`, `${seeds}`], {
    stdio: ["ignore", "pipe", "inherit"]
  })
  const [output, [code]] = await Promise.all([text(process_.stdout), once(process_, "close")])
  if (code !== 0) throw new Error(`the seeds from ${from} ended with ${code}`)
  return JSON.parse(output) as Sweep.Summary
}

export const run = async (
  { from, onFailure, seeds }: {
    readonly from: number
    readonly seeds: number
    readonly onFailure: (failure: Sweep.Summary["failures"][number]) => void
  }
): Promise<Sweep.Summary> => {
  let sum = Sweep.empty
  let next = from
  const end = from + seeds
  const worker = async (): Promise<void> => {
    while (next < end) {
      const begin = next
      next = Math.min(end, begin + share)
      const summary = await child(begin, next - begin)
      for (const failure of summary.failures) onFailure(failure)
      sum = Sweep.join(sum, summary)
    }
  }
  await Promise.all(Array.from({ length: Math.min(Os.availableParallelism(), 8) }, worker))
  return sum
}
