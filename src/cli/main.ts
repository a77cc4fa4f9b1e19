#!/usr/bin/env node
/** The entry of the command line. It may import nothing at its head: an old Node must reach the line that says so. */
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  process.stderr.write(
    `shoal: this is Node ${process.versions.node}, and 22.19 or newer is needed; ` +
      "inside a clone, `npm ci` brings one and `npx shoal` uses it\n"
  )
  process.exit(1)
}
process.getBuiltinModule("node:module").enableCompileCache()
const { fileURLToPath } = process.getBuiltinModule("node:url")
const { run } = await import("./Program.ts")
run({
  args: process.argv.slice(2),
  entry: fileURLToPath(import.meta.url),
  loadNode: () => import("../node/Node.ts"),
  loadBundler: () => import("../node/Bundler.ts")
})

export {}
