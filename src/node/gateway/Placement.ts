/** Moves calls: carries out what `Invocation` decides, and tells it what came of it.
 *
 * Boundary: instances are `Pool`'s, connections `PeerPool`'s, answers the call's own. Everything here happens in
 * callbacks of the event loop, without a promise or fiber per call.
 * Invariants: F1 (a call in `calls` is settled exactly once: by an answer, an error, or its client going away), M5 (at
 * most `maxCalls` at once; deadlines of all are looked at every `sweepMs`). */
import * as CallError from "../../functions/CallError.ts"
import type * as Executor from "../../functions/Executor.ts"
import * as Hop from "../../functions/Hop.ts"
import * as Invocation from "../../functions/Invocation.ts"
import type * as Link from "../../functions/Link.ts"
import type * as Mux from "../../functions/Mux.ts"
import * as RouteCache from "../../functions/RouteCache.ts"
import type { Call } from "./Call.ts"
import { Calls } from "./Calls.ts"
import type { ControlLink } from "./ControlLink.ts"
import type { GatewayMetrics } from "./GatewayMetrics.ts"
import type { PeerPool } from "./PeerPool.ts"
import * as Pool from "./Pool.ts"
import type { Slot } from "./Slot.ts"

export interface Options {
  readonly self: string
  readonly executor: Executor.Executor
  readonly link: ControlLink
  readonly peers: PeerPool
  readonly metrics: GatewayMetrics
  readonly now: () => number
  readonly log: Pool.Owner["log"]
  readonly locateMs: number
  readonly doubtMs: number
  readonly waitMs: number
  readonly leaseMs: number
  readonly bundleMs: number
  readonly maxCalls: number
  readonly routes: RouteCache.RouteCache
}

/** A bundle or an exit may be told a little later than the stream's error that it explains. */
const explainMs = 200

/** A pause of our own loop from which on nobody's silence counts, milliseconds: timers run before what has come is read. */
const lateMs = 120

export class Placement implements Pool.Owner {
  readonly executor: Executor.Executor
  readonly now: () => number
  readonly log: Pool.Owner["log"]
  readonly calls = new Calls()
  readonly pools = new Map<string, Pool.Pool>()
  draining = false
  env: Readonly<Record<string, string>> = {}
  readonly #options: Options
  #sweptAt = 0
  #emptied: Array<() => void> = []

  constructor(options: Options) {
    this.#options = options
    this.executor = options.executor
    this.now = options.now
    this.log = options.log
  }

  get isFull(): boolean {
    return this.calls.size >= this.#options.maxCalls
  }

  pool(manifest: Link.Version): Pool.Pool {
    const known = this.pools.get(manifest.version)
    if (known !== undefined) return known
    const pool = new Pool.Pool(
      manifest,
      this,
      (tried) => RouteCache.pick(this.#options.routes, manifest.version, { load: this.#options.peers.load, tried })
    )
    pool.usedAt = this.now()
    this.pools.set(manifest.version, pool)
    return pool
  }

  begin(call: Call): void {
    this.calls.add(call)
    this.#step(call, Invocation.begin(this.draining))
  }

  /** Ends a call that has been answered (`ok`), failed or abandoned. */
  settle(call: Call, outcome: string): void {
    if (call.done) return
    call.done = true
    this.calls.remove(call)
    this.#leave(call)
    this.#options.metrics.call(outcome, call.start, (this.now() - call.arrivedAt) / 1000)
    if (this.calls.size === 0) { for (const emptied of this.#emptied.splice(0)) emptied() }
  }

  fail(call: Call, reason: CallError.Reason, detail: CallError.Detail = {}): void {
    if (call.done) return
    call.upstream?.cancel()
    const idempotent = call.invocation.idempotent
    call.fail(reason, { ...detail, idempotent })
    this.settle(call, reason)
  }

  /** Its client, or the node it came from, has gone. */
  abandon(call: Call): void {
    if (call.done) return
    call.upstream?.cancel()
    // It may still be running, for ever: look when its time is up.
    if (call.slot !== undefined) call.slot.checkAt = Math.min(call.slot.checkAt, call.deadline)
    this.settle(call, "aborted")
  }

  /** Once no call is left. */
  emptied(): Promise<void> {
    return this.calls.size === 0 ? Promise.resolve() : new Promise((done) => this.#emptied.push(done))
  }

  sweep(): void {
    const now = this.now()
    const late = now - this.#sweptAt > lateMs
    this.#sweptAt = now
    this.calls.forEach((call) => {
      if (call.deadline > now) return
      if (call.slot !== undefined) call.pool.check(call.slot)
      this.fail(call, "timeout")
    })
    for (const [version, pool] of this.pools) {
      pool.sweep(now, late)
      if (pool.isIdle && (pool.retired || now - pool.usedAt > pool.manifest.limits.idleMs)) this.pools.delete(version)
    }
  }

  /** Versions that are no longer in the catalog end when their calls have. */
  retire(kept: ReadonlySet<string>): void {
    for (const [version, pool] of this.pools) pool.retired = !kept.has(version)
  }

  #step(call: Call, event: Invocation.Event): void {
    if (call.done) return
    const { pool } = call
    const action = Invocation.step(call.invocation, event, pool.around)
    switch (action._tag) {
      case "Run": {
        const slot = pool.place()
        call.placedAt = this.now()
        return slot === undefined ? pool.join(call) : this.run(call, slot)
      }
      case "Join":
      case "Start":
        call.placedAt = this.now()
        return pool.join(call)
      case "Locate":
        return this.#locate(call, action.lease)
      case "Wait":
        return this.#wait(call)
      case "Forward":
        return this.#forward(call, action.node)
      case "Refuse":
        return this.#refuse(call, action.refusal)
      case "Fail":
        return this.fail(call, action.reason)
    }
  }

  /** Gives the call's slot back and forgets its stream. */
  #leave(call: Call): void {
    const { pool, slot } = call
    call.detach()
    if (pool.queue.size > 0) pool.queue.delete(call)
    if (slot === undefined) return
    call.slot = undefined
    pool.release(slot)
  }

  #refuse(call: Call, refusal: Invocation.Refusal): void {
    // It may have come ahead of the answer that lets us start: the look-up that is open decides.
    if (refusal === "not-warm" && call.pool.locating !== undefined) {
      call.pool.locating.push(call)
      return
    }
    this.#options.metrics.refused++
    call.refuse(refusal)
    this.settle(call, "refused")
  }

  // --- on an instance here

  run(call: Call, slot: Slot): void {
    const now = this.now()
    if (slot.isQuiet(now)) void call.pool.ask(slot, now)
    slot.inflight++
    call.slot = slot
    call.accept()
    call.startedAt = now
    const { callId, depth, headers, method, url } = call.asked
    const timeoutMs = Math.max(1, Math.ceil(call.deadline - now))
    const stream = slot.instance.call({ callId, method, url, headers, timeoutMs, depth })
    call.upstream = stream
    stream.onHead = (raw) => this.#localHead(call, raw)
    stream.onData = (chunk) => call.deliver(chunk)
    stream.onEnd = (trailer) => this.#ended(call, trailer)
    stream.onError = (code, message) => this.#localError(call, slot, { code, message })
    if (call.body === undefined) stream.end()
    else call.body.attach(stream)
  }

  /** Moves the calls that may be sent twice. The others wait until it goes on or is killed: if it goes on, it runs them. */
  stuck(slot: Slot): void {
    this.calls.forEach((call) => {
      const { idempotent, losses } = call.invocation
      if (call.slot !== slot || call.replied || !slot.ignored(call.startedAt)) return
      if (!idempotent || !call.replayable || losses >= Invocation.maxLosses) return
      call.upstream?.cancel()
      this.#lost(call)
    })
  }

  #lost(call: Call): void {
    this.#options.metrics.retried++
    const { replayable } = call
    this.#leave(call)
    this.#step(call, { _tag: "InstanceLost", replayable })
  }

  #localHead(call: Call, raw: Uint8Array): void {
    if (call.done) return
    const now = this.now()
    if (call.slot !== undefined) call.pool.heard(call.slot, now)
    const told = {
      start: call.start,
      node: this.#options.self,
      queue: Math.max(0, call.startedAt - call.placedAt - call.initMs),
      init: call.initMs,
      exec: now - call.startedAt
    }
    if (call.localHead(raw, told)) call.replied = true
    else this.fail(call, "bad-reply", { message: "the function's status or headers cannot be sent" })
  }

  #ended(call: Call, trailer: Uint8Array): void {
    if (call.done) return
    if (!call.replied) return this.fail(call, "bad-reply", { message: "the answer has no head" })
    call.finish(trailer)
    this.settle(call, "ok")
  }

  #localError(call: Call, slot: Slot, error: { readonly code: string; readonly message: string }): void {
    if (call.done) return
    if (error.code === "handler-error") {
      const { name, version } = call.pool.manifest
      const { callId } = call.asked
      this.log("error", "a function failed", { function: name, version, callId, cause: error.message })
      return this.fail(call, "handler-error")
    }
    if (error.code === "head-too-large") return this.fail(call, "bad-reply")
    if (error.code === "capacity") return this.fail(call, "no-capacity")
    const unread = slot.killed && slot.ignored(call.startedAt)
    if (!call.replied && (unread || (slot.killed && call.invocation.idempotent))) return this.#lost(call)
    if (CallError.isReason(error.code)) return this.fail(call, error.code)
    if (slot.ended !== undefined) return this.#crashed(call, slot.ended)
    const timer = setTimeout(() => this.fail(call, "crashed"), explainMs)
    void slot.instance.exited.then((reason) => {
      clearTimeout(timer)
      this.#crashed(call, reason)
    })
  }

  #crashed(call: Call, reason: Executor.ExitReason): void {
    this.fail(call, reason.kind === "stopped" ? "crashed" : reason.kind)
  }

  failed(call: Call, error: Executor.StartError): void {
    const full = error.reason === "capacity" || error.reason === "closed"
    if (!call.asked.entry && full) return this.#refuse(call, "busy")
    const reason = full ? "no-capacity" : "start-failed"
    const message = full
      ? undefined
      : `the function does not start (${error.reason}); the log of ${this.#options.self} says why`
    this.fail(call, reason, { message })
  }

  // --- asking the control plane

  async bundle(manifest: Link.Version): Promise<string> {
    const { link, bundleMs } = this.#options
    const answer = await new Promise<Link.ToGateway | undefined>((done) =>
      link.ask({ _tag: "Bundle", digest: manifest.bundle }, bundleMs, done)
    )
    if (answer?._tag === "Bundled" && answer.path !== undefined) return answer.path
    throw new TypeError(answer?._tag === "Bundled" ? answer.message : "the bundle could not be had in time")
  }

  post(message: Parameters<Pool.Owner["post"]>[0]): void {
    this.#options.link.post(message)
  }

  #locate(call: Call, lease: boolean): void {
    const { pool } = call
    if (pool.locating !== undefined) {
      pool.locating.push(call)
      return
    }
    const waiting = pool.locating = [call]
    this.#ask(pool, lease, (answer) => {
      pool.locating = undefined
      const granted = lease && answer === "granted"
      for (const each of waiting) {
        if (each.invocation.entry) this.#step(each, { _tag: "Located", lease: answer })
        else this.#step(each, Invocation.begin(this.draining))
      }
      // Everyone who wanted it has gone: another node may have the lease.
      if (granted && pool.isIdle) this.post({ _tag: "LeaseEnd", version: pool.manifest.version })
    })
  }

  #ask(pool: Pool.Pool, lease: boolean, done: (lease: Link.Lease) => void, again = false): void {
    const { doubtMs, link, locateMs, metrics, routes, self } = this.#options
    const { version } = pool.manifest
    const askedAt = this.now()
    metrics.lookups++
    link.ask({ _tag: "Locate", version, lease }, locateMs, (answer) => {
      const now = this.now()
      if (answer?._tag !== "Located") {
        metrics.lookupsTimedOut++
        // Nobody answers: run here, unless we know that another node has the lease.
        return done(now < pool.leasedUntil ? "wait" : "granted")
      }
      // A late permission is mostly that of a control plane that could ask nobody in time, as on the first look-ups of
      // all nodes at once. Its connections are there by now: asking once more saves starting the version everywhere.
      if (answer.lease === "granted" && lease && !again && now - askedAt >= doubtMs) {
        return this.#ask(pool, lease, done, true)
      }
      if (answer.lease === "wait") pool.leasedUntil = now + this.#options.leaseMs
      const nodes = answer.nodes.filter((node) => node.id !== self)
      // In the background nothing is forgotten: nobody may have been there to answer, and a refusal tells for sure.
      if (lease || nodes.length > 0) RouteCache.set(routes, version, nodes, now)
      done(answer.lease)
    })
  }

  /** Another node starts it: all calls that wait for it look again together. */
  #wait(call: Call): void {
    const { pool } = call
    pool.waiting.push(call)
    if (pool.waiting.length > 1) return
    setTimeout(() => {
      const waiting = pool.waiting
      pool.waiting = []
      for (const each of waiting) if (!each.done) this.#locate(each, true)
    }, this.#options.waitMs)
  }

  // --- on another node

  #forward(call: Call, node: Link.Warm): void {
    const { metrics, peers, routes, self } = this.#options
    const { pool } = call
    const { version } = pool.manifest
    const now = this.now()
    if (RouteCache.isStale(routes, version, now) && pool.locating === undefined) this.#refresh(pool)
    call.node = node.id
    call.startedAt = call.placedAt = now
    call.offered = call.body?.large === true
    metrics.forwarded++
    const { callId, depth, headers, hops, method, path, url } = call.asked
    const head = Hop.encodeRequest({
      callId,
      version,
      method,
      url,
      headers,
      timeoutMs: Math.max(1, Math.ceil(call.deadline - now)),
      depth,
      hops: hops + 1,
      path: [...path, self],
      large: call.offered
    })
    peers.open(node, head, (stream) => this.#opened(call, node, stream))
  }

  #refresh(pool: Pool.Pool): void {
    const { version } = pool.manifest
    this.#ask(pool, false, (lease) => {
      if (lease === "granted" && pool.isIdle) this.post({ _tag: "LeaseEnd", version })
    })
  }

  #opened(call: Call, node: Link.Warm, stream: Mux.MuxStream | undefined): void {
    if (call.done || call.node !== node.id) {
      stream?.cancel()
      return
    }
    if (stream === undefined) return this.#peerLost(call, node, false)
    call.upstream = stream
    stream.onHead = (raw) => this.#remoteHead(call, raw)
    stream.onData = (chunk) => call.deliver(chunk)
    stream.onEnd = (trailer) => this.#ended(call, trailer)
    stream.onCancel = () => this.#peerLost(call, node, true)
    stream.onError = (code, message) => this.#remoteError(call, node, { code, message })
    if (call.body === undefined) stream.end()
    else if (call.offered) this.#offer(call, stream)
    else call.body.attach(stream)
  }

  /** A large body is sent once the other node has taken the call; the reply's head then comes as data. */
  #offer(call: Call, stream: Mux.MuxStream): void {
    const reader = new Hop.PrefixReader()
    stream.onHead = () => call.body?.attach(stream)
    stream.onData = (chunk) => {
      if (call.done) return
      const read = reader.push(chunk)
      if (read === "more") return stream.consumed(chunk.length)
      if (read === "broken") return this.fail(call, "bad-reply")
      stream.consumed(chunk.length - read.rest.length)
      stream.onData = (next) => call.deliver(next)
      this.#remoteHead(call, read.head)
      if (read.rest.length > 0) call.deliver(read.rest)
    }
  }

  #remoteHead(call: Call, raw: Uint8Array): void {
    if (call.done) return
    if (call.remoteHead(raw)) call.replied = true
    else this.fail(call, "bad-reply")
  }

  #remoteError(call: Call, node: Link.Warm, error: { readonly code: string; readonly message: string }): void {
    if (call.done) return
    const verdict = Hop.readCode(error.code)
    switch (verdict._tag) {
      case "Lost":
        return this.#peerLost(call, node, true)
      case "Failed":
        // It closes while it runs our call: as if its connection had broken.
        if (verdict.reason === "draining") return this.#peerLost(call, node, true)
        return this.fail(call, CallError.isReason(verdict.reason) ? verdict.reason : "peer-lost", {
          path: verdict.reason === "loop" ? error.message.split(" ").slice(0, 16) : undefined
        })
      case "Refused": {
        if (verdict.refusal === "not-warm") RouteCache.forget(this.#options.routes, call.pool.manifest.version, node.id)
        this.#options.metrics.retried++
        const { replayable } = call
        this.#leave(call)
        return this.#step(call, { _tag: "Refused", node: node.id, refusal: verdict.refusal, replayable })
      }
    }
  }

  #peerLost(call: Call, node: Link.Warm, sent: boolean): void {
    if (call.done) return
    if (call.replied) return this.fail(call, "peer-lost")
    this.#options.metrics.retried++
    const { replayable } = call
    this.#leave(call)
    this.#step(call, { _tag: "PeerLost", node: node.id, sent, replayable })
  }
}
