/** What agent, executor host and worker threads tell each other beside the calls.
 *
 * Boundary: types and limits only. Agent and host speak over the IPC channel of the host process, host and worker over
 * the worker's message port; calls never pass here, they go from the agent straight to the worker's own socket.
 * Everything a worker says is checked by its reader, because user code can reach the same port. */
import type * as Executor from "../../functions/Executor.ts"

/** Longest text of a log line, in characters; the rest is cut. */
export const MaxLine = 8192
/** Lines a worker may write per second on average, and at once. */
export const LinesPerSecond = 200
export const LineBurst = 1000
/** Longest message about an error, in characters. */
export const MaxMessage = 4096

/** Agent to host. */
export type ToHost =
  | {
    readonly _tag: "Spawn"
    readonly id: number
    readonly path: string
    readonly memoryMb: number
    readonly nice: number
  }
  /** The worker becomes an instance: watch its memory. */
  | { readonly _tag: "Assign"; readonly id: number; readonly memoryMb: number }
  | { readonly _tag: "Kill"; readonly id: number }

export interface Line {
  readonly callId: string | undefined
  readonly level: Executor.Log["level"]
  readonly text: string
  readonly at: number
  readonly dropped: number
}

/** Host to agent. */
export type ToAgent =
  | { readonly _tag: "Ready"; readonly id: number }
  | { readonly _tag: "Line"; readonly id: number; readonly line: Line }
  | {
    readonly _tag: "Exit"
    readonly id: number
    readonly kind: "crashed" | "out-of-memory"
    readonly message: string
  }

/** Worker to host. */
export type FromWorker = { readonly _tag: "Ready" } | { readonly _tag: "Line"; readonly line: Line }

/** What a worker is told at its creation. */
export interface WorkerData {
  /** Where to listen for the agent. */
  readonly path: string
  /** Niceness to boot with: that of functions, unless somebody waits for the worker. */
  readonly nice: number
  /** See `WorkerSource`. */
  readonly sources: Readonly<Record<string, string>>
}

/** The head of the first stream on a worker's socket: become an instance of this function. */
export interface StartHead {
  readonly name: string
  readonly version: string
  readonly bundlePath: string
  readonly env: Readonly<Record<string, string>>
  readonly nice: number
}
