/** What a function prints, as bounded log lines with the call they belong to.
 *
 * Boundary: runs in the worker, before user code. Lines leave one by one through the worker's message port, which also
 * works while the function's loop is stuck and right before it exits. Too many are dropped and counted; the count
 * travels with the next line.
 * Invariants: F2 (a flood of logs costs a counter), M5. */
import { AsyncLocalStorage } from "node:async_hooks"
import process from "node:process"
import { formatWithOptions } from "node:util"
import * as Control from "./Control.ts"

/** The call that code runs for. */
export const currentCall = new AsyncLocalStorage<{ readonly callId: string; readonly depth: number }>()

export type Sink = (line: Control.Line) => void

/** Points the console and the standard streams of this thread at `sink`. */
export const install = (sink: Sink): void => {
  let tokens = Control.LineBurst
  let filled = performance.now()
  let dropped = 0
  const allowed = (): boolean => {
    if (tokens < 1) {
      const now = performance.now()
      tokens = Math.min(Control.LineBurst, (now - filled) * Control.LinesPerSecond / 1000)
      if (tokens < 1) return false
      filled = now
    }
    tokens--
    return true
  }
  const write = (level: Control.Line["level"], format: () => string): void => {
    if (!allowed()) {
      dropped++
      return
    }
    const text = format()
    const cut = text.length > Control.MaxLine ? `${text.slice(0, Control.MaxLine)}…` : text
    sink({ callId: currentCall.getStore()?.callId, level, text: cut, at: Date.now(), dropped })
    dropped = 0
  }
  const print = (level: Control.Line["level"]) => (...values: ReadonlyArray<unknown>): void =>
    write(level, () => formatWithOptions({ breakLength: Infinity, maxStringLength: Control.MaxLine }, ...values))
  Object.assign(console, {
    debug: print("debug"),
    log: print("info"),
    info: print("info"),
    warn: print("warn"),
    error: print("error"),
    trace: print("debug"),
    dir: (value: unknown) => print("info")(value),
    assert: (condition: unknown, ...values: ReadonlyArray<unknown>) => {
      if (!condition) print("error")("Assertion failed:", ...values)
    }
  })
  for (const [stream, level] of [[process.stdout, "info"], [process.stderr, "error"]] as const) {
    stream.write = (chunk: Uint8Array | string, ...rest: ReadonlyArray<unknown>): boolean => {
      const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8")
      for (const line of text.replace(/\n$/, "").split("\n")) write(level, () => line)
      const done = rest.at(-1)
      if (typeof done === "function") queueMicrotask(() => done())
      return true
    }
  }
}
