/** The messages between a gateway and the control plane of its node. PURE.
 *
 * Boundary: this file says what may be said, nothing more. `LinkServer` answers for the control plane, `src/node/gateway`
 * speaks for the gateway. Every message is plain data that `structuredClone` accepts, so that a gateway can live in a
 * thread of its own; no message carries a secret, a callback or a class instance. A receiver never changes a message.
 * Requests carry an `id` chosen by the gateway, unique per link; each is answered at most once by the reply of the same
 * `id`, and an answer that comes too late is dropped by the gateway.
 * Invariants: M5 (a port holds messages only until its receiver is set, at most `maxHeld`). */
import type * as Manifest from "./Manifest.ts"

/** A function version as the gateway needs it: limits, environment and the digest of its bundle. */
export type Version = Manifest.Manifest

/** A node that has a version warm, by its name and the run of its process. */
export interface Warm {
  readonly id: string
  readonly bootId: number
}

/** A member as the gateway sees it. `data` is `host:port` of its data listener, undefined while it is unknown. */
export interface Member {
  readonly id: string
  readonly bootId: number
  readonly status: "alive" | "suspect" | "dead" | "left"
  readonly data: string | undefined
}

/** A function with the versions its aliases name (alias -> version); `manifests` holds every version that is kept. */
export interface Function {
  readonly name: string
  readonly aliases: Readonly<Record<string, string>>
  readonly manifests: ReadonlyArray<Version>
}

/** May the asking node start the version itself? `granted`: yes, it holds the start lease (or nobody could say);
 * `wait`: another node is starting it, ask again; `none`: it is warm on `nodes`. */
export type Lease = "granted" | "wait" | "none"

/** What a gateway says to its control plane. */
export type ToControl =
  /** Where is this version warm? Answered by `Located`. `lease` false: only look, ask for no permission to start. */
  | { readonly _tag: "Locate"; readonly id: number; readonly version: string; readonly lease: boolean }
  /** Which version is this? `ref` is an alias, `@` and a version (or a prefix of it), or undefined for the live one. */
  | { readonly _tag: "Resolve"; readonly id: number; readonly name: string; readonly ref: string | undefined }
  /** Where on this machine's disk is this bundle (fetched from a peer if need be)? Answered by `Bundled`. */
  | { readonly _tag: "Bundle"; readonly id: number; readonly digest: string }
  /** This node has the version warm: register it, end its start lease. */
  | { readonly _tag: "Started"; readonly version: string }
  /** This node no longer has an instance of it: take the entry back. */
  | { readonly _tag: "Stopped"; readonly version: string }
  /** The start goes on: keep the lease. Sent every 100 ms by the starter. */
  | { readonly _tag: "LeaseRenew"; readonly version: string }
  /** The start failed or was given up: another node may try. */
  | { readonly _tag: "LeaseEnd"; readonly version: string }
  /** An administration request, guards passed. `path` has no query; `query` comes without `?`. Answered by `AdminReply`. */
  | {
    readonly _tag: "Admin"
    readonly id: number
    readonly method: string
    readonly path: string
    readonly query: string
    readonly body: Uint8Array | undefined
    /** Repeated in errors. */
    readonly callId: string
  }
  /** The gateway has finished every call it had accepted and takes no more. */
  | { readonly _tag: "Drained" }

/** What the control plane says to a gateway. */
export type ToGateway =
  /** The members, whole, at the start and after every change. `epoch` is that of the obeyed reign, 0 without one. */
  | {
    readonly _tag: "View"
    readonly self: string
    readonly bootId: number
    readonly role: "master" | "replica" | "worker"
    readonly epoch: number
    readonly members: ReadonlyArray<Member>
  }
  /** The functions, whole, at the start and after every change. */
  | { readonly _tag: "Catalog"; readonly functions: ReadonlyArray<Function> }
  | { readonly _tag: "Located"; readonly id: number; readonly nodes: ReadonlyArray<Warm>; readonly lease: Lease }
  /** `manifest` undefined: no such function or version. `unavailable`: nobody could be asked, so it is not known. */
  | {
    readonly _tag: "Resolved"
    readonly id: number
    readonly manifest: Version | undefined
    readonly unavailable: boolean
  }
  /** `path` undefined: it could not be had, `message` says why. */
  | { readonly _tag: "Bundled"; readonly id: number; readonly path: string | undefined; readonly message: string }
  | {
    readonly _tag: "AdminReply"
    readonly id: number
    readonly status: number
    readonly contentType: string
    readonly body: Uint8Array
  }
  /** The node leaves: answer `/readyz` with 503, close connections after their answer, finish what runs. */
  | { readonly _tag: "Draining" }

/** One end of a link. `post` never blocks and never throws; messages arrive in the order of their posting. */
export interface Port<Out, In> {
  readonly post: (message: Out) => void
  readonly onMessage: (receiver: (message: In) => void) => void
}

export type GatewayPort = Port<ToControl, ToGateway>
export type ControlPort = Port<ToGateway, ToControl>

/** Messages a port keeps for a receiver that is not there yet; beyond it the oldest go. */
export const maxHeld = 4096

const half = <A>(): { readonly post: (message: A) => void; readonly onMessage: Port<never, A>["onMessage"] } => {
  let receiver: ((message: A) => void) | undefined
  let held: Array<A> = []
  return {
    post: (message) => {
      if (receiver !== undefined) return receiver(message)
      if (held.length === maxHeld) held.shift()
      held.push(message)
    },
    onMessage: (next) => {
      receiver = next
      const before = held
      held = []
      for (const message of before) next(message)
    }
  }
}

/** Two ends of a link in one thread; a message arrives during its `post`. */
export const pair = (): { readonly gateway: GatewayPort; readonly control: ControlPort } => {
  const up = half<ToControl>()
  const down = half<ToGateway>()
  return {
    gateway: { post: up.post, onMessage: down.onMessage },
    control: { post: down.post, onMessage: up.onMessage }
  }
}
