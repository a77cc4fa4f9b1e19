/** Where user functions run, as the gateway sees it: instances of function versions, and calls to them. PURE.
 *
 * Boundary: types only; the one executor there is lives in `src/node/executor` and keeps user code out of the agent
 * process. Choosing an instance, counting concurrency and timing calls out is the gateway's work; so is killing an
 * instance whose loop no longer answers `ping`.
 * Invariants: F1 (every stream of a call ends, also when its instance or the whole host dies), F2. */
import * as Schema from "effect/Schema"
import type * as Mux from "./Mux.ts"

/** Why an instance could not be had. `import-failed`: the bundle does not load; `no-handler`: it has no default export
 * that is a function or has `fetch`; `init-timeout`: loading took too long; `capacity`: too many instances or starts;
 * `closed`: the executor is closing. The others are ends of the instance while it loaded, as in `ExitReason`. */
export const StartReason = Schema.Literals([
  "import-failed",
  "no-handler",
  "init-timeout",
  "capacity",
  "closed",
  "stopped",
  "crashed",
  "out-of-memory",
  "host-crash"
])
export type StartReason = typeof StartReason.Type

/** No instance. Fault: the function's, except for `capacity`, `closed` and `host-crash`. State: unchanged. Retry: safe.
 * `message` names the cause and, where there is one, the place in the bundle. */
export class StartError extends Schema.TaggedError<StartError>()("StartError", {
  reason: StartReason,
  message: Schema.String
}) {}

/** The part of a function's limits an executor enforces. */
export interface Limits {
  /** Heap and buffers of one instance, in MiB. */
  readonly memoryMb: number
}

export interface StartSpec {
  readonly version: string
  readonly name: string
  /** A local file: one ECMAScript module, whatever its extension. */
  readonly bundlePath: string
  /** All the function sees as environment. */
  readonly env: Readonly<Record<string, string>>
  readonly limits: Limits
}

/** The head of a call, as JSON on the wire. */
export interface CallHead {
  readonly callId: string
  readonly method: string
  /** Path and query below the function, beginning with `/`. */
  readonly url: string
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
  readonly timeoutMs: number
  /** How deep this call is nested in calls of other functions. */
  readonly depth: number
}

/** The head of a reply. Then comes the body, then a `ReplyTrailer`; or an error: `handler-error` when the function
 * threw, rejected or returned no `Response`, else the kind of the instance's end. */
export interface ReplyHead {
  readonly status: number
  readonly headers: ReadonlyArray<readonly [name: string, value: string]>
}

export interface ReplyTrailer {
  /** Milliseconds from the call's arrival at the worker until its reply was complete. */
  readonly execMs: number
}

/** `stopped`: by `stop` or `close`; `crashed`: it exited, or an error was caught by nobody; `out-of-memory`: over its
 * own limit; `host-crash`: its host process died, perhaps by another function. */
export interface ExitReason {
  readonly kind: "stopped" | "crashed" | "out-of-memory" | "host-crash"
  readonly message: string
}

export interface Instance {
  readonly id: string
  readonly version: string
  readonly start: "prewarmed" | "cold"
  /** Milliseconds from `start` to ready. */
  readonly initMs: number
  /** Calls running now. */
  readonly inflight: number
  /** Never throws: on an instance that has ended the stream reports the end by `onError`. */
  call(head: CallHead): Mux.MuxStream
  /** Does the instance's loop still turn? False when it has ended, or did not answer within the time, if one is given.
   * What was sent after a question without an answer was not looked at. */
  ping(timeoutMs?: number): Promise<boolean>
  /** Ends it at once, whatever it does, with its calls; resolves when it is gone. */
  stop(reason: string): Promise<void>
  readonly exited: Promise<ExitReason>
}

export interface Executor {
  /** Rejects with `StartError`. */
  start(spec: StartSpec): Promise<Instance>
  /** Pre-warmed workers ready to become an instance. */
  readonly spares: number
  /** Stops every instance and host; nothing of them is left behind. */
  close(): Promise<void>
}

/** A line a function wrote. */
export interface Log {
  readonly instance: string
  readonly name: string
  readonly version: string
  /** The call during which it was written, where known. */
  readonly callId: string | undefined
  readonly level: "debug" | "info" | "warn" | "error"
  readonly text: string
  /** Milliseconds since the epoch, by the worker's clock. */
  readonly at: number
  /** Lines lost before this one because they came too fast. */
  readonly dropped: number
}

export const isStartReason: (value: unknown) => value is StartReason = Schema.is(StartReason)
export const isStartError: (value: unknown) => value is StartError = Schema.is(StartError)
