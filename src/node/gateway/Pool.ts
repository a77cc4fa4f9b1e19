/** The instances of one function version on this node, and the calls that wait for one.
 *
 * Boundary: starts, fills, checks and stops instances; where a call goes that finds no place here is decided by
 * `Invocation`, and `Placement` carries calls in and out. Starts of one version are single flight: as long as the queue
 * fits the instances that are on their way, no further one is started. An instance whose loop does not turn gets no more
 * calls: they wait a moment, then another one is started for them.
 * Invariants: M5 (queue and instances are bounded by the version's limits), F1 (a queued call is run, or handed back by
 * `lost` or `failed`). */
import * as Schema from "effect/Schema"
import * as Executor from "../../functions/Executor.ts"
import type * as Invocation from "../../functions/Invocation.ts"
import type * as Link from "../../functions/Link.ts"
import type { Call } from "./Call.ts"
import { Slot } from "./Slot.ts"

/** How often the lease of a start is renewed, milliseconds. */
const renewMs = 100
const firstPauseMs = 200
const longestPauseMs = 5000

export interface Owner {
  readonly executor: Executor.Executor
  readonly now: () => number
  /** what every function sees in its environment beside its own */
  readonly env: Readonly<Record<string, string>>
  readonly bundle: (manifest: Link.Version) => Promise<string>
  readonly post: (message: Exclude<Link.ToControl, { readonly id: number }>) => void
  readonly run: (call: Call, slot: Slot) => void
  /** It answers no more: calls it never looked at may go elsewhere. */
  readonly stuck: (slot: Slot) => void
  /** No instance could be started for the queued call. */
  readonly failed: (call: Call, error: Executor.StartError) => void
  readonly log: (level: "info" | "warn" | "error", message: string, fields: Readonly<Record<string, unknown>>) => void
}

export class Pool {
  readonly manifest: Link.Version
  readonly around: Invocation.Surroundings
  readonly slots: Array<Slot> = []
  readonly queue = new Set<Call>()
  /** Calls that wait for the answer of a look-up; undefined while none is open. */
  locating: Array<Call> | undefined
  /** Calls that wait for another node's start. */
  waiting: Array<Call> = []
  /** Until when another node holds the start lease, as far as we heard. */
  leasedUntil = 0
  /** It is no longer in the catalog. */
  retired = false
  usedAt = 0
  readonly #owner: Owner
  #starting = 0
  #failures = 0
  #failedUntil = 0

  constructor(manifest: Link.Version, owner: Owner, pick: Invocation.Surroundings["pick"]) {
    this.manifest = manifest
    this.#owner = owner
    this.around = { local: () => this.local(), pick }
  }

  get isIdle(): boolean {
    return this.slots.length === 0 && this.#starting === 0 && this.queue.size === 0 && this.locating === undefined
      && this.waiting.length === 0
  }

  get starting(): number {
    return this.#starting
  }

  local(): Invocation.Local {
    const { concurrency, instances } = this.manifest.limits
    if (this.queue.size === 0 && this.place() !== undefined) return "ready"
    if (this.queue.size < this.#awaited()) return "starting"
    if (this.slots.length + this.#starting >= instances) {
      const behind = this.slots.reduce((sum, slot) => slot.stuck ? sum + concurrency - slot.inflight : sum, 0)
      return this.queue.size < behind ? "stuck" : "full"
    }
    const failing = this.#failedUntil > this.#owner.now()
    if (this.slots.length === 0 && this.#starting === 0) return failing ? "failing" : "none"
    return failing ? "full" : "grow"
  }

  /** The instance with a place that has least to do. */
  place(): Slot | undefined {
    const { concurrency } = this.manifest.limits
    let best: Slot | undefined
    for (const slot of this.slots) {
      if (slot.inflight >= concurrency || (best !== undefined && slot.inflight >= best.inflight)) continue
      if (slot.askedAt === 0 || slot.takes(this.#owner.now())) best = slot
    }
    return best
  }

  /** Queues a call, and starts an instance when those on their way have no place for it. */
  join(call: Call): void {
    this.queue.add(call)
    if (this.#isShort()) void this.#start()
  }

  /** The places of those on their way and of those whose answer is a little late. */
  #awaited(): number {
    const { concurrency } = this.manifest.limits
    let places = this.#starting * concurrency
    for (const slot of this.slots) {
      if (slot.askedAt !== 0 && !slot.stuck) places += Math.max(0, concurrency - slot.inflight)
    }
    return places
  }

  /** More calls are queued than will find a place, and another instance may be started. */
  #isShort(): boolean {
    const places = this.slots.length + this.#starting
    return this.queue.size > 0 && places < this.manifest.limits.instances && this.queue.size > this.#awaited()
  }

  release(slot: Slot): void {
    slot.inflight--
    this.usedAt = slot.idleSince = this.#owner.now()
    if (this.queue.size > 0) this.#fill()
  }

  /** Stops what has been idle for its time, asks those for a sign of life whose calls were given up, and goes around
   * those that give none. `late`: our own loop has paused, so that answers may lie unread. */
  sweep(now: number, late: boolean): void {
    for (const slot of this.slots.slice()) {
      if (late) slot.pardon(now)
      if (slot.checkAt <= now) {
        slot.checkAt = Infinity
        this.check(slot)
      }
      if (slot.seemsDead(now)) {
        void this.#kill(slot)
        continue
      }
      if (!slot.stuck && slot.seemsStuck(now)) {
        slot.stuck = true
        if (!slot.noted) {
          this.#owner.log(
            "warn",
            "an instance computes without a break, its next calls go elsewhere",
            this.#fields(slot)
          )
        }
        slot.noted = true
        this.#owner.stuck(slot)
      }
      const idle = slot.inflight === 0 && this.queue.size === 0
      if (idle && (this.retired || now - slot.idleSince >= this.manifest.limits.idleMs)) void this.#stop(slot, "idle")
    }
    if (this.#isShort() && this.#failedUntil <= now) void this.#start()
  }

  /** Ends an instance unless its loop turns. */
  check(slot: Slot): void {
    if (slot.ended !== undefined) return
    slot.doomed = true
    if (slot.askedAt === 0) void this.ask(slot, this.#owner.now())
  }

  /** Asks for a sign of life. */
  async ask(slot: Slot, now: number): Promise<void> {
    slot.askedAt = now
    const alive = await slot.instance.ping()
    if (!alive || slot.ended !== undefined || slot.killed) return
    slot.askedAt = 0
    slot.doomed = false
    this.heard(slot, this.#owner.now())
  }

  /** It gave a sign of life. */
  heard(slot: Slot, now: number): void {
    slot.heard(now)
    if (this.queue.size > 0) this.#fill()
  }

  async stopAll(reason: string): Promise<void> {
    await Promise.all([...this.slots].map((slot) => this.#stop(slot, reason)))
  }

  #fields(slot: Slot): Readonly<Record<string, unknown>> {
    return { function: this.manifest.name, version: this.manifest.version, instance: slot.instance.id }
  }

  async #kill(slot: Slot): Promise<void> {
    slot.killed = true
    this.#remove(slot)
    this.#owner.log("warn", "killed an instance that does not answer", this.#fields(slot))
    await slot.instance.stop("spinning")
  }

  async #stop(slot: Slot, reason: string): Promise<void> {
    this.#remove(slot)
    await slot.instance.stop(reason)
  }

  #remove(slot: Slot): void {
    const at = this.slots.indexOf(slot)
    if (at === -1) return
    this.slots.splice(at, 1)
    if (this.slots.length === 0) this.#owner.post({ _tag: "Stopped", version: this.manifest.version })
  }

  #fill(): void {
    for (const call of this.queue) {
      const slot = this.place()
      if (slot === undefined) return
      this.queue.delete(call)
      this.#owner.run(call, slot)
    }
  }

  async #start(): Promise<void> {
    const { bundle: _, limits, name, version } = this.manifest
    const env = { ...this.#owner.env, ...this.manifest.env }
    this.#starting++
    const renewing = setInterval(() => this.#owner.post({ _tag: "LeaseRenew", version }), renewMs)
    try {
      const bundlePath = await this.#owner.bundle(this.manifest)
      this.#started(await this.#owner.executor.start({ version, name, bundlePath, env, limits }))
    } catch (error) {
      this.#failed(asStartError(error))
    } finally {
      clearInterval(renewing)
    }
  }

  #started(instance: Executor.Instance): void {
    this.#starting--
    this.#failures = 0
    const slot = new Slot(instance, this.#owner.now())
    this.slots.push(slot)
    void instance.exited.then((reason) => this.#exited(slot, reason))
    this.#owner.post({ _tag: "Started", version: this.manifest.version })
    // The call that caused the start tells of it; whoever waited with it was served warm.
    const [first] = this.queue
    if (first !== undefined) {
      first.start = instance.start
      first.initMs = instance.initMs
    }
    this.#fill()
  }

  #exited(slot: Slot, reason: Executor.ExitReason): void {
    slot.ended = reason
    this.#remove(slot)
    if (reason.kind !== "stopped") {
      this.#owner.log("warn", "an instance ended by itself", { ...this.#fields(slot), ...reason })
    }
    this.#refill()
  }

  /** Calls are queued and what they waited for is gone. */
  #refill(): void {
    if (this.slots.length === 0 && this.#isShort()) void this.#start()
  }

  #failed(error: Executor.StartError): void {
    const { name, version } = this.manifest
    this.#starting--
    this.#failures++
    this.#failedUntil = this.#owner.now() + Math.min(longestPauseMs, firstPauseMs * 2 ** (this.#failures - 1))
    this.#owner.log("error", "an instance could not be started", {
      function: name,
      version,
      reason: error.reason,
      cause: error.message
    })
    if (this.slots.length > 0 || this.#starting > 0) return
    this.#owner.post({ _tag: "LeaseEnd", version })
    const queued = [...this.queue]
    this.queue.clear()
    for (const call of queued) this.#owner.failed(call, error)
  }
}

const isStartError = Schema.is(Executor.StartError)

const asStartError = (error: unknown): Executor.StartError =>
  isStartError(error)
    ? error
    : new Executor.StartError({ reason: "crashed", message: error instanceof Error ? error.message : String(error) })
