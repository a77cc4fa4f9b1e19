/** What the executor's tests share: specs of the fixtures and calls read to their end. */
import * as Path from "node:path"
import type * as Executor from "../../../src/functions/Executor.ts"
import type * as Mux from "../../../src/functions/Mux.ts"

const fixtures = Path.resolve(import.meta.dirname, "../../fixtures/functions")

export const spec = (name: string, changes: Partial<Executor.StartSpec> = {}): Executor.StartSpec => ({
  version: `version-of-${name}`,
  name,
  bundlePath: Path.join(fixtures, `${name}.js`),
  env: {},
  limits: { memoryMb: 128 },
  ...changes
})

export interface Reply {
  readonly status: number
  readonly headers: ReadonlyArray<readonly [string, string]>
  readonly body: string
  readonly trailer: Partial<Executor.ReplyTrailer>
  readonly error: { readonly code: string; readonly message: string } | undefined
}

let calls = 0

export const open = (instance: Executor.Instance, url: string, changes: Partial<Executor.CallHead> = {}) =>
  instance.call({
    callId: `call-${++calls}`,
    method: "GET",
    url,
    headers: [],
    timeoutMs: 30_000,
    depth: 0,
    ...changes
  })

/** Reads a call to its end, whatever end that is. */
export const read = (stream: Mux.MuxStream): Promise<Reply> => {
  const { promise, resolve } = Promise.withResolvers<Reply>()
  let head: Executor.ReplyHead = { status: 0, headers: [] }
  const chunks: Array<Uint8Array> = []
  const done = (trailer: Reply["trailer"], error: Reply["error"]): void =>
    resolve({ ...head, body: Buffer.concat(chunks).toString("utf8"), trailer, error })
  stream.onHead = (bytes) => {
    head = JSON.parse(Buffer.from(bytes).toString("utf8"))
  }
  stream.onData = (chunk) => {
    chunks.push(chunk)
    stream.consumed(chunk.length)
  }
  stream.onEnd = (trailer) => done(JSON.parse(Buffer.from(trailer).toString("utf8")), undefined)
  stream.onError = (code, message) => done({}, { code, message })
  return promise
}

export const call = (
  instance: Executor.Instance,
  url: string,
  changes: Partial<Executor.CallHead> & { readonly body?: Uint8Array } = {}
): Promise<Reply> => {
  const { body, ...head } = changes
  const stream = open(instance, url, head)
  const reply = read(stream)
  if (body !== undefined) stream.write(body)
  stream.end()
  return reply
}

/** Collects log lines and waits for one. */
export const lines = () => {
  const seen: Array<Executor.Log> = []
  const waiting: Array<() => void> = []
  return {
    seen,
    onLog: (line: Executor.Log): void => {
      seen.push(line)
      for (const wake of waiting.splice(0)) wake()
    },
    async find(text: string): Promise<Executor.Log> {
      for (;;) {
        const found = seen.find((line) => line.text.includes(text))
        if (found !== undefined) return found
        await new Promise<void>((resolve) => waiting.push(resolve))
      }
    }
  }
}
