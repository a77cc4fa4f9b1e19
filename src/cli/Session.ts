/** One run of the command line: what a command may know of the process it runs in, as a service.
 *
 * Boundary: no command touches `process` itself, so that a test can give them another one. */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { UpConfig } from "./NodeSettings.ts"

/** What a node says when it takes requests. */
export interface Ready {
  readonly name: string
  readonly gossip: string
  readonly http: string
  readonly rpc: string
  readonly data: string
}

/** What of `src/node/Node.ts` is used here. It is loaded only by `shoal up`. */
export interface NodeModule {
  /** Runs until interrupted, leaving in its finalizers; a failure says why there is no node. */
  readonly run: (
    config: UpConfig,
    onReady: (info: Ready) => void
  ) => Effect.Effect<void, { readonly reason: string; readonly message: string }>
}

/** What of `src/node/Bundler.ts` is used here. It is loaded only to deploy. */
export interface BundlerModule {
  /** A failure names file, line and column. */
  readonly bundle: (path: string) => Effect.Effect<{ readonly code: Uint8Array }, { readonly message: string }>
  /** The name of a function that is given none. */
  readonly nameOf: (path: string) => string
}

export class Session extends Context.Service<Session, {
  readonly version: string
  /** The file this program was started from: `shoal dev` starts its nodes from it. */
  readonly entry: string
  readonly env: Readonly<Record<string, string | undefined>>
  /** Takes secrets out of the environment and, when one was among the arguments, hides those from process lists. */
  readonly forget: (variables: ReadonlyArray<string>, inArguments: boolean) => Effect.Effect<void>
  readonly hostname: string
  readonly home: string
  readonly terminal: {
    readonly interactive: boolean
    readonly color: boolean
    readonly columns: () => number
    readonly rows: () => number
  }
  /** To stdout, done when it is taken. */
  readonly print: (text: string | Uint8Array) => Effect.Effect<void>
  /** To stderr. */
  readonly complain: (text: string) => Effect.Effect<void>
  readonly loadNode: Effect.Effect<NodeModule>
  readonly loadBundler: Effect.Effect<BundlerModule>
  /** From here on a signal is the usual way to end: exit 0. */
  readonly serving: Effect.Effect<void>
  /** Ends the process at once. */
  readonly abandon: Effect.Effect<void>
  /** Done when the process at the other end of stdin is gone. */
  readonly parentGone: Effect.Effect<void>
}>()("shoal/cli/Session") {}
