/** One seed of the control plane: a cluster under work and faults, then quiet, and what was wrong.
 *
 * Job: deploys, removals, registrations, look-ups and handovers at random nodes all the time; rounds of faults; the
 * return of an isolated node; then repair, and everything must become well by itself.
 * Boundary: the same seed is the same run. `ControlChecks` judges what happens at the doors, this file what is left. */
import * as Effect from "effect/Effect"
import * as Reign from "../../../src/cluster/Reign.ts"
import * as CatalogState from "../../../src/functions/CatalogState.ts"
import * as Member from "../../../src/swim/Member.ts"
import { ControlChecks, type Deploy, show } from "./ControlChecks.ts"
import { ControlCluster, type Process } from "./ControlCluster.ts"
import { ControlFaults, machines, networks } from "./ControlFaults.ts"
import type { Mutant } from "./Doors.ts"

export interface Options {
  readonly seed: number
  readonly mutant?: Mutant | undefined
  /** what may happen to machines; by default everything */
  readonly machines?: ReadonlyArray<(typeof machines)[number]> | undefined
}

export interface Outcome {
  readonly violations: ReadonlyArray<string>
  readonly trace: ReadonlyArray<string>
  readonly faults: ReadonlyArray<string>
  readonly acknowledged: number
  readonly counts: ControlChecks["counts"]
  /** virtual milliseconds until everything was well after the last fault, and of the whole run */
  readonly healedAfter: number
  readonly lasted: number
  readonly events: number
}

/** Everything must be well this long after the last fault, for clocks that run right. */
const healWithin = 60_000
/** A new master knows what was acknowledged. */
const knownWithin = 5000
const tablesWithin = 1000
const rounds = 4

class ControlTrial {
  readonly checks = new ControlChecks()
  readonly cluster: ControlCluster
  readonly faults: ControlFaults
  readonly names: Array<string> = []
  private working = true
  private handing = true
  private claims = 0
  private readonly machines: NonNullable<Options["machines"]>
  healedAfter = 0

  constructor({ machines: only = machines, mutant, seed }: Options) {
    this.machines = only
    const nodes = [3, 4, 5, 5, 5, 6, 7][seed % 7] ?? 5
    this.cluster = new ControlCluster({ seed, nodes, watcher: this.checks, mutant })
    this.checks.cluster = this.cluster
    this.faults = new ControlFaults(this.cluster)
  }

  private draw(): number {
    return this.cluster.world.random()
  }

  run(): void {
    const { cluster, faults } = this
    for (const id of cluster.ids) {
      cluster.start(id, faults.skew())
      cluster.world.runFor(this.draw() * 500)
    }
    this.watchClaims()
    cluster.world.runFor(2000)
    this.work()
    cluster.world.runFor(1000)
    for (let round = 0; round < rounds && this.checks.violations.length === 0; round++) {
      if (this.draw() < 0.15) this.isolatedReturn()
      else this.round()
      this.advance(this.draw() ** 2 * 6000)
    }
    this.working = false
    if (this.checks.violations.length === 0) this.heal()
    if (this.checks.violations.length === 0) this.quiet()
  }

  /** Time passes, as long as nothing is wrong. */
  private advance(millis: number): void {
    const { world } = this.cluster
    const end = world.now + millis
    while (world.now < end && this.checks.violations.length === 0) world.runFor(Math.min(500, end - world.now))
  }

  // ---- faults

  private round(): void {
    const begun = [
      ...(this.draw() < 0.65 ? [this.faults.begin(networks)] : []),
      ...(this.draw() < 0.65 ? [this.faults.begin(this.machines)] : [])
    ]
    this.names.push(`${this.cluster.world.now.toFixed(0)} ${begun.map(({ name }) => name).join("+")}`)
    if (this.draw() < 0.4) this.handover()
    for (const fault of begun) {
      this.advance(50 * 400 ** this.draw() / begun.length)
      fault.end()
    }
    if (this.draw() < 0.4) this.faults.repair()
  }

  /** A node that was cut off and returns deposes nobody. */
  private isolatedReturn(): void {
    const { checks, cluster, faults } = this
    faults.repair()
    this.handing = false
    this.until(() => this.notWell() === undefined, healWithin)
    const master = checks.common()
    const one = faults.pick(cluster.ids.filter((id) => id !== master?.id))
    if (master === undefined || one === undefined) return
    this.names.push(`${cluster.world.now.toFixed(0)} isolated ${one}`)
    const others = cluster.ids.filter((id) => id !== one)
    cluster.partition([one], others)
    this.advance(15_000)
    const same = (ids: ReadonlyArray<string>) =>
      ids.every((id) => {
        const process = cluster.process(id)
        return process === undefined || checks.state(process)?.election.reign?.id === master.id
      })
    const kept = same(others)
    cluster.net.heal()
    this.advance(20_000)
    this.handing = true
    if (kept && !same(cluster.ids)) {
      checks.violate("evidence", cluster.process(one), `its return deposed ${show(master)}: ${this.reigns()}`)
    }
  }

  private reigns(): string {
    return this.cluster.running.map((process) => `${process.id}: ${show(this.checks.state(process)?.election.reign)}`)
      .join(", ")
  }

  private until(condition: () => boolean, millis: number): boolean {
    const { world } = this.cluster
    const end = world.now + millis
    while (!condition()) {
      if (world.now >= end || this.checks.violations.length > 0) return false
      world.runFor(100)
    }
    return true
  }

  // ---- work

  private ready(): ReadonlyArray<Process> {
    return this.cluster.running.filter(({ services }) => services !== undefined)
  }

  private work(): void {
    if (!this.working) return
    const process = this.faults.pick(this.ready())
    if (process !== undefined) {
      const roll = this.draw()
      if (roll < 0.3) this.deploy(process)
      else if (roll < 0.34) this.remove(process)
      else if (roll < 0.6) this.register(process)
      else if (roll < 0.96) this.locate(process)
      else this.handover()
    }
    this.cluster.world.after(20 + this.draw() * 400, () => this.work())
  }

  private deploy(process: Process): void {
    const { services } = process
    if (services === undefined) return
    const { checks, cluster } = this
    const number = checks.deploys.length
    // some names are deployed again and again, at the same time too
    const name = this.draw() < 0.25
      ? `shared-${Math.floor(number / 30)}-${Math.floor(this.draw() * 4)}`
      : `fn-${number}`
    const deploy: Deploy = {
      name,
      code: `export default ${number}`,
      at: checks.now,
      version: undefined,
      acknowledgedAt: undefined,
      copies: [],
      removal: "none"
    }
    checks.deploys.push(deploy)
    const bundle = new TextEncoder().encode(deploy.code)
    cluster.fork(
      process,
      Effect.ignore(Effect.tap(services.catalog.deploy({ name, bundle }), (manifest) =>
        Effect.sync(() => {
          if (!process.alive) return
          deploy.version = manifest.version
          deploy.acknowledgedAt = checks.now
          deploy.copies = this.copiesOf(name, manifest.bundle)
        })))
    )
  }

  /** Disks that have the bundle, and the record or the change prepared. */
  private copiesOf(name: string, bundle: string): ReadonlyArray<string> {
    return this.cluster.ids.filter((id) => {
      const paths = this.cluster.disk(id).paths()
      return paths.includes(`bundles/${bundle}`) &&
        paths.some((path) => path === `records/${name}` || path.startsWith(`prepared/${name}-`))
    }).map((id) => this.generation(id))
  }

  private generation(id: string): string {
    return `${id}:${this.faults.replaced.get(id) ?? 0}`
  }

  /** A disk that had it when it was acknowledged was never replaced. */
  private survives(deploy: Deploy): boolean {
    return deploy.copies.some((copy) => this.cluster.ids.some((id) => this.generation(id) === copy))
  }

  private remove(process: Process): void {
    const deploy = this.faults.pick(
      this.checks.deploys.filter(({ name, removal, version }) =>
        version !== undefined && removal === "none" && !name.startsWith("shared")
      )
    )
    if (deploy === undefined || process.services === undefined) return
    deploy.removal = "asked"
    this.cluster.fork(
      process,
      Effect.ignore(Effect.tap(process.services.catalog.remove(deploy.name), () =>
        Effect.sync(() => {
          if (process.alive) deploy.removal = "done"
        })))
    )
  }

  private register(process: Process): void {
    const { services } = process
    if (services === undefined) return
    const version = `v${Math.floor(this.draw() * 12)}`
    const { manager } = services
    this.cluster.fork(process, this.draw() < 0.7 ? manager.register(version) : manager.deregister(version))
  }

  private locate(process: Process): void {
    if (process.services === undefined || process.paused) return
    this.cluster.fork(process, Effect.ignore(process.services.manager.locate(`v${Math.floor(this.draw() * 12)}`)))
  }

  private handover(): void {
    const at = this.faults.pick(this.ready())
    const to = this.faults.pick(this.cluster.ids)
    if (!this.handing || at?.services === undefined || to === undefined) return
    this.cluster.fork(at, Effect.ignore(at.services.manager.handover(Member.id(to))))
  }

  // ---- R4 while it runs

  /** Every new master knows within 5 s what was acknowledged before its claim, if nothing disturbed it meanwhile. */
  private watchClaims(): void {
    const { checks, cluster } = this
    for (const { at, reign } of [...checks.reigned.values()].slice(this.claims)) {
      const process = cluster.process(reign.id)
      const before = checks.deploys.filter(({ acknowledgedAt }) => (acknowledgedAt ?? Infinity) < at)
      if (process === undefined) continue
      const within = knownWithin / Math.min(...cluster.running.map(({ skew }) => skew.rate))
      cluster.world.after(at + within - cluster.world.now, () => this.knows(process, reign, before, at))
    }
    this.claims = checks.reigned.size
    cluster.world.after(50, () => this.watchClaims())
  }

  private knows(process: Process, reign: Reign.Reign, before: ReadonlyArray<Deploy>, at: number): void {
    const { checks, cluster, faults } = this
    const state = checks.state(process)
    const { services } = process
    if (!process.alive || process.paused || state === undefined || services === undefined) return
    if (!Reign.equals(state.election.reign, reign) || faults.disturbedAt >= at || cluster.net.conditions.loss > 0) {
      return
    }
    for (const deploy of before) {
      const { name, removal, version } = deploy
      if (version === undefined || removal !== "none" || this.has(process, deploy)) continue
      const holder = cluster.running.find((other) =>
        other !== process && !other.paused && this.has(other, deploy) &&
        !cluster.net.isCut(process.ip, other.ip) && !cluster.net.isCut(other.ip, process.ip) &&
        state.topology.nodes.get(other.id)?.member.status === "alive" &&
        state.topology.nodes.get(other.id)?.bootId === other.bootId
      )
      if (holder !== undefined) {
        checks.violate(
          "R4",
          process,
          `master by ${show(reign)} for 5 s and does not know ${name}, which ${holder.id} has`
        )
      }
    }
  }

  private has({ services }: Process, { name, version }: Deploy): boolean {
    const record = services?.parts.ledger.get(name)
    return record !== undefined && version !== undefined && CatalogState.manifestOf(record, version) !== undefined
  }

  // ---- what is left

  private heal(): void {
    const { checks, cluster, faults } = this
    faults.repair()
    const from = cluster.world.now
    const slowest = () => Math.min(...cluster.running.map(({ skew }) => skew.rate))
    const well = this.until(() => this.notWell() === undefined, healWithin / slowest())
    this.healedAfter = cluster.world.now - from
    if (!well) checks.violate("quiet", undefined, `${this.notWell()} (${this.reigns()})`)
  }

  /** What is not as it must be when nothing is wrong any more. */
  private notWell(): string | undefined {
    const { checks, cluster } = this
    if (this.ready().length < cluster.ids.length) return "not all have started"
    if (checks.common() === undefined) return "no single master"
    const tables = checks.tables()
    if (tables !== undefined) return `R5: tables differ: ${tables}`
    const [wrong] = checks.wrongRoutes()
    if (wrong !== undefined) return `R5: the master does not know that ${wrong}`
    const digests = this.ready().map(({ id, services }) =>
      `${id} ${services === undefined ? "" : CatalogState.digest(services.parts.ledger.state).slice(0, 8)}`
    )
    if (new Set(digests.map((text) => text.split(" ")[1])).size > 1) return `R4: catalogs differ: ${digests.join(", ")}`
    const pending = this.ready().find(({ services }) => (services?.parts.ledger.pending.length ?? 0) > 0)
    return pending === undefined ? undefined : `R4: ${pending.id} has changes prepared that nobody ends`
  }

  private quiet(): void {
    const { checks, cluster } = this
    for (const deploy of checks.deploys) this.judge(deploy)
    // R5, timed
    for (const process of this.ready()) {
      const { services } = process
      if (services !== undefined) cluster.fork(process, services.manager.register(`last-${process.id}`))
    }
    this.advance(tablesWithin / Math.min(...cluster.running.map(({ skew }) => skew.rate)))
    const late = checks.tables() ?? checks.wrongRoutes()[0]
    if (late !== undefined) checks.violate("R5", undefined, `1 s after the last change: ${late}`)
  }

  private judge(deploy: Deploy): void {
    const { checks } = this
    const { name, removal, version } = deploy
    if (version === undefined || !this.survives(deploy)) return
    for (const process of this.ready()) {
      const here = this.has(process, deploy)
      if (removal === "none" && !here) checks.violate("R4", process, `lost ${name} (${deploy.code}) of ${deploy.at}`)
      if (removal === "done" && here) checks.violate("R4", process, `has ${name} again, which was removed`)
    }
  }
}

export const run = (options: Options): Outcome => {
  const trial = new ControlTrial(options)
  trial.run()
  const { checks, cluster } = trial
  return {
    violations: checks.violations,
    trace: cluster.trace,
    faults: trial.names,
    acknowledged: checks.deploys.filter(({ version }) => version !== undefined).length,
    counts: checks.counts,
    healedAfter: trial.healedAfter,
    lasted: cluster.world.now,
    events: cluster.world.events
  }
}
