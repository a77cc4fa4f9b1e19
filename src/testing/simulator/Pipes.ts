/** Streams between members: ordered, reliable while both ends reach each other, slower when datagrams get lost.
 *
 * PURE. Boundary: numbers of ends and what arrives at them; when it arrives is asked of the simulation.
 * A stream whose path is cut goes silent: the machines give up by their own timeouts. */
import type * as Member from "../../swim/Member.ts"
import type * as Swim from "../../swim/Swim.ts"
import type { End, SimNode } from "./SimNode.ts"

/** What streams need of the world. */
export interface World {
  readonly now: number
  readonly find: (address: Member.Address) => SimNode | undefined
  readonly reaches: (from: SimNode, to: SimNode) => boolean
  /** One-way delay of so many bytes in ms, with lost segments sent again. */
  readonly carry: (from: SimNode, to: SimNode, bytes: number) => number
  /** Gives the input to the end at that time. */
  readonly later: (at: number, from: SimNode, end: End, input: Swim.Input) => void
}

const dialTimeout = 3000
/** Handshake and headers of a segment, roughly. */
const segment = 40
/** Keeps what arrives "at once" in order. */
const tick = 1e-6

const end = (node: SimNode, swim: Swim.Swim, stream: number): End => ({
  node,
  swim,
  stream,
  last: 0,
  ended: false,
  broken: false,
  other: undefined
})

const deliver = (world: World, from: End, input: Swim.Input, bytes: number): void => {
  const { other: to } = from
  if (to === undefined) return
  to.last = Math.max(to.last + tick, world.now + world.carry(from.node, to.node, bytes))
  world.later(to.last, from.node, to, input)
}

/** `OpenStream`: asks for a connection; its answer is `StreamOpened` or `StreamClosed` with an error. */
export const dial = (world: World, node: SimNode, swim: Swim.Swim, stream: number, to: Member.Address): void => {
  const near = end(node, swim, stream)
  const target = world.find(to)
  const refuse = (error: string, after: number): void =>
    world.later(world.now + after, node, near, { _tag: "StreamClosed", now: 0, stream, error })
  if (target === undefined) return refuse("refused", 0.1)
  if (!world.reaches(node, target) || !world.reaches(target, node)) return refuse("timeout", dialTimeout)
  const there = world.carry(node, target, segment)
  if (!target.up || target.swim === undefined) return refuse("refused", there + world.carry(target, node, segment))
  const far = end(target, target.swim, target.streams)
  target.streams += 2
  near.other = far
  far.other = near
  node.pipes.set(stream, near)
  target.pipes.set(far.stream, far)
  far.last = world.now + there
  near.last = far.last + world.carry(target, node, segment)
  const { address: remote } = node
  world.later(far.last, node, far, { _tag: "StreamOpened", now: 0, stream: far.stream, remote, initiator: false })
  world.later(near.last, target, near, { _tag: "StreamOpened", now: 0, stream, remote: to, initiator: true })
}

const forget = (self: End): void => {
  self.node.pipes.delete(self.stream)
}

/** `StreamSend`: when both sides have ended the stream is over. */
export const send = (
  world: World,
  node: SimNode,
  output: Extract<Swim.Output, { readonly _tag: "StreamSend" }>,
  bytes: number
): void => {
  const near = node.pipes.get(output.stream)
  if (near === undefined || near.ended) return
  const { other: far } = near
  if (far === undefined) return
  if (output.messages.length > 0) {
    node.streamBytes += bytes
    deliver(world, near, { _tag: "StreamReceived", now: 0, stream: far.stream, messages: output.messages }, bytes)
  }
  if (!output.end) return
  near.ended = true
  if (!far.ended) return
  deliver(world, near, { _tag: "StreamClosed", now: 0, stream: far.stream }, segment)
  deliver(world, far, { _tag: "StreamClosed", now: 0, stream: near.stream }, segment)
  forget(near)
  forget(far)
}

/** `CloseStream`: ends both directions. */
export const close = (world: World, node: SimNode, stream: number): void => {
  const near = node.pipes.get(stream)
  if (near === undefined) return
  const { other: far } = near
  forget(near)
  if (far === undefined) return
  forget(far)
  deliver(world, near, { _tag: "StreamClosed", now: 0, stream: far.stream }, segment)
}

/** The process is gone: its peers see a reset where they can be reached. */
export const abort = (world: World, node: SimNode): void => {
  for (const near of node.pipes.values()) {
    const { other: far } = near
    if (far === undefined) continue
    forget(far)
    deliver(world, near, { _tag: "StreamClosed", now: 0, stream: far.stream, error: "reset" }, segment)
  }
  node.pipes.clear()
}
