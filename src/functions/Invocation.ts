/** Where one call runs: the decisions of its way, from arrival until it is placed or given up. PURE.
 *
 * warm here? run -> a warm node of the route cache? forward -> ask the control plane -> forward, start it here, or wait
 * for the node that starts it. A node that got the call from another one runs it or refuses it at once, it never
 * forwards: so a call makes one hop and the limit of two is only ever met by a fault.
 * Boundary: the gateway carries out the actions and tells what came of them; instances, connections, bodies and the
 * deadline are its business. The state is one small object per call, the common actions are constants.
 * Retry: a call goes to another node only when it is known not to have started, or when its method is idempotent, and
 * in both cases only while its body can be sent again.
 * Invariants: F1 (every event leads to an action, and forwards and look-ups per call are bounded). */
import type * as CallError from "./CallError.ts"
import type * as Link from "./Link.ts"

/** Hops a call may have made when a node takes it. */
export const maxHops = 2
/** Calls of functions by functions, one inside the other. */
export const maxDepth = 16
/** Nodes a call is sent to at most. */
export const maxForwards = 4
/** Times the control plane is asked for a call, not counting answers to wait for another node's start: while that node
 * holds the lease nobody else starts the version, and the call's deadline bounds the wait. */
export const maxLookups = 3
/** Instances a call may lose before it is given up. */
export const maxLosses = 2
/** Bytes of a request body kept so that it can be sent to another node. */
export const replayBytes = 64 * 1024

/** What this node can do with a version now. `ready`: an instance has a place; `starting`: the queue of a start has
 * one; `grow`: all instances are full but another may start; `full`: none may; `stuck`: none may, and those there are
 * compute without a break, but have places; `none`: not warm here; `failing`: its start failed a moment ago. */
export type Local = "ready" | "starting" | "grow" | "full" | "stuck" | "none" | "failing"

export interface Invocation {
  /** It arrived here from outside, not from another node. */
  readonly entry: boolean
  readonly idempotent: boolean
  /** Nodes it was sent to. */
  readonly tried: Array<string>
  forwards: number
  lookups: number
  /** Instances it lost before they looked at it. */
  losses: number
  /** The node it was last sent to did not have it warm: look again before the next one. */
  missed: boolean
  /** As last heard, another node is starting the version. */
  awaiting: boolean
}

export const make = (options: { readonly entry: boolean; readonly method: string }): Invocation => ({
  entry: options.entry,
  idempotent: isIdempotent(options.method),
  tried: [],
  forwards: 0,
  lookups: 0,
  losses: 0,
  missed: false,
  awaiting: false
})

export const isIdempotent = (method: string): boolean =>
  method === "GET" || method === "HEAD" || method === "PUT" || method === "DELETE" || method === "OPTIONS"
  || method === "TRACE"

/** What is asked of the surroundings. */
export interface Surroundings {
  readonly local: () => Local
  /** A warm node to use, if one is known. */
  readonly pick: (tried: ReadonlyArray<string>) => Link.Warm | undefined
}

export type Refusal = "busy" | "not-warm" | "draining" | "failing"

export type Action =
  /** Run it on an instance here, now. */
  | { readonly _tag: "Run" }
  /** Queue it for an instance here, starting one if that helps. */
  | { readonly _tag: "Join" }
  /** Start the version here under the lease (or without, after refusals) and queue the call for it. */
  | { readonly _tag: "Start" }
  /** Ask where it is warm; `lease`: and for permission to start it. */
  | { readonly _tag: "Locate"; readonly lease: boolean }
  /** Another node starts it: look again in a moment. */
  | { readonly _tag: "Wait" }
  | { readonly _tag: "Forward"; readonly node: Link.Warm }
  /** Send it back to the node it came from, which places it anew. */
  | { readonly _tag: "Refuse"; readonly refusal: Refusal }
  | { readonly _tag: "Fail"; readonly reason: CallError.Reason }

export type Event =
  | { readonly _tag: "Begin"; readonly draining: boolean }
  | { readonly _tag: "Located"; readonly lease: Link.Lease }
  /** The node did not take it. */
  | { readonly _tag: "Refused"; readonly node: string; readonly refusal: Refusal; readonly replayable: boolean }
  /** The connection to the node could not be had, or broke. `sent`: the call had been sent on it. */
  | { readonly _tag: "PeerLost"; readonly node: string; readonly sent: boolean; readonly replayable: boolean }
  /** The instance it was queued for is gone, or went before it looked at the call. */
  | { readonly _tag: "InstanceLost"; readonly replayable: boolean }

const run: Action = { _tag: "Run" }
const join: Action = { _tag: "Join" }
const start: Action = { _tag: "Start" }
const wait: Action = { _tag: "Wait" }
const locateToStart: Action = { _tag: "Locate", lease: true }
const locateToForward: Action = { _tag: "Locate", lease: false }
const fail = (reason: CallError.Reason): Action => ({ _tag: "Fail", reason })
const refuse = (refusal: Refusal): Action => ({ _tag: "Refuse", refusal })
const refusals = {
  busy: refuse("busy"),
  "not-warm": refuse("not-warm"),
  draining: refuse("draining"),
  failing: refuse("failing")
}

export const begin = (draining: boolean): Event => draining ? beginDraining : beginServing
const beginDraining: Event = { _tag: "Begin", draining: true }
const beginServing: Event = { _tag: "Begin", draining: false }

/** The rules every call must keep before it is placed; undefined when it does. */
export const breach = (call: {
  readonly self: string
  readonly hops: number
  readonly depth: number
  readonly path: ReadonlyArray<string>
}): CallError.Reason | undefined =>
  call.hops > maxHops || call.depth > maxDepth || call.path.includes(call.self) ? "loop" : undefined

export const step = (self: Invocation, event: Event, around: Surroundings): Action => {
  switch (event._tag) {
    case "Begin":
      return self.entry ? place(self, around) : take(around.local(), event.draining)
    case "Located":
      return located(self, event.lease, around)
    case "Refused":
      return refused(self, event, around)
    case "PeerLost":
      self.tried.push(event.node)
      if (event.sent && !self.idempotent) return fail("peer-lost")
      if (!event.replayable) return fail("peer-lost")
      return place(self, around)
    case "InstanceLost":
      if (!event.replayable || ++self.losses > maxLosses) return fail("crashed")
      return self.entry ? place(self, around) : take(around.local(), false)
  }
}

/** A call of another node: run it, queue it, or give it back. */
const take = (local: Local, draining: boolean): Action => {
  switch (local) {
    case "ready":
      return draining ? refusals.draining : run
    case "starting":
    case "grow":
      return draining ? refusals.draining : join
    case "full":
    case "stuck":
      return draining ? refusals.draining : refusals.busy
    case "failing":
      return refusals.failing
    case "none":
      return refusals["not-warm"]
  }
}

/** A call of our own: here if that is warm, else where it is warm. */
const place = (self: Invocation, around: Surroundings): Action => {
  const local = around.local()
  const here = runHere(local)
  if (here !== undefined) return here
  const there = forward(self, around)
  if (there !== undefined) return there
  if (self.lookups < maxLookups) {
    self.lookups++
    return local === "full" || local === "stuck" ? locateToForward : locateToStart
  }
  return otherwise(local)
}

/** No other node has a place for it. */
const otherwise = (local: Local): Action => {
  switch (local) {
    case "full":
      return fail("concurrency")
    case "stuck":
      return join
    default:
      return start
  }
}

const runHere = (local: Local): Action | undefined => {
  switch (local) {
    case "ready":
      return run
    case "starting":
    case "grow":
      return join
    case "failing":
      return fail("start-failed")
    default:
      return undefined
  }
}

const forward = (self: Invocation, around: Surroundings): Action | undefined => {
  if (self.forwards >= maxForwards) return undefined
  const node = around.pick(self.tried)
  if (node === undefined) return undefined
  self.forwards++
  self.missed = false
  return { _tag: "Forward", node }
}

const located = (self: Invocation, lease: Link.Lease, around: Surroundings): Action => {
  const local = around.local()
  const here = runHere(local)
  if (here !== undefined) return here
  if (lease === "granted" && local === "none") return start
  self.awaiting = lease === "wait"
  if (self.awaiting) self.lookups = Math.max(0, self.lookups - 1)
  // The node that starts it may not know of its lease yet: the call that reached it too early waits a moment.
  if (lease === "wait" && self.missed) {
    self.missed = false
    return wait
  }
  const there = forward(self, around)
  if (there !== undefined) return there
  return lease === "wait" && local === "none" ? wait : otherwise(local)
}

const refused = (self: Invocation, event: Event & { readonly _tag: "Refused" }, around: Surroundings): Action => {
  if (!event.replayable) return fail("no-capacity")
  if (event.refusal === "failing") return fail("start-failed")
  if (event.refusal === "not-warm") {
    self.missed = true
    // It came to the starter too early: that is no attempt.
    if (self.awaiting) self.forwards--
    return place(self, around)
  }
  self.tried.push(event.node)
  const action = place(self, around)
  if (action._tag !== "Locate" || event.refusal !== "busy") return action
  // Every warm node we know is busy: the warm set is too small, so it grows here.
  return otherwise(around.local())
}
