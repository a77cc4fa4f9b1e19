import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { Store } from "../../src/cluster/Store.ts"
import * as NodeStore from "../../src/node/NodeStore.ts"
import { suiteWith } from "../conformance/Store.ts"

const temporary = Effect.acquireRelease(
  Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "shoal-store-"))),
  (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
)

const layerTemporary = Layer.unwrap(Effect.map(temporary, (dir) => NodeStore.layer({ dir: Path.join(dir, "data") })))

suiteWith("NodeStore", layerTemporary)

const bytes = (text: string) => new TextEncoder().encode(text)

const script = `
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NodeStore from ${JSON.stringify(fileURLToPath(new URL("../../src/node/NodeStore.ts", import.meta.url)))}
const exit = await Effect.runPromiseExit(Effect.scoped(Effect.andThen(
  Layer.build(NodeStore.layer({ dir: process.argv[1] })),
  Effect.sync(() => console.log("held")).pipe(Effect.andThen(Effect.callback(() => { setInterval(() => {}, 1000) })))
)))
console.log(JSON.stringify(exit))
`

/** Another process that opens the folder; it says `held`, or why it does not. */
const open = (dir: string) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const root = fileURLToPath(new URL("../..", import.meta.url))
      const child = spawn(process.execPath, ["--input-type=module-typescript", "-e", script, dir], {
        cwd: root,
        stdio: ["ignore", "pipe", "inherit"]
      })
      const [said] = await once(child.stdout, "data") as [Buffer]
      return { child, said: said.toString().trim() }
    }),
    ({ child }) =>
      Effect.promise(async () => {
        if (child.exitCode !== null || child.signalCode !== null) return
        child.kill("SIGKILL")
        await once(child, "exit")
      })
  )

const useStore = <A, E>(dir: string, use: (store: Store["Service"]) => Effect.Effect<A, E>) =>
  Effect.flatMap(Store, use).pipe(Effect.provide(NodeStore.layer({ dir }), { local: true }))

describe("NodeStore on a real folder", () => {
  it.live("keeps what it wrote for the next process and forgets the leftovers of a crash", () =>
    Effect.gen(function*() {
      const dir = yield* temporary
      yield* useStore(dir, (store) => store.replace("a/b", bytes("kept")))
      Fs.writeFileSync(Path.join(dir, "a", ".b.1.2.tmp"), "half")
      const found = yield* useStore(dir, (store) => Effect.all([store.read("a/b"), store.list("")]))
      assert.deepStrictEqual(found, [Option.some(bytes("kept")), ["a/b"]])
      assert.deepStrictEqual(Fs.readdirSync(Path.join(dir, "a")), ["b"])
    }).pipe(Effect.scoped))

  it.live("tells why it cannot write", () =>
    Effect.gen(function*() {
      const dir = yield* temporary
      Fs.writeFileSync(Path.join(dir, "file"), "")
      const error = yield* Effect.flip(useStore(Path.join(dir, "file"), () => Effect.void))
      assert.include(error.message, "file")
      const inside = yield* Effect.flip(useStore(dir, (store) => store.replace("file/x", bytes("x"))))
      assert.strictEqual(inside._tag, "StoreError")
    }).pipe(Effect.scoped))

  it.live("refuses a second opening and names the holder, also within one process", () =>
    Effect.gen(function*() {
      const dir = yield* temporary
      const error = yield* useStore(dir, () => Effect.flip(useStore(dir, () => Effect.void)))
      assert.strictEqual(error._tag, "FolderLocked")
      assert.include(error.message, `in use by process ${process.pid}`)
      yield* useStore(dir, () => Effect.void)
    }).pipe(Effect.scoped))

  it.live("takes the folder of a killed process, never that of a living one", () =>
    Effect.gen(function*() {
      const dir = yield* temporary
      const holder = yield* open(dir)
      assert.strictEqual(holder.said, "held")
      const error = yield* Effect.flip(useStore(dir, () => Effect.void))
      assert.include(error.message, `in use by process ${holder.child.pid}`)
      const second = yield* open(dir)
      assert.include(second.said, "FolderLocked")
      assert.include(second.said, String(holder.child.pid))
      holder.child.kill("SIGKILL")
      yield* Effect.promise(() => once(holder.child, "exit"))
      yield* useStore(dir, () => Effect.void)
    }).pipe(Effect.scoped))

  it.live("gives the folder of a killed process to exactly one of many", () =>
    Effect.gen(function*() {
      const dir = yield* temporary
      Fs.writeFileSync(
        Path.join(dir, ".lock.7"),
        JSON.stringify({ pid: process.pid, started: "1", boot: "another", free: false })
      )
      let inside = 0
      let most = 0
      const results = yield* Effect.forEach(
        Array.from({ length: 20 }, (_, i) => i),
        () =>
          useStore(dir, () =>
            Effect.sync(() => {
              most = Math.max(most, ++inside)
            }).pipe(
              Effect.andThen(Effect.promise(() => Fs.promises.stat(dir))),
              Effect.ensuring(Effect.sync(() => inside--))
            )).pipe(Effect.exit),
        { concurrency: "unbounded" }
      )
      assert.strictEqual(most, 1)
      assert.isAtLeast(results.filter((exit) => exit._tag === "Success").length, 1)
    }).pipe(Effect.scoped))
})
