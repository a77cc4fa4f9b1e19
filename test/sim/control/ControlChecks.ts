/** Judges a control plane while it runs: R1, R2, R3, H1 and the filter of routes at every door and every change of a
 * reign, R4 and R5 when it was quiet.
 *
 * Boundary: looks, and keeps what was promised to whom; `ControlTrial` says when everything must be well again. */
import type * as ClusterState from "../../../src/cluster/ClusterState.ts"
import * as Reign from "../../../src/cluster/Reign.ts"
import type * as ReignStore from "../../../src/cluster/ReignStore.ts"
import * as RoutingTable from "../../../src/cluster/RoutingTable.ts"
import type { Run } from "../../../src/cluster/RoutingTable.ts"
import type { ControlCluster, Process } from "./ControlCluster.ts"
import type { Watcher } from "./Doors.ts"

/** A deploy, from the moment it was asked for. */
export interface Deploy {
  readonly name: string
  /** what makes it unlike every other */
  readonly code: string
  readonly at: number
  /** acknowledged: its version */
  version: string | undefined
  acknowledgedAt: number | undefined
  /** the disks that had it then, by how often each was replaced until then */
  copies: ReadonlyArray<string>
  removal: "none" | "asked" | "done"
}

/** What a process has obeyed so far. */
interface Watch {
  readonly state: ClusterState.ClusterState
  highest: Reign.Reign | undefined
  obeyedAt: number
  /** the highest reign under which a control message was applied */
  applied: Reign.Reign | undefined
}

const mostViolations = 20
/** A witness that had a beat of its master in this time holds it for alive. */
const recentBeat = 250

export const runKey = (run: Run): string => `${run.id}/${run.bootId}`

export class ControlChecks implements Watcher {
  readonly violations: Array<string> = []
  readonly deploys: Array<Deploy> = []
  /** every reign that was obeyed by its own holder, and when first */
  readonly reigned = new Map<string, { readonly reign: Reign.Reign; readonly at: number }>()
  cluster: ControlCluster | undefined
  readonly counts = { reigns: 0, applied: 0, begun: 0, found: 0, supported: 0, handovers: 0 }
  private readonly watches = new Map<Process, Watch>()
  /** runs that have made their first contact: all, and those that had when a process began */
  private readonly joined = new Set<string>()
  private readonly joinedBefore = new Map<Process, ReadonlySet<string>>()
  /** by member: the epoch of its last own reign, and what its disk has */
  private readonly claimed = new Map<string, number>()
  private readonly onDisk = new Map<string, Reign.Reign | undefined>()
  /** who supported which epoch */
  private readonly support = new Map<string, string>()
  /** grants that are obeyed by their holders: no write begins under the reign before */
  private readonly granted = new Map<string, Reign.Reign>()

  get now(): number {
    return this.cluster?.world.now ?? 0
  }

  violate(invariant: string, process: Process | undefined, what: string): void {
    if (this.violations.length >= mostViolations) return
    this.violations.push(
      `${invariant} at ${this.now.toFixed(1)}${process === undefined ? "" : ` ${process.id}`}: ${what}`
    )
  }

  // ---- what happens

  born(process: Process, state: ClusterState.ClusterState): void {
    const watch: Watch = { state, highest: state.election.reign, obeyedAt: this.now, applied: undefined }
    this.watches.set(process, watch)
    this.joinedBefore.set(process, new Set(this.joined))
    const onDisk = this.onDisk.get(process.id)
    if (onDisk !== undefined && Reign.isLower(state.election.reign, onDisk)) {
      this.violate("R2", process, `starts with ${show(state.election.reign)}, its disk has ${show(onDisk)}`)
    }
    let current = state.election.reign
    Object.defineProperty(state.election, "reign", {
      get: () => current,
      set: (next: Reign.Reign | undefined) => {
        current = next
        if (process.alive && next !== undefined) this.obeyed(process, watch, next)
      }
    })
  }

  died(process: Process): void {
    this.watches.delete(process)
  }

  replaced(id: string): void {
    this.onDisk.delete(id)
    this.claimed.delete(id)
  }

  ended(process: Process, cause: string): void {
    this.violate("running", process, `its program ended: ${cause.slice(0, 300)}`)
  }

  complained(process: Process, line: string): void {
    if (!expected.some((pattern) => pattern.test(line))) this.violate("running", process, line.slice(0, 500))
  }

  ready(process: Process): void {
    const { services } = process
    this.joined.add(runKey(process))
    if (services === undefined || this.cluster === undefined) return
    const seen = this.cluster.run(process, services.membership.members, 0)
    const self = this.cluster.run(process, services.membership.self, 0)
    if (seen?._tag !== "Success" || self?._tag !== "Success") return
    for (const member of seen.value) {
      // of those that join at the same time each may have seen the other
      if (member.id === process.id || this.joinedBefore.get(process)?.has(runKey(member)) !== true) continue
      if (member.startedAt < self.value.startedAt) continue
      this.violate("R3", process, `is not younger than ${member.id}, which it saw when it joined`)
    }
  }

  /** R2, and what the order of the reigns must be. */
  private obeyed(process: Process, watch: Watch, reign: Reign.Reign): void {
    this.counts.reigns++
    if (Reign.isLower(reign, watch.highest)) {
      return this.violate("R2", process, `obeys ${show(reign)} after ${show(watch.highest)}`)
    }
    watch.highest = reign
    watch.obeyedAt = this.now
    if (!Reign.isHeldBy(reign, process)) return
    const key = Reign.toBytes(reign).join()
    if (this.reigned.has(key)) return
    this.reigned.set(key, { reign, at: this.now })
    const before = this.claimed.get(process.id) ?? 0
    if (reign.epoch <= before) this.violate("R2", process, `reigns by ${show(reign)} after epoch ${before}`)
    this.claimed.set(process.id, Math.max(before, reign.epoch))
    if (reign.kind === "granted" && reign.predecessor !== undefined) {
      this.counts.handovers++
      this.granted.set(`${reign.predecessor.epoch}/${reign.predecessor.bootId}`, reign)
    }
  }

  saved(process: Process, { reign }: ReignStore.Saved): void {
    this.onDisk.set(process.id, Reign.max(this.onDisk.get(process.id), reign))
  }

  /** R1: no control message of a lower reign than one known or applied before. */
  applied(process: Process, what: string, reign: Reign.Reign, known: Reign.Reign | undefined): void {
    const watch = this.watches.get(process)
    if (watch === undefined) return
    this.counts.applied++
    if (Reign.isLower(reign, known)) {
      this.violate("R1", process, `applied ${what} of ${show(reign)}, obeys ${show(known)}`)
    }
    if (Reign.isLower(reign, watch.applied)) {
      this.violate("R1", process, `applied ${what} of ${show(reign)} after ${show(watch.applied)}`)
    } else watch.applied = reign
  }

  /** H1: who handed its reign over writes no more in it. */
  begun(process: Process, reign: Reign.Reign): void {
    this.counts.begun++
    const grant = this.granted.get(`${reign.epoch}/${reign.bootId}`)
    if (grant !== undefined) {
      this.violate("H1", process, `a write begins in ${show(reign)}, handed over as ${show(grant)}`)
    }
    if (!Reign.isHeldBy(reign, process)) this.violate("R1", process, `a write begins in ${show(reign)}`)
  }

  /** One claim is supported per epoch, and none while the own master is heard. */
  supported(process: Process, claim: Reign.Reign): void {
    this.counts.supported++
    const key = `${process.id}/${process.bootId}/${claim.epoch}`
    const before = this.support.get(key)
    if (before !== undefined && before !== runKey(claim)) {
      this.violate("R1", process, `supports ${runKey(claim)} and ${before} in epoch ${claim.epoch}`)
    }
    this.support.set(key, runKey(claim))
    const election = this.watches.get(process)?.state.election
    const { reign, watch } = election ?? { reign: undefined, watch: undefined }
    if (watch?.heard !== true || watch.lost || watch.refused || !Reign.isHeldBy(reign, watch.target)) return
    const silent = this.now * process.skew.rate - watch.lastBeat
    if (silent > recentBeat || Reign.isHeldBy(reign, { id: claim.id, bootId: claim.bootId })) return
    this.violate("evidence", process, `supports ${show(claim)}, ${silent.toFixed()} ms after a beat of ${show(reign)}`)
  }

  /** Nobody is chosen who is dead, left or another run in the view of the node whose table was read. */
  found(process: Process, version: string, nodes: ReadonlyArray<Run>): void {
    const watch = this.watches.get(process)
    if (watch === undefined) return
    this.counts.found++
    for (const run of nodes) {
      const node = watch.state.topology.nodes.get(run.id)
      const { status } = node?.member ?? { status: "unknown" }
      if (node?.bootId === run.bootId && (status === "alive" || status === "suspect")) continue
      const here = node?.bootId === run.bootId ? status : "another run"
      this.violate("filter", process, `chose ${runKey(run)} for ${version}, which is ${here} here`)
    }
  }

  // ---- what is so

  state(process: Process): ClusterState.ClusterState | undefined {
    return this.watches.get(process)?.state
  }

  /** Since when a process obeys what it obeys. */
  since(process: Process): number {
    return this.watches.get(process)?.obeyedAt ?? this.now
  }

  /** The reign that all living processes obey, if it is one of a living process. */
  common(): Reign.Reign | undefined {
    const running = this.cluster?.running ?? []
    const [first, ...rest] = running.map((process) => this.state(process)?.election.reign)
    if (first === undefined || !rest.every((reign) => Reign.equals(reign, first))) return undefined
    return running.some((process) => Reign.isHeldBy(first, process)) ? first : undefined
  }

  /** R5: the tables of master and replicas, where they differ. */
  tables(): string | undefined {
    const digests = (this.cluster?.running ?? []).flatMap((process) => {
      const state = this.state(process)
      if (state === undefined || state.role === "worker") return []
      const { hash, size } = RoutingTable.digest(state.replica.table)
      return [`${process.id}: ${size} ${hash.toString(16)}`]
    })
    return new Set(digests.map((text) => text.split(": ")[1])).size <= 1 ? undefined : digests.join(", ")
  }

  /** What the master's table has wrong about who runs what. */
  wrongRoutes(): ReadonlyArray<string> {
    const master = (this.cluster?.running ?? []).find((process) => this.state(process)?.role === "master")
    const table = master === undefined ? undefined : this.state(master)?.replica.table
    if (table === undefined) return ["there is no master"]
    return (this.cluster?.running ?? []).flatMap((process) =>
      [...this.state(process)?.registrations.own.values() ?? []].flatMap((entry) => {
        const known = table.versions.get(entry.version)?.some((one) =>
          one.node === process.id && one.bootId === process.bootId
        ) ?? false
        return known === entry.live ? [] : [`${process.id} ${entry.live ? "runs" : "does not run"} ${entry.version}`]
      })
    )
  }
}

/** What a node may complain about when its disk is full or its machine was off. */
const expected = [
  /could not write the reign to disk/,
  /record of the catalog could not be written/,
  /file of the reign is damaged/
]

export const show = (reign: Reign.Reign | undefined): string =>
  reign === undefined ? "nothing" : `${reign.epoch} ${reign.kind} ${reign.id}/${reign.bootId}`
