import { assert, describe, it } from "@effect/vitest"
import * as Executor from "../../../src/functions/Executor.ts"
import type * as Mux from "../../../src/functions/Mux.ts"
import * as Slot from "../../../src/node/gateway/Slot.ts"
import * as Fakes from "./Fakes.ts"
import * as Nodes from "./Nodes.ts"

const hello = Fakes.manifestOf("hello")
const path = "/function/hello"

/** Keeps the streams it gets and answers none. */
const holding = () => {
  const held: Array<Mux.MuxStream> = []
  const handler: Fakes.Handler = (_head, stream) => {
    held.push(stream)
  }
  return { held, handler }
}

describe("Placement", () => {
  it("starts a new version once for many calls at once, and only one of them is told so", async () => {
    const { handler, held } = holding()
    await using nodes = await Nodes.start({ handler, functions: [hello] })
    const answers = Array.from({ length: 100 }, () => Nodes.call(nodes.first, path))
    await Nodes.until(() => held.length === 100)
    assert.strictEqual(nodes.first.executor.started.length, 1)
    assert.strictEqual(nodes.first.control.count("Locate"), 1)
    assert.strictEqual(nodes.first.control.count("Started"), 1)
    for (const stream of held) Fakes.reply(stream, "x")
    const starts = (await Promise.all(answers)).map(({ headers }) => headers["x-shoal-start"])
    assert.strictEqual(starts.filter((start) => start === "prewarmed").length, 1)
    assert.strictEqual(starts.filter((start) => start === "warm").length, 99)
  })

  it("runs the function here when the control plane does not answer in time", async () => {
    await using nodes = await Nodes.start({
      handler: (_head, stream) => Fakes.reply(stream, "x"),
      functions: [hello],
      tuning: { locateMs: 20 }
    })
    nodes.first.control.silent.add("Locate")
    assert.strictEqual((await Nodes.call(nodes.first, path)).status, 200)
    assert.strictEqual(nodes.first.control.count("Started"), 1)
  })

  it("asks once more when the permission to start came late", async () => {
    await using nodes = await Nodes.start({
      handler: (_head, stream) => Fakes.reply(stream, "x"),
      functions: [hello],
      tuning: { doubtMs: 0 }
    })
    assert.strictEqual((await Nodes.call(nodes.first, path)).status, 200)
    assert.strictEqual(nodes.first.control.count("Locate"), 2)
    assert.strictEqual(nodes.first.control.count("Started"), 1)
  })

  it("adds instances only when all are full, and answers 429 with Retry-After beyond", async () => {
    const small = Fakes.manifestOf("hello", { concurrency: 2, instances: 2 })
    const { handler, held } = holding()
    await using nodes = await Nodes.start({ handler, functions: [small] })
    const first = [Nodes.call(nodes.first, path), Nodes.call(nodes.first, path)]
    await Nodes.until(() => held.length === 2)
    assert.strictEqual(nodes.first.executor.started.length, 1)
    const second = [Nodes.call(nodes.first, path), Nodes.call(nodes.first, path)]
    await Nodes.until(() => held.length === 4)
    assert.strictEqual(nodes.first.executor.started.length, 2)
    const over = await Nodes.call(nodes.first, path)
    assert.strictEqual(over.status, 429)
    assert.strictEqual(over.headers["retry-after"], "1")
    assert.deepInclude(Nodes.errorOf(over), { reason: "concurrency", retryable: true })
    for (const stream of held) Fakes.reply(stream, "x")
    for (const answer of await Promise.all([...first, ...second])) assert.strictEqual(answer.status, 200)
    const after = Nodes.call(nodes.first, path)
    await Nodes.until(() => held.length === 5)
    held.slice(4).forEach((stream) => Fakes.reply(stream, "x"))
    assert.strictEqual((await after).status, 200)
  })

  it("answers 504 in time, cancels the call and keeps an instance whose loop turns", async () => {
    const short = Fakes.manifestOf("hello", { timeoutMs: 60 })
    let cancelled = 0
    await using nodes = await Nodes.start({
      functions: [short],
      handler: (_head, stream) => {
        stream.onCancel = () => cancelled++
      }
    })
    const answer = await Nodes.call(nodes.first, path)
    assert.strictEqual(answer.status, 504)
    assert.deepInclude(Nodes.errorOf(answer), { reason: "timeout", retryable: true })
    await Nodes.until(() => cancelled === 1)
    assert.isUndefined(nodes.first.executor.started[0]?.stopped)
  })

  it("kills an instance that spins, and runs its innocent calls on another", async () => {
    const short = Fakes.manifestOf("hello", { timeoutMs: 400, concurrency: 10 })
    await using nodes = await Nodes.start({
      functions: [short],
      handler: (head, stream, instance) => {
        if (head.url === "/spin") instance.spinning = true
        else Fakes.reply(stream, "fine")
      }
    })
    await Nodes.call(nodes.first, path)
    const spinning = Nodes.call(nodes.first, `${path}/spin`)
    const [instance] = nodes.first.executor.started
    await Nodes.until(() => instance?.spinning === true)
    const innocents = Promise.all([Nodes.call(nodes.first, path), Nodes.call(nodes.first, path)])
    assert.strictEqual((await spinning).status, 504)
    await Nodes.until(() => instance?.stopped === "spinning")
    // The innocents came while it spun; what is left of their time decides between a late answer and 504.
    for (const { status } of await innocents) assert.include([200, 504], status)
    assert.strictEqual((await Nodes.call(nodes.first, path)).status, 200)
    assert.strictEqual(nodes.first.executor.started.length, 2)
  })

  const spinning = (head: { readonly url: string }, stream: Mux.MuxStream, instance: Fakes.FakeInstance) => {
    if (head.url === "/spin") instance.spinning = true
    else Fakes.reply(stream, "fine")
  }

  it("starts another instance for the calls that come while one spins, and moves those it had not looked at", async () => {
    await using nodes = await Nodes.start({ functions: [hello], handler: spinning })
    await Nodes.call(nodes.first, path)
    const stuck = Nodes.open(nodes.first, `${path}/spin`)
    const [instance] = nodes.first.executor.started
    await Nodes.until(() => instance?.spinning === true)
    await new Promise((done) => setTimeout(done, 2 * Slot.quietMs))
    const began = performance.now()
    const methods = Array.from({ length: 30 }, (_, i) => i % 3 === 0 ? "PUT" : "GET")
    const answers = await Promise.all(methods.map((method) => Nodes.call(nodes.first, path, { method })))
    assert.deepStrictEqual(answers.filter(({ status }) => status !== 200), [])
    assert.isBelow(performance.now() - began, 4 * Slot.stuckMs)
    assert.strictEqual(nodes.first.executor.started.length, 2)
    const later = performance.now()
    assert.strictEqual((await Nodes.call(nodes.first, path, { method: "POST" })).status, 200)
    assert.isBelow(performance.now() - later, Slot.stuckMs)
    assert.isUndefined(instance?.stopped, "its call still has time")
    if (instance !== undefined) instance.spinning = false
    nodes.first.executor.started.forEach((each) => each.end({ kind: "stopped", message: "over" }))
    ;(await stuck).resume()
  })

  it("holds calls back for an instance that computes for a moment, and starts no other", async () => {
    let seen = 0
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (head, stream, instance) => {
        seen++
        if (head.url === "/spin") {
          instance.spinning = true
          setTimeout(() => {
            instance.spinning = false
            Fakes.reply(stream, "done")
          }, 3 * Slot.doubtMs)
        } else Fakes.reply(stream, "fine")
      }
    })
    await Nodes.call(nodes.first, path)
    const computing = Nodes.call(nodes.first, `${path}/spin`)
    await Nodes.until(() => nodes.first.executor.started[0]?.spinning === true)
    await new Promise((done) => setTimeout(done, 2 * Slot.quietMs))
    const behind = Nodes.call(nodes.first, path, { method: "POST" })
    await new Promise((done) => setTimeout(done, Slot.doubtMs + 10))
    const held = Nodes.call(nodes.first, path, { method: "POST" })
    const answers = await Promise.all([computing, behind, held])
    assert.deepStrictEqual(answers.map(({ text }) => text), ["done", "fine", "fine"])
    assert.strictEqual(nodes.first.executor.started.length, 1)
    assert.strictEqual(seen, 4, "each ran once")
  })

  it("lets calls wait for instances that compute when no other may be started", async () => {
    const single = Fakes.manifestOf("hello", { instances: 1, timeoutMs: 2000 })
    await using nodes = await Nodes.start({ functions: [single], handler: spinning })
    await Nodes.call(nodes.first, path)
    const stuck = Nodes.call(nodes.first, `${path}/spin`)
    const [instance] = nodes.first.executor.started
    await Nodes.until(() => instance?.spinning === true)
    await new Promise((done) => setTimeout(done, 2 * Slot.quietMs))
    const first = Nodes.call(nodes.first, path)
    await new Promise((done) => setTimeout(done, 2 * Slot.stuckMs))
    const waiting = Nodes.call(nodes.first, path)
    setTimeout(() => {
      if (instance !== undefined) instance.spinning = false
    }, 100)
    assert.deepStrictEqual((await Promise.all([first, waiting])).map(({ status }) => status), [200, 200])
    assert.strictEqual(nodes.first.executor.started.length, 1)
    assert.strictEqual((await stuck).status, 504)
  })

  it("answers 500 with the call id when the handler throws, and puts its message in the log only", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => stream.error("handler-error", "secret detail")
    })
    const answer = await Nodes.call(nodes.first, path, { headers: { "X-Call-Id": "c9" } })
    assert.strictEqual(answer.status, 500)
    assert.deepInclude(Nodes.errorOf(answer), { component: "executor", reason: "handler-error", callId: "c9" })
    assert.notInclude(answer.text, "secret")
    const line = nodes.first.log.find(({ message }) => message === "a function failed")
    assert.deepInclude(line?.fields, { callId: "c9", cause: "secret detail" })
  })

  it("answers 502 with the kind of its end when the instance dies, and takes its entry back", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, _stream, instance) => instance.end({ kind: "out-of-memory", message: "over 128 MiB" })
    })
    const answer = await Nodes.call(nodes.first, path, { method: "POST" })
    assert.strictEqual(answer.status, 502)
    assert.deepInclude(Nodes.errorOf(answer), { reason: "out-of-memory", retryable: false })
    await Nodes.until(() => nodes.first.control.count("Stopped") === 1)
  })

  it("answers 502 when the function does not start, ends the lease, and does not try again at once", async () => {
    await using nodes = await Nodes.start({ functions: [hello], handler: (_head, stream) => Fakes.reply(stream, "x") })
    const { control, executor } = nodes.first
    executor.failure = new Executor.StartError({ reason: "import-failed", message: "line 1" })
    const answers = await Promise.all([Nodes.call(nodes.first, path), Nodes.call(nodes.first, path)])
    for (const answer of answers) {
      assert.strictEqual(answer.status, 502)
      assert.strictEqual(Nodes.errorOf(answer)["reason"], "start-failed")
    }
    assert.strictEqual(control.count("LeaseEnd"), 1)
    assert.strictEqual((await Nodes.call(nodes.first, path)).status, 502)
    assert.strictEqual(control.count("Bundle"), 1)
    executor.failure = undefined
    let status = 0
    while (status !== 200) status = (await Nodes.call(nodes.first, path)).status
  })

  it("refuses a body over the limit with 413, announced or not", async () => {
    const small = Fakes.manifestOf("hello", { bodyBytes: 1000 })
    let calls = 0
    await using nodes = await Nodes.start({
      functions: [small],
      handler: (_head, stream) => {
        calls++
        stream.onData = (chunk) => stream.consumed(chunk.length)
        stream.onEnd = () => Fakes.reply(stream, "x")
      }
    })
    const announced = await Nodes.call(nodes.first, path, { method: "POST", body: "x".repeat(1001) })
    assert.strictEqual(announced.status, 413)
    assert.strictEqual(calls, 0)
    const chunked = await Nodes.call(nodes.first, path, {
      method: "POST",
      headers: { "Transfer-Encoding": "chunked" },
      body: "x".repeat(1001)
    })
    assert.strictEqual(chunked.status, 413)
    assert.strictEqual(Nodes.errorOf(chunked)["reason"], "body-too-large")
    assert.strictEqual((await Nodes.call(nodes.first, path, { method: "POST", body: "x".repeat(1000) })).status, 200)
  })

  it("streams a large answer no faster than the client reads it", async () => {
    const total = 20 * 1024 * 1024
    const chunk = new Uint8Array(64 * 1024).fill(120)
    let written = 0
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => {
        stream.head(Fakes.bytesOf("{\"status\":200,\"headers\":[]}"))
        const pump = () => {
          let open = true
          while (open && written < total) {
            written += chunk.length
            open = stream.write(chunk)
          }
          if (written >= total) stream.end()
        }
        stream.onWritable = pump
        pump()
      }
    })
    const response = await Nodes.open(nodes.first, path)
    response.pause()
    // Nobody reads: the writer stops when window and socket buffers are full, far from the whole.
    let before = -1
    let turns = 0
    while (turns < 200) {
      turns = written === before ? turns + 1 : 0
      before = written
      await new Promise((done) => setImmediate(done))
    }
    assert.isBelow(written, total)
    let read = 0
    for await (const part of response) read += part.length
    assert.strictEqual(read, total)
  })

  it("streams a large body no faster than the function reads it, and all of it", async () => {
    const total = 5 * 1024 * 1024
    let received = 0
    let go: () => void = () => {}
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => {
        let owed = 0
        stream.onData = (chunk) => {
          received += chunk.length
          owed += chunk.length
        }
        go = () => {
          stream.consumed(owed)
          stream.onData = (chunk) => {
            received += chunk.length
            stream.consumed(chunk.length)
          }
        }
        stream.onEnd = () => Fakes.reply(stream, String(received))
      }
    })
    const answer = Nodes.call(nodes.first, path, { method: "POST", body: new Uint8Array(total) })
    await Nodes.until(() => received === 256 * 1024)
    go()
    assert.strictEqual((await answer).text, String(total))
  })

  it("cancels the call when its client goes away", async () => {
    let cancelled = 0
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => {
        stream.onCancel = () => cancelled++
        stream.head(Fakes.bytesOf("{\"status\":200,\"headers\":[]}"))
      }
    })
    const response = await Nodes.open(nodes.first, path)
    response.destroy()
    await Nodes.until(() => cancelled === 1)
    assert.include((await Nodes.call(nodes.first, "/metrics")).text, "shoal_gateway_calls_total{outcome=\"aborted\"")
  })

  it("cuts an answer off that fails after it began", async () => {
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (_head, stream) => {
        stream.head(Fakes.bytesOf("{\"status\":200,\"headers\":[]}"))
        stream.write(Fakes.bytesOf("begun"))
        setImmediate(() => setImmediate(() => setImmediate(() => stream.error("handler-error", "late"))))
      }
    })
    const answer = await Nodes.call(nodes.first, path)
    assert.strictEqual(answer.text, "begun")
    assert.isTrue(answer.cut)
  })

  it("answers 502 for heads that HTTP cannot carry, and never lets a length be exceeded", async () => {
    const heads = new Map([
      ["/status", "{\"status\":42,\"headers\":[]}"],
      ["/name", "{\"status\":200,\"headers\":[[\"a b\",\"c\"]]}"],
      ["/value", "{\"status\":200,\"headers\":[[\"a\",\"b\\r\\nX: y\"]]}"],
      ["/junk", "junk"],
      ["/long", "{\"status\":200,\"headers\":[[\"content-length\",\"3\"]]}"]
    ])
    await using nodes = await Nodes.start({
      functions: [hello],
      handler: (head, stream) => {
        stream.head(Fakes.bytesOf(heads.get(head.url) ?? ""))
        stream.write(Fakes.bytesOf("ab"))
        if (head.url !== "/long") return stream.end()
        setImmediate(() =>
          setImmediate(() =>
            setImmediate(() => {
              stream.write(Fakes.bytesOf("cdefg"))
              stream.end()
            })
          )
        )
      }
    })
    for (const bad of ["/status", "/name", "/value", "/junk"]) {
      const answer = await Nodes.call(nodes.first, path + bad)
      assert.strictEqual(answer.status, 502, bad)
      assert.strictEqual(Nodes.errorOf(answer)["reason"], "bad-reply")
    }
    const long = await Nodes.call(nodes.first, `${path}/long`)
    assert.isTrue(long.cut)
    assert.isAtMost(long.text.length, 3)
  })

  it("ends instances after their idle time and those of removed functions, and takes the entries back", async () => {
    const idle = Fakes.manifestOf("hello", { idleMs: 1000 })
    await using nodes = await Nodes.start({
      functions: [idle],
      handler: (_head, stream) => Fakes.reply(stream, "x"),
      tuning: { sweepMs: 5 }
    })
    await Nodes.call(nodes.first, path)
    const [instance] = nodes.first.executor.started
    nodes.cluster.functions = []
    nodes.push()
    await Nodes.until(() => instance?.stopped === "idle")
    assert.strictEqual(nodes.first.control.count("Stopped"), 1)
    assert.strictEqual((await Nodes.call(nodes.first, path)).status, 404)
  })
})
