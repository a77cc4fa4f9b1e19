/** Builds the package to publish into `dist`: `node test/tools/build.ts`.
 *
 * The library keeps one file per module, as in `src`, and imports its dependencies. The command and the executor
 * entries are bundled with theirs, because they start often and have to start fast. The generated manifest leaves out
 * what only development needs, the Node from npm among it. publint judges the result. */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { isBuiltin } from "node:module"
import * as Path from "node:path"
import process from "node:process"
import { publint } from "publint"
import { formatMessage } from "publint/utils"
import { build, type InputOptions, type OutputOptions, type Plugin } from "rolldown"
import * as Entries from "./Entries.ts"

const root = Path.resolve(import.meta.dirname, "../..")
const src = Path.join(root, "src")
const dist = Path.join(root, "dist")

interface Manifest {
  readonly [key: string]: unknown
  readonly dependencies: Record<string, string>
}
const manifest: Manifest = JSON.parse(Fs.readFileSync(Path.join(root, "package.json"), "utf8"))

/** `src/cli/main.ts` becomes `cli/main`. */
const outputName = (file: string): string => Path.relative("src", file).replace(/\.ts$/, "")

/** Lets `new URL("./Host.ts", import.meta.url)` find the built file, from a module that stays where it was (`from`
 * is undefined) or has moved into a bundle in the folder `from` of dist. */
const moduleUrls = (from?: string): Plugin => ({
  name: "module-urls",
  transform: (code, id) => {
    if (!id.startsWith(src + Path.sep)) return null
    const found = /new URL\(\s*"(\.[^"]+)\.ts",\s*import\.meta\.url\s*\)/g
    const rewritten = code.replace(found, (_, path: string) => {
      const target = Path.relative(src, Path.resolve(Path.dirname(id), path))
      const base = from ?? Path.dirname(Path.relative(src, id))
      const relative = Path.posix.relative(base, target)
      return `new URL("${relative.startsWith(".") ? "" : "./"}${relative}.js", import.meta.url)`
    })
    return rewritten === code ? null : { code: rewritten, map: null }
  }
})

const bundle = async (entries: ReadonlyArray<string>, input: InputOptions, output: OutputOptions): Promise<void> => {
  await build({
    ...input,
    cwd: root,
    platform: "node",
    input: Object.fromEntries(entries.map((entry) => [outputName(entry), Path.join(root, entry)])),
    output: { dir: dist, format: "esm", entryFileNames: "[name].js", sourcemap: true, ...output }
  })
  for (const entry of entries) console.log(`built dist/${outputName(entry)}.js`)
}

/** A bundle carries its dependencies except the bundler itself, which is a native binary. */
const carried = (folder: string): InputOptions => ({
  external: (id) => isBuiltin(id) || id === "rolldown" || id.startsWith("rolldown/"),
  plugins: [moduleUrls(folder)]
})

const declarations = (): void => {
  const tsc = Path.join(root, "node_modules/typescript/bin/tsc")
  const project = Path.join(import.meta.dirname, "tsconfig.build.json")
  const { status } = spawnSync(process.execPath, [tsc, "-p", project], { stdio: "inherit" })
  if (status !== 0) throw new Error("the declarations do not compile")
  for (const name of Fs.readdirSync(dist, { recursive: true, encoding: "utf8" })) {
    if (!name.endsWith(".d.ts")) continue
    const file = Path.join(dist, name)
    const text = Fs.readFileSync(file, "utf8")
    Fs.writeFileSync(file, text.replace(/(from |import\(|import )"(\.[^"]+)\.ts"/g, `$1"$2.js"`))
  }
}

const writeManifest = (): void => {
  const kept = ["name", "version", "description", "license", "keywords", "type", "engines"]
  const exports = Entries.library.map((entry) => {
    const path = Path.posix.dirname(outputName(entry))
    const name = outputName(entry)
    return [path === "." ? "." : `./${path}`, { types: `./${name}.d.ts`, default: `./${name}.js` }]
  })
  const published = {
    ...Object.fromEntries(kept.map((key) => [key, manifest[key]])),
    exports: { ...Object.fromEntries(exports), "./package.json": "./package.json" },
    bin: { shoal: `./${outputName(Entries.command)}.js` },
    dependencies: manifest.dependencies
  }
  Fs.writeFileSync(Path.join(dist, "package.json"), JSON.stringify(published, null, 2) + "\n")
  for (const name of ["LICENSE", "README.md", "CHANGELOG.md"]) {
    Fs.copyFileSync(Path.join(root, name), Path.join(dist, name))
  }
}

const judge = async (): Promise<void> => {
  const { messages, pkg } = await publint({ pkgDir: dist, pack: false, strict: true })
  for (const message of messages) console.log(`publint: ${formatMessage(message, pkg) ?? message.code}`)
  if (messages.some(({ type }) => type !== "suggestion")) throw new Error("publint found mistakes")
}

const external = (id: string): boolean =>
  isBuiltin(id) || Object.keys(manifest.dependencies).some((name) => id === name || id.startsWith(`${name}/`))

Fs.rmSync(dist, { recursive: true, force: true })
Fs.mkdirSync(dist)
await bundle(Entries.library, { external, plugins: [moduleUrls()] }, {
  preserveModules: true,
  preserveModulesRoot: src
})
await bundle([Entries.command], carried("cli"), { chunkFileNames: "cli/[name]-[hash].js", minify: true })
await bundle(Entries.executor, carried("node/executor"), {
  chunkFileNames: "node/executor/[name]-[hash].js",
  minify: true
})
declarations()
writeManifest()
await judge()
