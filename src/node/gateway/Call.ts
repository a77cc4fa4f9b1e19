/** One call while it is in this gateway: what was asked, where it runs, and what has come back.
 *
 * Boundary: `Placement` moves it, `Pool` queues it; the two kinds of call, from a client and from another node, know how
 * to answer. A call is finished exactly once, by `Placement.settle`.
 * Invariants: F1. */
import type * as CallError from "../../functions/CallError.ts"
import type * as Headers from "../../functions/Headers.ts"
import type * as Hop from "../../functions/Hop.ts"
import * as Invocation from "../../functions/Invocation.ts"
import type * as Mux from "../../functions/Mux.ts"
import type * as Body from "./Body.ts"
import type * as Pool from "./Pool.ts"
import type { Slot } from "./Slot.ts"

export interface Asked {
  readonly callId: string
  readonly method: string
  readonly url: string
  readonly headers: Array<Headers.Pair>
  readonly depth: number
  readonly hops: number
  readonly path: ReadonlyArray<string>
  /** It came from outside, not from another node. */
  readonly entry: boolean
}

/** Lets go of a stream: what is left of it in the tables of its connection must not keep the call. */
export const letGo = (stream: Mux.MuxStream): void => {
  stream.onHead = undefined
  stream.onData = undefined
  stream.onEnd = undefined
  stream.onError = undefined
  stream.onCancel = undefined
  stream.onWritable = undefined
}

export abstract class Call {
  readonly asked: Asked
  readonly invocation: Invocation.Invocation
  readonly arrivedAt: number
  readonly deadline: number
  readonly pool: Pool.Pool
  body: Body.Body | undefined
  /** Its place in `Calls`. */
  index = 0
  done = false
  /** The reply's head was taken: what follows can only be cut off, not replaced. */
  replied = false
  start: Hop.Start = "warm"
  initMs = 0
  /** When it was queued or run here, or sent to another node. */
  placedAt = 0
  startedAt = 0
  upstream: Mux.MuxStream | undefined
  slot: Slot | undefined
  /** It was sent to a node without its body, which follows when that node has taken it. */
  offered = false
  /** The node it was sent to. */
  node: string | undefined
  #owed = 0

  constructor(asked: Asked, pool: Pool.Pool, times: { readonly arrivedAt: number; readonly deadline: number }) {
    this.asked = asked
    this.pool = pool
    this.arrivedAt = times.arrivedAt
    this.deadline = times.deadline
    this.invocation = Invocation.make(asked)
  }

  get replayable(): boolean {
    return this.body === undefined || this.body.replayable
  }

  detach(): void {
    const stream = this.upstream
    this.body?.detach()
    this.upstream = undefined
    this.node = undefined
    if (stream !== undefined) letGo(stream)
  }

  /** It is given to an instance here: it will not be refused any more. */
  accept(): void {}

  /** Passes reply data on; the sender gets its credit back when the sink has room. */
  deliver(chunk: Uint8Array): void {
    if (this.done) return
    if (this.data(chunk)) this.upstream?.consumed(chunk.length)
    else this.#owed += chunk.length
  }

  /** The sink has room again. */
  drained(): void {
    const owed = this.#owed
    this.#owed = 0
    if (owed > 0) this.upstream?.consumed(owed)
  }

  /** The reply head of an instance here. False: it is not one. */
  abstract localHead(raw: Uint8Array, told: Hop.Told): boolean
  /** The reply head of another node. False: it is not one. */
  abstract remoteHead(raw: Uint8Array): boolean
  /** False: no room, `drained` will be called. */
  protected abstract data(chunk: Uint8Array): boolean
  abstract finish(trailer: Uint8Array): void
  /** Answers with an error of the platform, or cuts the reply off where it has begun. */
  abstract fail(reason: CallError.Reason, detail: CallError.Detail): void
  /** Gives the call back to the node it came from. */
  abstract refuse(refusal: Invocation.Refusal): void
}
