/** One run of a plan from its start to its end: what happened, what was measured, what was wrong.
 *
 * PURE. Boundary: a run can go slice by slice, so that whoever drives it can show it live and stop it.
 * Invariants: M4 (after the last fault all views become equal in time, and every queue becomes empty: M5). */
import * as Result from "effect/Result"
import * as Params from "../../swim/Params.ts"
import type * as Codec from "../../wire/Codec.ts"
import { Invariants, type Violation } from "./Invariants.ts"
import { Measures, type Point, type Samples } from "./Measures.ts"
import * as Plan from "./Plan.ts"
import { type Identity, Simulation, type Step } from "./Simulation.ts"

export interface Options {
  readonly plan: Plan.Plan
  /** Default: names n0, n1 ... and addresses below 10.0.0.0. */
  readonly identity?: ((index: number) => Identity) | undefined
  /** Default: binary. */
  readonly codec?: Codec.Codec | undefined
  /** Encode and decode every datagram for real. */
  readonly bytes?: boolean | undefined
  /** Bytes of the envelope around a packet. Default: one in clear. */
  readonly envelope?: number | undefined
  /** Check the invariants at every step. Default: true. */
  readonly check?: boolean | undefined
  /** In place of the protocol machine, to prove that a defect is seen. */
  readonly step?: Step | undefined
  /** The run ends with the first violation. */
  readonly stopAtViolation?: boolean | undefined
  /** How often views are compared. Unit ms, default 100. */
  readonly every?: number | undefined
}

export interface Outcome {
  readonly plan: Plan.Plan
  readonly samples: Samples
  readonly falseDeaths: number
  readonly falseDeathViews: number
  readonly suspicions: number
  readonly memberHours: number
  readonly packetsPerSecond: number
  readonly bytesPerSecond: number
  readonly streamBytesPerSecond: number
  /** Virtual ms. */
  readonly lasted: number
  readonly points: ReadonlyArray<Point>
  readonly violations: ReadonlyArray<Violation>
  readonly rejected: ReadonlyArray<readonly [string, number]>
  readonly undelivered: ReadonlyArray<readonly [string, number]>
  readonly steps: number
  readonly trace: number
}

/** Most points kept of the way the views went. */
const mostPoints = 2000

export class Trial {
  readonly simulation: Simulation
  readonly measures: Measures
  readonly invariants: Invariants
  /** Virtual ms after which M4 is broken. */
  readonly bound: number
  private readonly plan: Plan.Plan
  private readonly every: number
  private readonly lastFault: number
  /** When the plan is over: only convergence is waited for. */
  private readonly over: number
  private readonly stopAtViolation: boolean
  private readonly points: Array<Point> = []
  private memberMs = 0
  private turns = 0
  private calmSince = -1
  private finished = false
  private keep = 1
  private looks = 0

  /** A defect when the plan is impossible: ask `Plan.problem` first. */
  constructor(options: Options) {
    const { plan } = options
    const params = Result.getOrThrow(Plan.params(plan))
    this.plan = plan
    this.every = options.every ?? 100
    this.stopAtViolation = options.stopAtViolation ?? false
    this.measures = new Measures(plan)
    this.invariants = new Invariants(params.datagramBudget)
    this.simulation = new Simulation({
      plan,
      params,
      identity: options.identity,
      codec: options.codec,
      bytes: options.bytes,
      envelope: options.envelope,
      step: options.step,
      observers: options.check === false ? [this.measures] : [this.invariants, this.measures]
    })
    this.measures.attach(this.simulation)
    this.invariants.attach(this.simulation)
    this.lastFault = Math.max(0, ...plan.actions.map(({ at }) => at))
    this.over = Math.max(plan.duration, this.lastFault)
    // M4: two recovery intervals (capped at one exchange interval, with jitter) and three exchange intervals.
    const n = Plan.size(plan)
    this.bound = this.over +
      (2 * params.pushPullInterval + 3 * Params.pushPullEvery(params, n)) * 1.25
  }

  get done(): boolean {
    return this.finished
  }

  /** The views as they are now. */
  look(): Point {
    return this.measures.look()
  }

  /** Runs on for up to so many virtual ms; true when the run is over. */
  advance(slice: number): boolean {
    const until = this.simulation.now + slice
    // Views are compared at the same times, however the run is cut into slices (M7).
    while (!this.finished && this.simulation.now < until) this.turn(++this.turns * this.every)
    return this.finished
  }

  private turn(until: number): void {
    const { simulation } = this
    const began = simulation.now
    const running = simulation.running
    try {
      simulation.run(until)
    } catch (defect) {
      // The machine itself refuses what would break an invariant.
      const what = defect instanceof Error ? defect.message : "defect"
      this.invariants.violate(idOf(what), what)
      this.finished = true
    }
    this.memberMs += (simulation.now - began) * running
    this.note()
    if (this.stopAtViolation && this.invariants.violations.length > 0) return this.end()
    const { converges, untilKnown } = this.plan
    if (untilKnown && simulation.now > this.lastFault && this.measures.settled) {
      this.measures.sample("known", this.measures.lastKnown - this.lastFault)
      this.end()
    } else if (simulation.now >= this.over) this.onOver(converges)
  }

  private note(): void {
    if (this.looks++ % this.keep !== 0) return
    this.points.push(this.measures.look())
    if (this.points.length < mostPoints) return
    this.keep *= 2
    for (let i = 0; i * 2 < this.points.length; i++) {
      const point = this.points[i * 2]
      if (point !== undefined) this.points[i] = point
    }
    this.points.length = Math.ceil(this.points.length / 2)
  }

  private onOver(converges: boolean): void {
    const { simulation } = this
    if (!converges) {
      const { unfinished } = this.measures
      if (this.plan.untilKnown && unfinished > 0) {
        this.invariants.violate("M4", `${unfinished} changes are not known to all`)
      }
      return this.end()
    }
    const calm = simulation.isConverged()
    if (!calm) this.calmSince = -1
    else if (this.calmSince < 0) this.calmSince = simulation.now
    if (calm && this.queued() === 0) {
      this.measures.sample("converged", this.calmSince - this.over)
      return this.end()
    }
    if (simulation.now < this.bound) return
    const { agreed, views } = this.look()
    if (!calm) {
      const share = (100 * agreed).toFixed(1)
      this.invariants.violate(
        "M4",
        `${views} different views, ${share} % agree, ${this.seconds()} after the last fault`
      )
    } else {this.invariants.violate(
        "M5",
        `${this.queued()} messages still queued ${this.seconds()} after the last fault`
      )}
    this.end()
  }

  private seconds(): string {
    return `${((this.simulation.now - this.over) / 1000).toFixed(1)} s`
  }

  private queued(): number {
    let sum = 0
    for (const { left, swim, up } of this.simulation.nodes) {
      if (up && !left && swim !== undefined) sum += swim.updates.byKey.size + swim.broadcasts.byKey.size
    }
    return sum
  }

  private end(): void {
    this.finished = true
  }

  outcome(): Outcome {
    const { measures, memberMs, simulation } = this
    const total = (of: (node: Simulation["nodes"][number]) => number): number =>
      simulation.nodes.reduce((sum, node) => sum + of(node), 0)
    const perSecond = (count: number): number => memberMs === 0 ? 0 : count / (memberMs / 1000)
    return {
      plan: this.plan,
      samples: measures.samples,
      falseDeaths: measures.falseDeaths,
      falseDeathViews: measures.falseDeathViews,
      suspicions: measures.suspicions,
      memberHours: memberMs / 3_600_000,
      packetsPerSecond: perSecond(total((node) => node.packets)),
      bytesPerSecond: perSecond(total((node) => node.bytes)),
      streamBytesPerSecond: perSecond(total((node) => node.streamBytes)),
      lasted: simulation.now,
      points: this.points,
      violations: this.invariants.violations,
      rejected: [...simulation.rejected],
      undelivered: [...simulation.undelivered],
      steps: simulation.steps,
      trace: simulation.trace
    }
  }
}

const idOf = (what: string): Violation["invariant"] => {
  const id = what.slice(0, 2)
  return id === "M1" || id === "M2" || id === "M3" || id === "M4" || id === "M5" || id === "M6" ? id : "M5"
}

/** The whole run at once. */
export const run = (options: Options): Outcome => {
  const trial = new Trial(options)
  while (!trial.advance(60_000)) continue
  return trial.outcome()
}
