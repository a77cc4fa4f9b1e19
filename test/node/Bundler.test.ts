import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Bundler from "../../src/node/Bundler.ts"

const folderOf = (files: Record<string, string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "shoal-bundler-"))
      for (const [name, text] of Object.entries(files)) {
        Fs.mkdirSync(Path.dirname(Path.join(folder, name)), { recursive: true })
        Fs.writeFileSync(Path.join(folder, name), text)
      }
      return folder
    }),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
  )

const load = (code: Uint8Array) =>
  Effect.promise(() => import(`data:text/javascript;base64,${Buffer.from(code).toString("base64")}`))

const hello = {
  "hello.ts": `import { greet } from "./lib/greet.ts"
import { basename } from "node:path"
export default { fetch: (request: Request): string => greet(basename(request.url)) }
`,
  "lib/greet.ts": `export const greet = (name: string): string => \`hello \${name}\`\n`
}

describe("Bundler", () => {
  it.live("puts TypeScript and what it imports into one module that runs", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf(hello)
      const { code } = yield* Bundler.bundle(Path.join(folder, "hello.ts"))
      const module = yield* load(code)
      assert.strictEqual(module.default.fetch({ url: "http://x/ann" }), "hello ann")
    }).pipe(Effect.scoped))

  it.live("gives the same bytes for the same sources in another folder, and others after a change", () =>
    Effect.gen(function*() {
      const [a, b, c] = yield* Effect.all([
        folderOf(hello),
        folderOf(hello),
        folderOf({
          ...hello,
          "lib/greet.ts": `export const greet = (name: string): string => \`bye \${name}\`\n`
        })
      ])
      const [first, second, other] = yield* Effect.forEach(
        [a, b, c],
        (folder) =>
          Effect.map(Bundler.bundle(Path.join(folder, "hello.ts")), ({ code }) => Buffer.from(code).toString())
      )
      assert.strictEqual(first, second)
      assert.notStrictEqual(first, other)
    }).pipe(Effect.scoped))

  it.live("takes a folder by its index or by the main file of its package.json, and packages beside it", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf({
        "one/index.js": `import { n } from "dep"\nexport default () => n\n`,
        "one/node_modules/dep/package.json": `{ "name": "dep", "main": "dep.cjs", "scripts": { "install": "exit 1" } }`,
        "one/node_modules/dep/dep.cjs": `exports.n = 41\n`,
        "two/package.json": `{ "main": "src/app.mjs" }`,
        "two/src/app.mjs": `export default () => 42\n`
      })
      const values = yield* Effect.forEach(["one", "two"], (name) =>
        Bundler.bundle(Path.join(folder, name)).pipe(
          Effect.flatMap(({ code }) => load(code)),
          Effect.map((module) => module.default())
        ))
      assert.deepStrictEqual(values, [41, 42])
    }).pipe(Effect.scoped))

  it.live("names the place and the cause of what does not bundle", () =>
    Effect.gen(function*() {
      const folder = yield* folderOf({
        "syntax.ts": `export const a = 1\nexport default function( { return 1 }\n`,
        "file.ts": `import "./nope.ts"\nexport default () => 1\n`,
        "package.ts": `\nimport x from "no-such-package"\nexport default () => x\n`,
        "nothing.ts": `export const a = 1\n`,
        "text.txt": `hello`,
        "empty/readme.md": ``
      })
      const messages = yield* Effect.forEach(
        ["syntax.ts", "file.ts", "package.ts", "nothing.ts", "text.txt", "empty", "missing.ts"],
        (name) => Effect.map(Effect.flip(Bundler.bundle(Path.join(folder, name))), (error) => error.message)
      )
      assert.match(messages[0] ?? "", /syntax\.ts:2:35 Expected/)
      assert.match(messages[1] ?? "", /file\.ts:1:8 Could not resolve '\.\/nope\.ts'$/)
      assert.match(messages[2] ?? "", /package\.ts:2:15 Could not resolve 'no-such-package'/)
      assert.match(messages[3] ?? "", /nothing\.ts has no default export/)
      assert.match(messages[4] ?? "", /text\.txt is not one of/)
      assert.match(messages[5] ?? "", /empty has none of/)
      assert.match(messages[6] ?? "", /missing\.ts does not exist/)
    }).pipe(Effect.scoped))

  it("names a function after its file or folder", () => {
    assert.strictEqual(Bundler.nameOf("a/Hello_World.ts"), "hello-world")
    assert.strictEqual(Bundler.nameOf("a/thumb/index.ts"), "thumb")
    assert.strictEqual(Bundler.nameOf("a/thumb"), "thumb")
  })
})
