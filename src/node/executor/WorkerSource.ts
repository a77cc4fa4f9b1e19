/** How worker threads get their code: the built entry, or the TypeScript sources stripped once for all of them.
 *
 * Boundary: a thread that strips types itself takes twice as long to be ready, so the host does it once and hands the
 * texts over; a loader hook in the thread serves them under their own addresses. In the built package the entry is one
 * bundled file and nothing of this is used. */
import * as Fs from "node:fs"
import * as Module from "node:module"

export interface WorkerSource {
  /** The file of a thread, or with `sources` the program that serves them. */
  readonly entry: URL | string
  readonly sources: Readonly<Record<string, string>>
}

/** Runs first in a thread that was given sources. */
const boot = (entry: string): string => `
  const { workerData } = require("node:worker_threads")
  require("node:module").registerHooks({
    load: (url, context, next) => {
      const source = workerData.sources[url]
      return source === undefined ? next(url, context) : { format: "module", source, shortCircuit: true }
    }
  })
  import(${JSON.stringify(entry)})`

const imported = /^(?:import|export) (?!type\b).* from "(\.[^"]+\.ts)"$/gm

const collect = (url: URL, sources: Record<string, string>): void => {
  if (sources[url.href] !== undefined) return
  const text = Fs.readFileSync(url, "utf8")
  sources[url.href] = Module.stripTypeScriptTypes(text)
  for (const [, specifier = ""] of text.matchAll(imported)) collect(new URL(specifier, url), sources)
}

/** The code of the threads that begin with `entry`. */
export const load = (entry: URL): WorkerSource => {
  if (!entry.pathname.endsWith(".ts")) return { entry, sources: {} }
  const sources: Record<string, string> = {}
  collect(entry, sources)
  return { entry: boot(entry.href), sources }
}
