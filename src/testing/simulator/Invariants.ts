/** M1, M2, M3, M5 and M6, looked at after every step; only what changed is looked at.
 *
 * PURE. Boundary: reads the machines' tables, changes nothing. M4 and M7 concern whole runs: `Trial` checks them.
 * Each of these is proven by a variant of the machine that breaks it (`Mutant`). */
import * as Member from "../../swim/Member.ts"
import * as Members from "../../swim/Members.ts"
import type * as Swim from "../../swim/Swim.ts"
import type * as SimNode from "./SimNode.ts"
import type { Observer } from "./Simulation.ts"

export type Id = "M1" | "M2" | "M3" | "M4" | "M5" | "M6" | "M7"

export interface Violation {
  readonly invariant: Id
  readonly at: number
  readonly what: string
}

/** The highest state of one run of a member that an observer has held. */
interface Held {
  bootId: number
  incarnation: number
  rank: number
}

/** What is remembered of one run of an observer. */
interface Watch {
  readonly node: SimNode.SimNode
  readonly swim: Swim.Swim
  readonly held: Map<Member.MemberId, Held>
  own: number
  /** Its probing, when it is followed: when in its own periods each active row was last probed, oldest first. */
  readonly probed: Map<number, { period: number; readonly bootId: number }> | undefined
  period: number
  most: number
  current: unknown
  steps: number
}

const mostViolations = 20
/** Probing is followed at so many members. */
const mostProbers = 64
const relays = 1024
const probes = 64
const answered = 4096
const items = 32

export class Invariants implements Observer {
  readonly violations: Array<Violation> = []
  private readonly watches: Array<Watch | undefined> = []
  private readonly boots = new Map<number, Swim.Swim>()
  private readonly budget: number
  private world: { readonly now: number } | undefined

  /** With the size that no datagram may exceed. */
  constructor(budget: number) {
    this.budget = budget
  }

  attach(world: { readonly now: number }): void {
    this.world = world
  }

  violate(invariant: Id, what: string): void {
    if (this.violations.length < mostViolations) this.violations.push({ invariant, at: this.world?.now ?? 0, what })
  }

  readonly onBoot = (node: SimNode.SimNode, swim: Swim.Swim): void => {
    swim.table.journal = []
    this.boots.set(swim.self.bootId, swim)
    this.watches[node.index] = {
      node,
      swim,
      held: new Map(),
      own: 0,
      probed: node.index < mostProbers ? new Map() : undefined,
      period: 0,
      most: 0,
      current: undefined,
      steps: 0
    }
  }

  readonly onStep = (node: SimNode.SimNode, swim: Swim.Swim): void => {
    const watch = this.watches[node.index]
    if (watch === undefined) return
    if (swim.incarnation < watch.own) {
      this.violate("M2", `${node.id} lowered its own incarnation from ${watch.own} to ${swim.incarnation}`)
    }
    watch.own = swim.incarnation
    const { journal } = swim.table
    if (journal !== undefined && journal.length > 0) {
      for (const row of journal) this.onChange(watch, row)
      journal.length = 0
    }
    if (watch.probed !== undefined && swim.current !== watch.current) this.onPeriod(watch)
    if ((watch.steps++ & 15) === 0) this.checkBounds(watch)
  }

  readonly onSend = (node: SimNode.SimNode, bytes: number): void => {
    if (bytes > this.budget) this.violate("M6", `${node.id} sent ${bytes} bytes in one datagram`)
  }

  private onChange(watch: Watch, row: number): void {
    const { node, swim } = watch
    if (watch.probed !== undefined) this.onActivity(watch, row)
    if (!Members.has(swim.table, row)) return
    const { bootId, id, incarnation, status } = Members.member(swim.table, row)
    const rank = Member.rankOf(status)
    const held = watch.held.get(id)
    if (held === undefined || held.bootId !== bootId) watch.held.set(id, { bootId, incarnation, rank })
    else {
      if (incarnation < held.incarnation || (incarnation === held.incarnation && rank < held.rank)) {
        const before = `${Member.statusOf(held.rank)}(${held.incarnation})`
        this.violate("M1", `${node.id} holds ${id} ${status}(${incarnation}) after ${before}`)
      }
      held.incarnation = incarnation
      held.rank = rank
    }
    const own = this.boots.get(bootId)
    if (own === undefined || incarnation > own.incarnation) {
      const truth = own === undefined ? "never ran" : `is at ${own.incarnation} itself`
      this.violate("M2", `${node.id} holds ${id} at incarnation ${incarnation}, which ${truth}`)
    }
  }

  /** Members join the end of the line, and leave it when they are not active any more. */
  private onActivity(watch: Watch, row: number): void {
    const { probed, swim } = watch
    if (probed === undefined) return
    if (!Members.isActive(swim.table, row)) {
      probed.delete(row)
      return
    }
    const { bootId } = Members.identity(swim.table, row)
    if (probed.get(row)?.bootId === bootId) return
    probed.delete(row)
    probed.set(row, { period: watch.period, bootId })
    watch.most = Math.max(watch.most, swim.table.active)
  }

  /** A probing period began. Whoever has waited longest is first in line. */
  private onPeriod(watch: Watch): void {
    const { probed, swim } = watch
    const { current } = swim
    watch.current = current
    if (current === undefined || probed === undefined) return
    // Members known from the start are in no journal.
    if (watch.period === 0) Members.forEach(swim.table, (row) => this.onActivity(watch, row))
    watch.period++
    probed.delete(current.row)
    probed.set(current.row, { period: watch.period, bootId: current.bootId })
    for (const [row, { period }] of probed) {
      const waited = watch.period - period
      if (waited > 2 * watch.most - 1) {
        const { id } = Members.identity(swim.table, row)
        this.violate("M3", `${watch.node.id} has not probed ${id} for ${waited} periods, ${watch.most} members at most`)
        probed.delete(row)
      }
      return
    }
  }

  private checkBounds({ node, swim }: Watch): void {
    const { params, table } = swim
    const bounds: ReadonlyArray<readonly [string, number, number]> = [
      ["probes", swim.probes.size, probes],
      ["relays", swim.relays.size, relays],
      ["suspicions", swim.suspicions.size, table.size],
      ["streams", swim.streams.size, 2 * params.maxStreams],
      ["timers", swim.timers.heap.length, 2048 + 64 * table.size],
      ["members", table.size, params.maxMembers],
      ["updates", swim.updates.byKey.size, params.maxMembers + 64],
      ["broadcast bytes", swim.broadcasts.bytes, params.broadcastBytes],
      ["answered peers", swim.answered.size, answered],
      ["items", swim.items.size, items]
    ]
    for (const [what, size, most] of bounds) {
      if (size > most) this.violate("M5", `${node.id} keeps ${size} ${what}, ${most} is the most`)
    }
  }
}
