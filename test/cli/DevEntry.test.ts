import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import * as DevEntry from "../../src/cli/DevEntry.ts"

/** A package of its own in a temporary folder. */
const makePackage = Effect.acquireRelease(
  Effect.sync(() => {
    const root = fs.realpathSync(fs.mkdtempSync(join(tmpdir(), "shoal-entry-")))
    fs.mkdirSync(join(root, "src"))
    fs.writeFileSync(join(root, "package.json"), "{ \"type\": \"module\" }")
    fs.writeFileSync(join(root, "src", "part.ts"), "export const greeting: string = \"hello\"\n")
    const entry = join(root, "src", "main.ts")
    fs.writeFileSync(
      entry,
      "import { greeting } from \"./part.ts\"\nconsole.log(greeting, import.meta.url, process.argv[2])\n"
    )
    return { root, entry, cache: join(root, "node_modules", ".cache", "shoal") }
  }),
  ({ root }) => Effect.sync(() => fs.rmSync(root, { recursive: true, force: true }))
)

const output = (file: string) => spawnSync(process.execPath, [file, "argument"], { encoding: "utf8" }).stdout.trim()

describe("DevEntry", () => {
  it.effect("makes one JavaScript file that behaves like the source and knows the source's address", () =>
    Effect.gen(function*() {
      const { entry } = yield* makePackage
      const prepared = yield* DevEntry.prepare(entry)
      assert.match(prepared, /main\.mjs$/)
      assert.strictEqual(output(prepared), `hello ${pathToFileURL(entry).href} argument`)
    }))

  it.effect("builds once for one state of the sources, and anew after a change", () =>
    Effect.gen(function*() {
      const { cache, entry, root } = yield* makePackage
      const first = yield* DevEntry.prepare(entry)
      assert.strictEqual(yield* DevEntry.prepare(entry), first)
      fs.writeFileSync(join(root, "src", "part.ts"), "export const greeting: string = \"changed\"\n")
      const second = yield* DevEntry.prepare(entry)
      assert.notStrictEqual(second, first)
      assert.match(output(second), /^changed /)
      assert.strictEqual(fs.readdirSync(cache).length, 2)
    }))

  it.effect("keeps a bounded number of old bundles", () =>
    Effect.gen(function*() {
      const { cache, entry, root } = yield* makePackage
      for (let round = 0; round < 6; round += 1) {
        fs.writeFileSync(join(root, "src", "part.ts"), `export const greeting = "${"x".repeat(round)}"\n`)
        yield* DevEntry.prepare(entry)
      }
      assert.isAtMost(fs.readdirSync(cache).length, 4)
    }))

  it.effect("falls back to the sources when they cannot be bundled, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const { cache, entry, root } = yield* makePackage
      fs.writeFileSync(join(root, "src", "part.ts"), "export const = nonsense\n")
      assert.strictEqual(yield* DevEntry.prepare(entry), entry)
      assert.deepStrictEqual(fs.readdirSync(cache), [])
    }))

  it.effect("takes JavaScript as it is", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* DevEntry.prepare("/somewhere/main.js"), "/somewhere/main.js")
    }))
})
