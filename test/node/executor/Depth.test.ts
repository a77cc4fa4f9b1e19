import { assert, describe, it } from "@effect/vitest"
import * as Http from "node:http"
import * as Headers from "../../../src/functions/Headers.ts"
import * as ExecutorPool from "../../../src/node/executor/ExecutorPool.ts"
import * as Calls from "./Calls.ts"

/** A gateway that answers with the depth it reads. */
const gateway = async (): Promise<{ readonly url: string } & AsyncDisposable> => {
  const server = Http.createServer((request, response) => {
    const sent = request.headers["x-shoal-depth"]
    response.end(`${typeof sent === "string" ? Headers.depth(sent) : "none"}`)
  })
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const bound = server.address()
  return {
    url: `http://127.0.0.1:${typeof bound === "object" ? bound?.port : 0}`,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    }
  }
}

describe("Depth", () => {
  it("tells the gateway one level more than that of the running call, by fetch and by node:http", async () => {
    const pool = ExecutorPool.make()
    await using there = await gateway()
    try {
      const instance = await pool.start(Calls.spec("calls"))
      const at = async (depth: number, query: string) => (await Calls.call(instance, `/?${query}`, { depth })).body
      const url = encodeURIComponent(`${there.url}/function/other?x=1`)
      const several = await Promise.all([0, 1, 7].map((depth) => at(depth, `fetch=${url}`)))
      assert.deepStrictEqual(several, ["1", "2", "8"])
      assert.strictEqual(await at(3, `http=${url}`), "4")
      assert.strictEqual(await at(5, `own=&fetch=${url}`), "6", "a header of its own does not hide it")
      assert.strictEqual(await at(5, `fetch=${encodeURIComponent(`${there.url}/elsewhere`)}`), "none")
    } finally {
      await pool.close()
    }
  })
})
