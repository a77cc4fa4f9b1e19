/** The membership protocol as one deterministic machine: `step(state, input)` appends outputs.
 *
 * PURE. Boundary: no clock, no sockets, no randomness but its own seeded generator.
 * Invariants: M1, M2, M3, M5, M6, M7. */
import type * as Member from "./Member.ts"
import type * as Message from "./Message.ts"
import type * as Params from "./Params.ts"
import type * as Signal from "./Signal.ts"

export type Input = Signal.Input
export type Output = Signal.Output
export type Event = Signal.Event
export type Command = Signal.Command

export interface Options {
  readonly self: Member.Identity
  readonly params: Params.Params
  readonly seed: number
  /** Monotonic milliseconds at the start. */
  readonly now: number
  /** Encoded size of one part with its length prefix (`Packet.sizeOf`). */
  readonly sizeOf: (message: Message.Message) => number
  /** Bytes of header and envelopes around the parts of one datagram. */
  readonly packetOverhead: number
}
