import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { execFile } from "node:child_process"
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises"
import * as Http from "node:http"
import type { AddressInfo } from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as KeyOption from "../../src/cli/KeyOption.ts"
import * as ClusterKey from "../../src/membership/ClusterKey.ts"

const entry = Path.resolve(import.meta.dirname, "../../src/cli/main.ts")
const one = Buffer.alloc(32, 1).toString("base64")
const two = Buffer.alloc(16, 2).toString("base64")

const run = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  new Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>((resolve) => {
    execFile(process.execPath, [entry, ...args], { env: { ...process.env, ...env } }, (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr })
    })
  })

interface Asked {
  readonly method: string
  readonly url: string
  readonly authorization: string | undefined
  readonly body: string
}

/** A node that answers everything with `reply` and remembers what it was asked. */
const withServer = async <A>(reply: unknown, use: (url: string, asked: Array<Asked>) => Promise<A>): Promise<A> => {
  const asked: Array<Asked> = []
  const server = Http.createServer((request, response) => {
    let body = ""
    request.on("data", (chunk: Buffer) => body += chunk.toString())
    request.on("end", () => {
      const { headers, method = "", url = "" } = request
      asked.push({ method, url, authorization: headers.authorization, body })
      response.setHeader("content-type", "application/json").end(JSON.stringify(reply))
    })
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  try {
    return await use(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked)
  } finally {
    server.close()
    server.closeAllConnections()
  }
}

const inFolder = async <A>(use: (folder: string) => Promise<A>): Promise<A> => {
  const folder = await mkdtemp(Path.join(Os.tmpdir(), "shoal-key-"))
  try {
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true })
  }
}

describe("shoal key", () => {
  it("generates keys that can be read, none twice, and writes them for their owner alone", () =>
    inFolder(async (folder) => {
      const [a, b] = [await run(["key", "generate"]), await run(["key", "generate", "--bits", "128"])]
      assert.match(a.stdout, /^[A-Za-z0-9+/]{43}=\n$/)
      assert.match(b.stdout, /^[A-Za-z0-9+/]{22}==\n$/)
      assert.notStrictEqual((await run(["key", "generate"])).stdout, a.stdout)
      const file = Path.join(folder, "cluster.key")
      assert.strictEqual((await run(["key", "generate", "--out", file])).code, 0)
      assert.strictEqual((await stat(file)).mode & 0o777, 0o600)
      assert.match(await readFile(file, "utf8"), /^[A-Za-z0-9+/]{43}=\n$/)
      assert.strictEqual((await run(["key", "generate", "--out", file])).code, 1)
      assert.strictEqual((await run(["key", "generate", "--bits", "64"])).code, 2)
    }))

  it("shows fingerprints only, and which members could not be asked", () =>
    withServer([
      {
        node: "n1",
        keys: [{ id: "aa", bits: 256, primary: true }, { id: "bb", bits: 128, primary: false }],
        problem: null
      },
      { node: "n2", keys: [{ id: "aa", bits: 256, primary: true }], problem: null },
      { node: "n3", keys: [], problem: "no answer in time" }
    ], async (server) => {
      const { code, stderr, stdout } = await run(["key", "list", "--server", server])
      assert.strictEqual(code, 0)
      assert.deepStrictEqual(stdout.trimEnd().split("\n").map((line) => line.trimEnd()), [
        "KEY  BITS  INSTALLED  USED BY",
        "aa   256   2 of 2     2 of 2",
        "bb   128   1 of 2     0 of 2"
      ])
      assert.include(stderr, "n3: no answer in time")
    }))

  it("sends a new key wrapped with the key it was given, never in clear", () =>
    withServer([{ node: "n1", problem: null }], async (server, asked) => {
      const done = await run(["key", "install", two, "--server", server], { SHOAL_KEY: one })
      assert.strictEqual(done.code, 0, done.stderr)
      assert.match(done.stdout, /^installed [0-9a-f]{16} on 1 of 1 members\n$/)
      const [request = assert.fail("nothing asked")] = asked
      assert.strictEqual(`${request.method} ${request.url}`, "POST /system/keys")
      assert.match(request.authorization ?? "", /^Bearer [A-Za-z0-9_-]{43}$/)
      assert.notInclude(request.body, two)
      assert.deepStrictEqual(Object.keys(JSON.parse(request.body) as object), ["key", "wrappedWith"])
    }))

  it("fails with the members that a step did not reach", () =>
    withServer([{ node: "n1", problem: null }, { node: "n2", problem: "no answer in time" }], async (server) => {
      const { code, stderr, stdout } = await run(["key", "use", "aa", "--server", server])
      assert.strictEqual(code, 1)
      assert.include(stdout, "on 1 of 2 members")
      assert.include(stderr, "n2 (no answer in time)")
    }))

  it("takes the new key from a file, and one source only", () =>
    withServer([{ node: "n1", problem: null }], (server, asked) =>
      inFolder(async (folder) => {
        const file = Path.join(folder, "new.key")
        await writeFile(file, `${two}\n`)
        assert.strictEqual((await run(["key", "install", "--from", file, "--server", server])).code, 0)
        assert.strictEqual((await run(["key", "install", two, "--from", file, "--server", server])).code, 2)
        assert.strictEqual((await run(["key", "install", "--server", server])).code, 2)
        const wrong = await run(["key", "install", "hunter2hunter2", "--server", server])
        assert.strictEqual(wrong.code, 2)
        assert.notInclude(wrong.stderr, "hunter2")
        assert.lengthOf(asked, 1)
      })))
})

describe("KeyOption", () => {
  const read = (flags: Partial<KeyOption.Flags>, env: Record<string, string> = {}, file = {}) =>
    Effect.runPromise(
      Effect.map(
        KeyOption.read({ key: undefined, keyFile: undefined, ...flags }, env, file),
        (keys) => keys.map(ClusterKey.format)
      )
    )

  it("prefers a flag to its variable and that to the configuration file", async () => {
    assert.deepStrictEqual(await read({}), [])
    assert.deepStrictEqual(await read({}, {}, { key: two }), [two])
    assert.deepStrictEqual(await read({}, { SHOAL_KEY: one }, { key: two }), [one])
    assert.deepStrictEqual(await read({ key: two }, { SHOAL_KEY: one }), [two])
    assert.deepStrictEqual(await read({}, { SHOAL_KEY: "" }), [])
  })

  it("reads a file with one key per line", () =>
    inFolder(async (folder) => {
      const file = Path.join(folder, "keys")
      await writeFile(file, `${one}\n\n${two}\n`)
      assert.deepStrictEqual(await read({ keyFile: file }), [one, two])
      assert.deepStrictEqual(await read({}, { SHOAL_KEY_FILE: file }), [one, two])
      await writeFile(file, "secret words")
      const failed = await read({ keyFile: file }).then(() => "", String)
      assert.include(failed, file)
      assert.notInclude(failed, "secret words")
    }))
})
