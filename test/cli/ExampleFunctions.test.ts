/** The functions that `npm start` deploys do what their headers say. */
import { assert, describe, it } from "@effect/vitest"
import api from "../../examples/functions/api.ts"
import counter from "../../examples/functions/counter.ts"
import echo from "../../examples/functions/echo.ts"
import hello from "../../examples/functions/hello.ts"

const at = (path: string, init?: RequestInit) => new Request(`http://shoal${path}`, init)
const post = (path: string, body: string) => at(path, { method: "POST", body })

describe("example functions", () => {
  it("hello greets by name", async () => {
    assert.strictEqual(await hello(at("/?name=Ada")).text(), "Hello, Ada!\n")
    assert.strictEqual(await hello(at("/")).text(), "Hello, world!\n")
  })

  it("echo passes a body on before it is complete", async () => {
    let push = (_: string | undefined) => {}
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        push = (text) => text === undefined ? controller.close() : controller.enqueue(new TextEncoder().encode(text))
      }
    })
    const init: RequestInit & { readonly duplex: "half" } = { method: "POST", body, duplex: "half" }
    const reader = echo.fetch(at("/?upper", init)).body?.pipeThrough(new TextDecoderStream()).getReader()
    push("one ")
    assert.strictEqual((await reader?.read())?.value, "ONE ")
    push("two")
    assert.strictEqual((await reader?.read())?.value, "TWO")
    push(undefined)
    assert.isTrue((await reader?.read())?.done)
  })

  it("echo tells what it was asked when there is no body", async () => {
    assert.deepStrictEqual(await echo.fetch(at("/a?b=1")).json(), { method: "GET", path: "/a", query: { b: "1" } })
  })

  it("counter counts on in one instance", async () => {
    const call = async (): Promise<{ readonly count: number; readonly since: string }> =>
      JSON.parse(await (await counter(at("/?ms=0"))).text())
    const first = await call()
    assert.deepStrictEqual(await call(), { count: first.count + 1, since: first.since })
  })

  it("api converts one and many, and says why it refuses", async () => {
    assert.strictEqual((await api.fetch(at("/"))).status, 200)
    const boiling = { celsius: 100, fahrenheit: 212, kelvin: 373.15 }
    assert.deepStrictEqual(await (await api.fetch(at("/celsius/100"))).json(), boiling)
    assert.deepStrictEqual(await (await api.fetch(post("/celsius", "[100]"))).json(), [boiling])
    for (
      const [request, status] of [
        [at("/celsius/hot"), 400],
        [at("/celsius/-300"), 400],
        [post("/celsius", "{"), 400],
        [post("/celsius", "[1, null]"), 400],
        [at("/celsius"), 405],
        [at("/fahrenheit/1"), 404]
      ] as const
    ) assert.strictEqual((await api.fetch(request)).status, status)
  })
})
