/** What goes wrong in a run of the control plane: networks, processes, disks and clocks, one fault or several at once.
 *
 * Boundary: a fault begins and ends; how long it lasts and what else happens meanwhile is `ControlTrial`'s. */
import type { Skew } from "../../../src/testing/World.ts"
import { type ControlCluster, ipOf, type Process } from "./ControlCluster.ts"

export interface Fault {
  readonly name: string
  readonly end: () => void
}

export class ControlFaults {
  private readonly cluster: ControlCluster
  /** how often the disk of a node was replaced by an empty one */
  readonly replaced = new Map<string, number>()
  /** when a fault began or ended last */
  disturbedAt = 0

  constructor(cluster: ControlCluster) {
    this.cluster = cluster
  }

  random(): number {
    return this.cluster.world.random()
  }

  pick<A>(from: ReadonlyArray<A>): A | undefined {
    return from[Math.floor(this.random() * from.length)]
  }

  /** Half the nodes have a clock of their own. */
  skew(): Skew {
    const rate = this.random() < 0.5 ? 1 : 2 ** (2 * this.random() - 1)
    return { rate, offset: this.random() < 0.2 ? hour * (2 * this.random() - 1) : 0 }
  }

  private started(id: string): void {
    this.disturbedAt = this.cluster.world.now
    this.cluster.start(id, this.skew())
  }

  begin(names: ReadonlyArray<keyof typeof kinds>): Fault {
    const name = this.pick(names) ?? "halves"
    this.disturbedAt = this.cluster.world.now
    const end = kinds[name](this)
    return {
      name,
      end: () => {
        this.disturbedAt = this.cluster.world.now
        end()
      }
    }
  }

  /** Starts everybody who is down, resumes, heals. */
  repair(): void {
    const { cluster } = this
    this.disturbedAt = cluster.world.now
    cluster.net.heal()
    Object.assign(cluster.net.conditions, fair)
    for (const id of cluster.ids) {
      cluster.disk(id).conditions.full = false
      cluster.resume(id)
      if (cluster.process(id) === undefined) this.started(id)
    }
  }

  // ---- the network

  sides(): readonly [ReadonlyArray<string>, ReadonlyArray<string>] {
    const { ids } = this.cluster
    const left = ids.filter(() => this.random() < 0.5)
    return [left, ids.filter((id) => !left.includes(id))]
  }

  /** The node that most obey. */
  master(): string | undefined {
    const votes = new Map<string, number>()
    for (const { services } of this.cluster.running) {
      const id = services?.state.election.reign?.id
      if (id !== undefined) votes.set(id, (votes.get(id) ?? 0) + 1)
    }
    return [...votes].sort((a, b) => b[1] - a[1])[0]?.[0]
  }

  cutting(cut: () => void): () => void {
    cut()
    return () => this.cluster.net.heal()
  }

  halves(): () => void {
    return this.cutting(() => this.cluster.partition(...this.sides()))
  }

  /** The master and at most one other here, the rest there. */
  minority(): () => void {
    const { ids } = this.cluster
    const master = this.master() ?? this.pick(ids) ?? ""
    const friend = ids.length > 3 ? this.pick(ids.filter((id) => id !== master)) : undefined
    const few = ids.filter((id) => id === master || id === friend)
    return this.cutting(() => this.cluster.partition(few, ids.filter((id) => !few.includes(id))))
  }

  /** Two sides that only one node reaches both of. */
  bridge(): () => void {
    const bridge = this.pick(this.cluster.ids)
    const sides = this.sides().map((side) => side.filter((id) => id !== bridge))
    return this.cutting(() => this.cluster.partition(...sides))
  }

  /** Everybody reaches two neighbours. */
  ring(): () => void {
    const { ids, net } = this.cluster
    return this.cutting(() => {
      for (const [i, a] of ids.entries()) {
        for (const [j, b] of ids.entries()) {
          const apart = Math.abs(i - j)
          if (apart > 1 && apart < ids.length - 1) net.cut(ipOf(a), ipOf(b))
        }
      }
    })
  }

  /** What some say reaches nobody, or only some. */
  oneWay(): () => void {
    const { ids, net } = this.cluster
    const mute = this.random() < 0.5 ? this.master() : this.pick(ids)
    const deaf = ids.filter((id) => id !== mute && this.random() < 0.7)
    return this.cutting(() => {
      for (const id of deaf) net.cut(ipOf(mute ?? ""), ipOf(id))
    })
  }

  /** A partition that comes and goes. */
  flapping(): () => void {
    const { cluster } = this
    const sides = this.sides()
    let on = true
    let open = false
    const flap = () => {
      if (!on) return
      open = !open
      if (open) cluster.partition(...sides)
      else cluster.net.heal()
      cluster.world.after(100 + this.random() * 2500, flap)
    }
    flap()
    return () => {
      on = false
      cluster.net.heal()
    }
  }

  isolate(): () => void {
    const { ids } = this.cluster
    const one = (this.random() < 0.4 ? this.master() : undefined) ?? this.pick(ids) ?? ""
    return this.cutting(() => this.cluster.partition([one], ids.filter((id) => id !== one)))
  }

  /** Loss, duplicates and delays that reorder. */
  weather(): () => void {
    const { conditions } = this.cluster.net
    conditions.loss = 0.3 * this.random() ** 2
    conditions.duplication = 0.3 * this.random()
    conditions.latency = [0.2, 1 + 200 * this.random() ** 3]
    return () => Object.assign(conditions, fair)
  }

  // ---- processes, disks, clocks

  private victims(): ReadonlyArray<Process> {
    const { running } = this.cluster
    const master = running.find(({ id }) => id === this.master())
    if (this.random() < 0.35 && master !== undefined) return [master]
    const share = this.random() < 0.25 ? 1 : this.random() * 0.6
    const some = running.filter(() => this.random() < share)
    return some.length === 0 ? running.slice(0, 1) : some
  }

  private back(ids: ReadonlyArray<string>): () => void {
    return () => {
      for (const id of ids) {
        this.cluster.world.after(this.random() * 300, () => {
          if (this.cluster.process(id) === undefined) this.started(id)
        })
      }
    }
  }

  kill(): () => void {
    const ids = this.victims().map(({ id }) => id)
    for (const id of ids) this.cluster.kill(id)
    return this.back(ids)
  }

  powerLoss(): () => void {
    const ids = this.victims().map(({ id }) => id)
    for (const id of ids) this.cluster.powerLoss(id)
    return this.back(ids)
  }

  /** One machine is replaced by another of its name, with an empty disk. */
  replace(): () => void {
    const id = this.pick(this.cluster.running)?.id
    if (id === undefined) return () => undefined
    this.cluster.powerLoss(id)
    this.cluster.disk(id).wipe()
    this.cluster.watcher.replaced(id)
    this.replaced.set(id, (this.replaced.get(id) ?? 0) + 1)
    return this.back([id])
  }

  pause(): () => void {
    const ids = this.victims().map(({ id }) => id)
    for (const id of ids) this.cluster.pause(id)
    return () => {
      for (const id of ids) this.cluster.resume(id)
    }
  }

  fullDisk(): () => void {
    const disks = this.victims().map(({ id }) => this.cluster.disk(id))
    for (const { conditions } of disks) conditions.full = true
    return () => {
      for (const { conditions } of disks) conditions.full = false
    }
  }

  /** Wall clocks jump by up to an hour, either way. */
  jump(): () => void {
    for (const { skew } of this.victims()) skew.offset += hour * (2 * this.random() - 1)
    return () => undefined
  }
}

const hour = 3_600_000

/** A network that behaves. */
export const fair = { loss: 0, duplication: 0, latency: [0.2, 2] as readonly [number, number] }

const kinds = {
  halves: (faults: ControlFaults) => faults.halves(),
  minority: (faults: ControlFaults) => faults.minority(),
  bridge: (faults: ControlFaults) => faults.bridge(),
  ring: (faults: ControlFaults) => faults.ring(),
  oneWay: (faults: ControlFaults) => faults.oneWay(),
  flapping: (faults: ControlFaults) => faults.flapping(),
  isolate: (faults: ControlFaults) => faults.isolate(),
  weather: (faults: ControlFaults) => faults.weather(),
  kill: (faults: ControlFaults) => faults.kill(),
  powerLoss: (faults: ControlFaults) => faults.powerLoss(),
  replace: (faults: ControlFaults) => faults.replace(),
  pause: (faults: ControlFaults) => faults.pause(),
  fullDisk: (faults: ControlFaults) => faults.fullDisk(),
  jump: (faults: ControlFaults) => faults.jump()
}

/** At most one of these at a time. */
export const networks = [
  "halves",
  "minority",
  "bridge",
  "ring",
  "oneWay",
  "flapping",
  "isolate",
  "weather"
] as const satisfies ReadonlyArray<keyof typeof kinds>

export const machines = [
  "kill",
  "kill",
  "powerLoss",
  "powerLoss",
  "replace",
  "pause",
  "pause",
  "fullDisk",
  "jump"
] as const satisfies ReadonlyArray<keyof typeof kinds>
