/** The keys of a cluster as they are given on the command line: as text, in a variable, or in a file.
 *
 * Boundary: reads and judges; a key that is wrong is never repeated. A key among the arguments of a process can be seen by
 * everybody on the machine, which is why there are a variable and a file. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { readFile } from "node:fs/promises"
import * as ClusterKey from "../membership/ClusterKey.ts"
import type { FlagText } from "./Cli.ts"
import { CommandError, UsageError } from "./Failure.ts"

export const key: FlagText = {
  flag: "key",
  metavar: "BASE64",
  description: "Key of the cluster; other users of this machine can see it, unlike the variable or a file",
  env: "SHOAL_KEY"
}

export const keyFile: FlagText = {
  flag: "key-file",
  metavar: "FILE",
  description: "File with the key of the cluster; several, one per line: the first is used",
  env: "SHOAL_KEY_FILE"
}

export interface Flags {
  readonly key: string | undefined
  readonly keyFile: string | undefined
}

/** Far above any list of keys. */
const maxFileBytes = 16_384

/** All keys given, the one to use first. `file`: settings of a configuration file, by the names of flags. */
export const read = Effect.fn("KeyOption.read")(function*(
  flags: Flags,
  env: Readonly<Record<string, string | undefined>>,
  file: Readonly<Record<string, unknown>> = {}
): Effect.fn.Return<ReadonlyArray<ClusterKey.Secret>, UsageError | CommandError> {
  const texts: Array<{ readonly text: string; readonly from: string }> = []
  const given = first(flags.key, env["SHOAL_KEY"], file["key"], "key", "SHOAL_KEY")
  if (given !== undefined) texts.push(given)
  const path = first(flags.keyFile, env["SHOAL_KEY_FILE"], file["key-file"], "key-file", "SHOAL_KEY_FILE")
  if (path !== undefined) {
    for (const line of (yield* readText(path.text)).split("\n")) {
      if (line.trim() !== "") texts.push({ text: line, from: path.text })
    }
  }
  const keys: Array<ClusterKey.Secret> = []
  for (const { from, text } of texts) {
    const parsed = ClusterKey.parse(text)
    if (Result.isFailure(parsed)) return yield* new UsageError({ message: `${from}: ${parsed.failure}` })
    keys.push(parsed.success)
  }
  return keys
})

const first = (
  flag: string | undefined,
  variable: string | undefined,
  setting: unknown,
  name: string,
  env: string
): { readonly text: string; readonly from: string } | undefined => {
  if (flag !== undefined) return { text: flag, from: `--${name}` }
  if (variable !== undefined && variable !== "") return { text: variable, from: env }
  return typeof setting === "string" ? { text: setting, from: name } : undefined
}

export const readText = (path: string): Effect.Effect<string, CommandError> =>
  Effect.tryPromise({
    try: () =>
      readFile(path, "utf8").then((text) => {
        if (text.length > maxFileBytes) throw new RangeError("too long")
        return text
      }),
    catch: () => new CommandError({ message: `the key file ${path} does not exist or cannot be read` })
  })
