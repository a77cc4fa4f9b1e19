/** From a function's source to the one file that is deployed.
 *
 * Job: a `.ts` or `.js` file, or a folder with one of them as its entry, becomes one ESM file for Node with everything
 * it imports inside, except Node's own modules. Nothing is installed and no script of a package runs. The same sources
 * give the same bytes, wherever they lie.
 * Boundary: the code is not run; what its default export does is found out at its start. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Fs from "node:fs/promises"
import { isBuiltin } from "node:module"
import * as Path from "node:path"
import process from "node:process"
import { stripVTControlCharacters } from "node:util"
import type * as Rolldown from "rolldown"

/** One thing that is wrong, and where; line and column count from 1, 0 when the place is not known. */
export const Problem = Schema.Struct({
  file: Schema.String,
  line: Schema.Finite,
  column: Schema.Finite,
  message: Schema.String
})
export type Problem = typeof Problem.Type

/** The source does not make a function. Fault: the source. State: unchanged. Retry: after it is changed. */
export class BundleError extends Schema.TaggedError<BundleError>()("BundleError", {
  problems: Schema.Array(Problem)
}) {
  override get message(): string {
    return this.problems.map((problem) =>
      problem.line === 0
        ? `${problem.file} ${problem.message}`
        : `${problem.file}:${problem.line}:${problem.column} ${problem.message}`
    ).join("\n")
  }
}

export interface Bundled {
  /** the file the bundle starts from */
  readonly entry: string
  readonly code: Uint8Array
}

const maxProblems = 20
const entries = ["index.ts", "index.mts", "index.js", "index.mjs", "handler.ts", "handler.js"]
const sources = [".ts", ".mts", ".cts", ".js", ".mjs", ".cjs", ".tsx", ".jsx"]

/** The name a function gets from its path unless another is given: `examples/hello_world.ts` is `hello-world`. */
export const nameOf = (path: string): string => {
  const base = Path.basename(Path.resolve(path)).replace(/\.[^.]*$/, "")
  const named = /^(index|handler|main)$/.test(base) ? Path.basename(Path.dirname(Path.resolve(path))) : base
  return named.toLowerCase().replace(/[^a-z0-9]+/g, "-").slice(0, 63).replace(/^-+|-+$/g, "")
}

const failed = (file: string, message: string): BundleError =>
  new BundleError({ problems: [{ file, line: 0, column: 0, message }] })

/** The first line of a diagnostic, without its colours and its code. */
const plain = (message: string): string =>
  (stripVTControlCharacters(message).split("\n")[0] ?? "").replace(/^\[[A-Z_]+\]\s*/, "").replace(/ in \S+$/, "")

interface Diagnostic {
  readonly message: string
  readonly id?: string | undefined
  readonly loc?: { readonly line: number; readonly column: number; readonly file?: string | undefined } | undefined
}

/** Relative to where the user is, if the file is below. */
const shortest = (file: string): string => {
  const relative = Path.relative(process.cwd(), file)
  return relative.startsWith("..") ? file : relative
}

const fromDiagnostic = (entry: string, diagnostic: Diagnostic): Problem => ({
  file: shortest(diagnostic.loc?.file ?? diagnostic.id ?? entry),
  line: diagnostic.loc?.line ?? 0,
  column: diagnostic.loc === undefined ? 0 : diagnostic.loc.column + 1,
  message: plain(diagnostic.message)
})

const isDiagnostics = (cause: unknown): cause is { readonly errors: ReadonlyArray<Diagnostic> } =>
  typeof cause === "object" && cause !== null && "errors" in cause && Array.isArray(cause.errors)

/** The entry file of a path. */
const entryOf = async (path: string): Promise<string> => {
  const stat = await Fs.stat(path).catch(() => undefined)
  if (stat === undefined) throw failed(path, "does not exist or cannot be read")
  if (!stat.isDirectory()) {
    if (!sources.includes(Path.extname(path))) throw failed(path, `is not one of ${sources.join(", ")}`)
    return path
  }
  for (const name of [...await mainOf(path), ...entries]) {
    const file = Path.join(path, name)
    if (await Fs.stat(file).then((found) => found.isFile(), () => false)) return file
  }
  throw failed(path, `has none of ${entries.join(", ")} and no package.json that names its main file`)
}

/** What a folder's package.json names as its main file. */
const mainOf = async (folder: string): Promise<ReadonlyArray<string>> => {
  const text = await Fs.readFile(Path.join(folder, "package.json"), "utf8").catch(() => "{}")
  try {
    const manifest: unknown = JSON.parse(text)
    const main = typeof manifest === "object" && manifest !== null && "main" in manifest ? manifest.main : undefined
    return typeof main === "string" ? [main] : []
  } catch {
    throw failed(Path.join(folder, "package.json"), "is not JSON")
  }
}

const generate = async (entry: string): Promise<Rolldown.OutputChunk> => {
  const { rolldown } = await import("rolldown")
  const unresolved: Array<Diagnostic> = []
  const build = await rolldown({
    input: entry,
    cwd: Path.dirname(entry),
    platform: "node",
    external: isBuiltin,
    onLog: (_, log) => {
      if (log.code === "UNRESOLVED_IMPORT") unresolved.push(log)
    }
  })
  try {
    const { output } = await build.generate({ format: "esm", codeSplitting: false, sourcemap: false })
    const [chunk, ...others] = output
    if (others.length > 0) {
      throw failed(
        entry,
        `needs files beside the code: ${others.map((o) => o.fileName).join(", ")}`
      )
    }
    if (unresolved.length > 0) {
      throw new BundleError({ problems: unresolved.slice(0, maxProblems).map((log) => fromDiagnostic(entry, log)) })
    }
    const missing = [...chunk.imports, ...chunk.dynamicImports].filter((name) => !isBuiltin(name))
    if (missing.length > 0) throw failed(entry, `imports what is not there: ${missing.join(", ")}`)
    if (!chunk.exports.includes("default")) throw failed(entry, "has no default export: a function or { fetch }")
    return chunk
  } finally {
    await build.close()
  }
}

/** Bundles the file or folder at `path`. */
export const bundle = Effect.fn("Bundler.bundle")((path: string): Effect.Effect<Bundled, BundleError> =>
  Effect.tryPromise({
    try: async () => {
      const entry = await Fs.realpath(await entryOf(path))
      const chunk = await generate(entry)
      return { entry, code: new TextEncoder().encode(chunk.code) }
    },
    catch: (cause) => {
      if (Schema.is(BundleError)(cause)) return cause
      if (isDiagnostics(cause)) {
        return new BundleError({
          problems: cause.errors.slice(0, maxProblems).map((diagnostic) => fromDiagnostic(path, diagnostic))
        })
      }
      return failed(path, cause instanceof Error ? plain(cause.message) : String(cause))
    }
  })
)
