/** One member as the simulation sees it: its machine, its clock, its place in the network, what waits for it.
 *
 * PURE. Boundary: data and the clock's arithmetic; `Simulation` moves it. */
import type * as Member from "../../swim/Member.ts"
import type * as Swim from "../../swim/Swim.ts"

export interface SimNode {
  readonly index: number
  readonly id: Member.MemberId
  readonly address: Member.Address
  meta: Uint8Array
  /** The present or last run; `undefined` before the first. */
  swim: Swim.Swim | undefined
  up: boolean
  paused: boolean
  /** Ms of processing per datagram. */
  perPacket: number
  /** What arrived while it was stopped or busy, from `queueHead` on. */
  queue: Array<Swim.Input>
  queueHead: number
  busy: boolean
  dropped: number
  /** When it wants to be woken, and the earliest wake-up on the agenda; both in the world's time. */
  wake: number
  /** The same wake-up by its own clock. */
  due: number
  pushed: number
  /** Numbers for accepted streams. */
  streams: number
  readonly pipes: Map<number, End>
  group: number
  isolated: boolean
  egress: number
  ingress: number
  /** When its uplink is free again. */
  freeAt: number
  /** Its clock: `local = base + (t - since) * rate`. */
  since: number
  base: number
  rate: number
  /** How wrong its wall clock is. */
  skew: number
  /** It has said goodbye. */
  left: boolean
  bootedAt: number
  // counted
  packets: number
  bytes: number
  streamBytes: number
}

/** One end of a stream. */
export interface End {
  readonly node: SimNode
  readonly swim: Swim.Swim
  readonly stream: number
  /** When the last thing for this end arrives: streams keep their order. */
  last: number
  ended: boolean
  broken: boolean
  other: End | undefined
}

export const make = (index: number, id: Member.MemberId, address: Member.Address, meta: Uint8Array): SimNode => ({
  index,
  id,
  address,
  meta,
  swim: undefined,
  up: false,
  paused: false,
  perPacket: 0,
  queue: [],
  queueHead: 0,
  busy: false,
  dropped: 0,
  wake: Infinity,
  due: Infinity,
  pushed: Infinity,
  streams: 1,
  pipes: new Map(),
  group: 0,
  isolated: false,
  egress: 0,
  ingress: 0,
  freeAt: 0,
  since: 0,
  base: 0,
  rate: 1,
  skew: 0,
  left: false,
  bootedAt: 0,
  packets: 0,
  bytes: 0,
  streamBytes: 0
})

/** What the member's own clock shows. */
export const local = (self: SimNode, now: number): number => self.base + (now - self.since) * self.rate

/** When the world's clock shows that time of the member's. */
export const world = (self: SimNode, at: number): number => self.since + (at - self.base) / self.rate

/** From now on the clock runs at another rate, after a leap. */
export const adjust = (self: SimNode, now: number, change: { readonly rate?: number; readonly by?: number }): void => {
  self.base = local(self, now) + (change.by ?? 0)
  self.since = now
  self.rate = change.rate ?? self.rate
}

export const waiting = (self: SimNode): number => self.queue.length - self.queueHead

export const enqueue = (self: SimNode, input: Swim.Input, buffer: number): void => {
  if (input._tag === "Received" && waiting(self) >= buffer) {
    self.dropped++
    return
  }
  self.queue.push(input)
}

export const dequeue = (self: SimNode): Swim.Input | undefined => {
  const input = self.queue[self.queueHead]
  if (input === undefined) return undefined
  self.queueHead++
  if (self.queueHead > 1024 && self.queueHead * 2 > self.queue.length) {
    self.queue = self.queue.slice(self.queueHead)
    self.queueHead = 0
  } else if (self.queueHead === self.queue.length) {
    self.queue.length = 0
    self.queueHead = 0
  }
  return input
}
