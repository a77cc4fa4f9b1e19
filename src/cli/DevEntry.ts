/** The program file that `shoal dev` starts its nodes from.
 *
 * Run from sources, every node would strip the types of a hundred files and load hundreds of modules of Effect. So the
 * entry is bundled once for all of them and kept under `node_modules/.cache/shoal`, under a name made of the sizes and times
 * of the files it comes from. A file of the bundle still finds what lies beside its source, for what it takes for its own
 * address stays that of the source.
 * Boundary: a shortcut, nothing else. When anything about it fails the nodes start from the sources, only slower. */
import * as Effect from "effect/Effect"
import { createHash } from "node:crypto"
import * as fs from "node:fs/promises"
import * as path from "node:path"
import { pathToFileURL } from "node:url"

/** Bundles of other states of the sources that are kept, for the processes that still load from them. */
const keptBundles = 3

/** The bundle of `entry`, or `entry` itself when it is JavaScript already or cannot be bundled. */
export const prepare = (entry: string): Effect.Effect<string> => {
  if (!entry.endsWith(".ts")) return Effect.succeed(entry)
  return Effect.gen(function*() {
    const root = yield* packageRoot(path.dirname(entry))
    const cache = path.join(root, "node_modules", ".cache", "shoal")
    const folder = path.join(cache, yield* stateOf(root, entry))
    const bundled = path.join(folder, "main.mjs")
    if (yield* exists(bundled)) return bundled
    yield* attempt(() => fs.mkdir(cache, { recursive: true }))
    yield* forgetOld(cache)
    const building = yield* attempt(() => fs.mkdtemp(path.join(cache, "building-")))
    yield* Effect.onError(build(entry, building), () => remove(building))
    // Another `shoal dev` may have been faster; both have built the same.
    yield* Effect.catch(attempt(() => fs.rename(building, folder)), () => remove(building))
    return (yield* exists(bundled)) ? bundled : entry
  }).pipe(Effect.orElseSucceed(() => entry))
}

class NotBundled {
  readonly _tag = "NotBundled"
}

const attempt = <A>(run: () => Promise<A>): Effect.Effect<A, NotBundled> =>
  Effect.tryPromise({ try: run, catch: () => new NotBundled() })

const exists = (file: string): Effect.Effect<boolean> =>
  Effect.match(attempt(() => fs.access(file)), { onFailure: () => false, onSuccess: () => true })

const remove = (folder: string) => Effect.ignore(attempt(() => fs.rm(folder, { recursive: true, force: true })))

const packageRoot = (folder: string): Effect.Effect<string, NotBundled> =>
  Effect.flatMap(exists(path.join(folder, "package.json")), (found) => {
    if (found) return Effect.succeed(folder)
    const parent = path.dirname(folder)
    return parent === folder ? Effect.fail(new NotBundled()) : packageRoot(parent)
  })

/** A digest of what the bundle depends on: our sources, what lies beside the entry, and the lockfile. */
const stateOf = (root: string, entry: string): Effect.Effect<string, NotBundled> =>
  Effect.gen(function*() {
    const folders = [path.join(root, "src"), path.dirname(entry)]
    const lists = yield* Effect.forEach(
      folders,
      (folder) =>
        Effect.map(
          attempt(() => fs.readdir(folder, { recursive: true })),
          (names) => names.filter((name) => name.endsWith(".ts")).map((name) => path.join(folder, name))
        )
    )
    const files = [...new Set([...lists.flat(), path.join(root, "package-lock.json"), path.join(root, "package.json")])]
    const states = yield* Effect.forEach(files.sort(), (file) =>
      Effect.match(attempt(() => fs.stat(file)), {
        onFailure: () => `${file} -`,
        onSuccess: ({ mtimeMs, size }) => `${file} ${mtimeMs} ${size}`
      }), { concurrency: 16 })
    const hash = createHash("sha256").update(process.version).update(states.join("\n"))
    return hash.digest("hex").slice(0, 16)
  })

const forgetOld = (cache: string): Effect.Effect<void, NotBundled> =>
  Effect.gen(function*() {
    const names = yield* attempt(() => fs.readdir(cache))
    const dated = yield* Effect.forEach(names, (name) =>
      Effect.match(attempt(() => fs.stat(path.join(cache, name))), {
        onFailure: () => ({ name, mtimeMs: 0 }),
        onSuccess: ({ mtimeMs }) => ({ name, mtimeMs })
      }))
    const old = dated.sort((a, b) => b.mtimeMs - a.mtimeMs).slice(keptBundles)
    yield* Effect.forEach(old, ({ name }) => remove(path.join(cache, name)), { discard: true })
  })

const build = (entry: string, dir: string): Effect.Effect<void, NotBundled> =>
  Effect.gen(function*() {
    const { rolldown } = yield* attempt(() => import("rolldown"))
    const bundle = yield* attempt(() =>
      rolldown({
        input: entry,
        platform: "node",
        external: /^rolldown(\/|$)/,
        plugins: [sourceAddresses],
        logLevel: "silent"
      })
    )
    yield* attempt(() =>
      bundle.write({ dir, format: "esm", entryFileNames: "main.mjs", chunkFileNames: "[name]-[hash].mjs" })
    ).pipe(Effect.ensuring(Effect.ignore(attempt(() => bundle.close()))))
  })

/** Written in two parts, for this file is bundled as well. */
const address = "import.meta" + ".url"

/** Keeps the address of every source what it was before bundling. */
const sourceAddresses = {
  name: "source-addresses",
  transform: {
    filter: { code: address, id: /\.ts$/ },
    handler: (code: string, id: string) => ({
      code: code.replaceAll(address, JSON.stringify(pathToFileURL(id).href)),
      map: null
    })
  }
}
