/** Finds where a bundle does not parse.
 *
 * Boundary: an import tells only that there is a syntax error, not where; Node's own check in a process of its own tells
 * the line. Used only after an import has failed, so its cost does not matter. */
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import process from "node:process"

const MaxOutput = 4096
const TimeoutMs = 5000

/** `file:line`, the line and the error, or undefined when the check finds nothing. */
export const find = (bundlePath: string): Promise<string | undefined> => {
  const { promise, resolve } = Promise.withResolvers<string | undefined>()
  const child = spawn(process.execPath, ["--input-type=module", "--check", "-"], {
    stdio: ["pipe", "ignore", "pipe"],
    env: {},
    timeout: TimeoutMs
  })
  let output = ""
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    if (output.length < MaxOutput) output += text
  })
  child.stdin.on("error", () => {})
  child.on("error", () => resolve(undefined))
  child.on("close", () => {
    const [report = ""] = output.slice(0, MaxOutput).split(/\n {4}at /)
    resolve(report.startsWith("[stdin]") ? report.replace("[stdin]", Path.basename(bundlePath)) : undefined)
  })
  Fs.createReadStream(bundlePath).on("error", () => child.stdin.end()).pipe(child.stdin)
  return promise
}
