/** Runs oxlint with the Effect rules of `@effect/tsgo`: `node test/tools/lint.ts [oxlint arguments]`.
 *
 * That package ships builds of oxlint's native binding and of tsgolint that know the `effecttsgo` rules, and a command
 * that copies them over the installed ones. Pointing oxlint at them by environment does the same and leaves
 * `node_modules` as the lockfile describes it. The versions only work as the set named in package.json. */
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { createRequire } from "node:module"
import * as Path from "node:path"
import process from "node:process"

const require = createRequire(import.meta.url)

const versionOf = (name: string): string => {
  const manifest: { readonly version: string } = require(`${name}/package.json`)
  return manifest.version
}

/** The file that replaces `component` at its installed version. */
const artifact = (component: string): string => {
  const fromTsgo = createRequire(require.resolve("@effect/tsgo/package.json"))
  const platform = fromTsgo.resolve(`@effect/tsgo-${process.platform}-${process.arch}/package.json`)
  const folder = Path.join(Path.dirname(platform), "artifacts", component, versionOf(component))
  const files = Fs.readdirSync(folder)
  const file = files.find((name) => name.endsWith("gnu.node")) ?? files[0]
  if (file === undefined) throw new Error(`No build of ${component} in ${folder}`)
  return Path.join(folder, file)
}

const oxlint = Path.join(Path.dirname(require.resolve("oxlint/package.json")), "bin", "oxlint")
const { status } = spawnSync(process.execPath, [oxlint, "--deny-warnings", ...process.argv.slice(2)], {
  stdio: "inherit",
  env: {
    ...process.env,
    NAPI_RS_NATIVE_LIBRARY_PATH: artifact("oxlint"),
    OXLINT_TSGOLINT_PATH: artifact("oxlint-tsgolint")
  }
})
process.exitCode = status ?? 1
