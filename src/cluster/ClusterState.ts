/** The whole control plane of one node as a state machine: `step(state, input, out)`.
 *
 * PURE: mutable inside, deterministic outside; time comes with the input, randomness from the seed. It joins the parts:
 * `Topology` (members and roles), `Election` (the reign), `Replica` (the routing table and its copies), `Registrations`
 * (this node's own entries), `Succession` (the handover) and `Leases`; and answers look-ups.
 * Boundary: outputs are data; `ClusterManager` and `Replication` carry them out. Invariants: R1, R2, R5. */
import type { MemberId } from "../swim/Member.ts"
import * as Claim from "./Claim.ts"
import type { Answer, Input, Output, Where } from "./ClusterMessage.ts"
import type { ClusterView, Role } from "./ClusterView.ts"
import * as Election from "./Election.ts"
import * as ElectionState from "./ElectionState.ts"
import * as Leases from "./Leases.ts"
import * as Registrations from "./Registrations.ts"
import * as Reign from "./Reign.ts"
import * as Rendezvous from "./Rendezvous.ts"
import * as Replica from "./Replica.ts"
import * as RoleOf from "./Role.ts"
import * as RoutingTable from "./RoutingTable.ts"
import type { Entry, Run } from "./RoutingTable.ts"
import * as Succession from "./Succession.ts"
import * as Topology from "./Topology.ts"

export interface Options {
  readonly self: Run
  readonly now: number
  readonly seed: number
  /** started with `--join` */
  readonly joining: boolean
  /** from disk: no claim is at or below this epoch */
  readonly floor: number
  /** from disk: the reign this node obeyed last */
  readonly reign: Reign.Reign | undefined
  /** what the former state of this same run had registered */
  readonly registrations?: Registrations.Registrations | undefined
  /** the handover that state was in: a grant that is out stays out */
  readonly succession?: Succession.Succession | undefined
  /** a former state of this same run had a defect */
  readonly rebuilt?: boolean | undefined
}

export interface ClusterState {
  readonly self: Run
  readonly topology: Topology.Topology
  readonly election: ElectionState.ElectionState
  readonly replica: Replica.Replica
  readonly registrations: Registrations.Registrations
  readonly leases: Leases.Leases
  readonly succession: Succession.Succession
  role: Role
  /** the reign under which the own entries were last told in full */
  registeredUnder: Reign.Reign | undefined
  changed: boolean
  started: boolean
  /** when each node was last asked to register again */
  readonly reminded: Map<MemberId, number>
  timer: number
}

export const make = (options: Options): ClusterState => ({
  self: options.self,
  topology: Topology.make(),
  election: ElectionState.make({ ...options, retiring: options.succession?.retiring }),
  replica: Replica.make(),
  registrations: options.registrations === undefined
    ? Registrations.make(options.self)
    : Registrations.restore(options.registrations, options.now),
  leases: Leases.make(),
  succession: Succession.make(options.self, options.succession),
  role: "worker",
  registeredUnder: undefined,
  changed: true,
  started: false,
  reminded: new Map(),
  timer: Number.POSITIVE_INFINITY
})

/** Entries in one message; more are refused. */
const maxEntries = 10_000

export const step = (self: ClusterState, input: Input, out: Array<Output>): void => {
  const { now } = input
  if (!self.started) {
    self.started = true
    // a reign from disk must be beaten by whoever reigns now, so everybody has to hear of it
    if (self.election.reign !== undefined) out.push({ _tag: "SetItem", reign: self.election.reign })
  }
  if (now - self.election.expected > ElectionState.lateness && !Succession.isOpen(self.succession)) {
    Succession.cancel(self, "it stood still meanwhile", now, out)
  }
  apply(self, input, out)
  if (isLookup(input)) return // changes nothing that has consequences
  if (Topology.refresh(self.topology, self.election.reign, now)) self.changed = true
  // a new reign is settled once more under its own roles
  for (let turn = 0; turn < 3; turn++) {
    const reign = self.election.reign
    Election.settle(self.election, self.topology, now, out)
    if (Reign.equals(reign, self.election.reign)) break
    self.changed = true
    Topology.refresh(self.topology, self.election.reign, now)
  }
  settleRole(self, now, out)
  settleRegistrations(self, now, out)
  Replica.settle(self.replica, self.topology, now, out)
  Succession.settle(self, now, out)
  for (const held of Succession.release(self.succession)) apply(self, { ...held, now }, out)
  if (self.changed) {
    self.changed = false
    out.push({ _tag: "ViewChanged" })
  }
  const at = nextWake(self, now)
  if (at !== self.timer || input._tag === "TimerFired") {
    self.timer = at
    if (at < Number.POSITIVE_INFINITY) out.push({ _tag: "SetTimer", at })
  }
}

const nextWake = (self: ClusterState, now: number): number => {
  const { registrations } = self
  const registerAt = registrations.inFlight !== undefined || self.topology.assignment.master === undefined ||
      !Succession.isOpen(self.succession)
    ? Number.POSITIVE_INFINITY
    : registrations.sendAt
  return Math.max(
    now,
    Math.min(
      Election.nextWake(self.election, self.topology, now),
      Replica.nextWake(self.replica),
      Succession.nextWake(self.succession),
      registerAt,
      Topology.nextChange(self.topology, now)
    )
  )
}

const apply = (self: ClusterState, input: Input, out: Array<Output>): void => {
  switch (input._tag) {
    case "TimerFired":
      return
    case "Members":
    case "MemberChanged":
      return applyMembers(self, input)
    case "Contacted":
      return Election.contacted(self.election, input.now)
    case "EpochSeen":
    case "ReignHeard":
    case "Contested":
    case "Persisted":
    case "BeatReceived":
    case "WatchEnded":
    case "VerdictReceived":
    case "SupportAsked":
    case "SupportAnswered":
      return applyElection(self, input, out)
    case "OwnChanged":
    case "Reregister":
    case "RegisterReceived":
    case "RegisterAnswered":
      return applyRegistration(self, input, out)
    case "SubscribeAsked":
    case "SnapshotReceived":
    case "DeltaReceived":
    case "FollowEnded":
      return applyReplication(self, input, out)
    case "WriteAsked":
      return applyWrite(self, input, out)
    case "HandoverAsked":
    case "HandoverReceived":
    case "HandoverLost":
    case "PartsClosed":
    case "PartsLoaded":
    case "Retiring":
      return Succession.apply(self, input, out)
    case "Locate":
    case "Query":
    case "LeaseAsked":
    case "LeaseRenewed":
    case "LeaseEnded":
      return applyLookup(self, input, out)
  }
}

const isLookup = ({ _tag }: Input): boolean =>
  _tag === "Locate" || _tag === "Query" || _tag === "LeaseAsked" || _tag === "LeaseRenewed" || _tag === "LeaseEnded"

type Of<Tag extends Input["_tag"]> = Extract<Input, { readonly _tag: Tag }>

const reply = (out: Array<Output>, ask: number, answer: Answer): void => {
  out.push({ _tag: "Reply", ask, answer })
}

const applyMembers = (self: ClusterState, input: Of<"Members" | "MemberChanged">): void => {
  if (input._tag === "Members") Topology.replace(self.topology, input.members)
  else Topology.update(self.topology, input.member)
  self.changed = true
}

const applyElection = (
  self: ClusterState,
  input: Of<
    | "EpochSeen"
    | "ReignHeard"
    | "Contested"
    | "Persisted"
    | "BeatReceived"
    | "WatchEnded"
    | "VerdictReceived"
    | "SupportAsked"
    | "SupportAnswered"
  >,
  out: Array<Output>
): void => {
  const { election, topology } = self
  const { now } = input
  switch (input._tag) {
    case "EpochSeen":
      return Election.see(election, input.epoch)
    case "ReignHeard":
      return Election.hear(election, topology, input.reign, input.from, now, out)
    case "Contested":
      Election.hear(election, topology, input.reign, input.from, now, out)
      return reply(out, input.ask, { _tag: "Acknowledged", reign: election.reign })
    case "Persisted":
      Succession.persisted(self, input, out)
      return Claim.persisted(election, topology, input, now, out)
    case "BeatReceived":
      return Election.beat(election, topology, input, now, out)
    case "WatchEnded":
      return Election.watchEnded(election, input.target, input.refused)
    case "VerdictReceived":
      return Election.verdict(election, topology, input, now, out)
    case "SupportAsked": {
      const answer = Election.support(election, topology, input.claim, now)
      if (answer.support === "supported" && Succession.isFollowing(self.succession)) {
        Succession.cancel(self, "it supports another claim", now, out)
      }
      return reply(out, input.ask, answer)
    }
    case "SupportAnswered":
      return Election.supportAnswered(election, topology, input, now, out)
  }
}

/** R1: a control message under a lower reign is refused with the one known here; a higher one is heard first. */
const admit = (
  self: ClusterState,
  reign: Reign.Reign | undefined,
  from: Run,
  now: number,
  out: Array<Output>
): boolean => {
  if (reign !== undefined) Election.hear(self.election, self.topology, reign, from, now, out)
  return Reign.equals(reign, self.election.reign)
}

const refuse = (self: ClusterState, ask: number, out: Array<Output>): void =>
  reply(out, ask, { _tag: "NotMaster", reign: self.election.reign })

const applyRegistration = (
  self: ClusterState,
  input: Of<"OwnChanged" | "Reregister" | "RegisterReceived" | "RegisterAnswered">,
  out: Array<Output>
): void => {
  const { now } = input
  switch (input._tag) {
    case "OwnChanged":
      return void Registrations.change(self.registrations, input.version, input.live, now)
    case "Reregister":
      if (admit(self, input.reign, input.from, now, out)) {
        Registrations.renew(self.registrations, now + jitter(self, Registrations.renewWithin))
      }
      return
    case "RegisterAnswered":
      return Registrations.answered(self.registrations, input.to, input.live, now)
    case "RegisterReceived": {
      const { from } = input
      if (!admit(self, input.reign, from, now, out) || !ElectionState.isMaster(self.election)) {
        return refuse(self, input.ask, out)
      }
      if (!Succession.isOpen(self.succession)) {
        if (!Succession.hold(self.succession, input)) refuse(self, input.ask, out)
        return
      }
      const own = input.entries.filter((entry) => isOwnEntry(entry, from))
      if (own.length !== input.entries.length || own.length > maxEntries) {
        out.push({ _tag: "Rejected", reason: "entries of another writer" })
      }
      Replica.accept(self.replica, own.slice(0, maxEntries), now)
      endLeases(self, own)
      return reply(out, input.ask, { _tag: "Registered", live: RoutingTable.liveOf(self.replica.table, from) })
    }
  }
}

/** H1: no write begins while this master is closed; it waits until it is clear who reigns. */
const applyWrite = (self: ClusterState, input: Of<"WriteAsked">, out: Array<Output>): void => {
  const { reign } = self.election
  if (reign === undefined || !ElectionState.isMaster(self.election)) return refuse(self, input.ask, out)
  if (Succession.isOpen(self.succession)) return reply(out, input.ask, { _tag: "Writable", reign })
  if (!Succession.hold(self.succession, input)) refuse(self, input.ask, out)
}

const isOwnEntry = (entry: Entry, from: Run): boolean =>
  entry.node === from.id && entry.bootId === from.bootId && Number.isSafeInteger(entry.counter) && entry.counter > 0 &&
  entry.version.length > 0 && entry.version.length <= 128

const endLeases = (self: ClusterState, entries: ReadonlyArray<Entry>): void => {
  for (const entry of entries) {
    if (entry.live) Leases.end(self.leases, entry.version, { id: entry.node, bootId: entry.bootId })
  }
}

const applyReplication = (
  self: ClusterState,
  input: Of<"SubscribeAsked" | "SnapshotReceived" | "DeltaReceived" | "FollowEnded">,
  out: Array<Output>
): void => {
  const { now } = input
  switch (input._tag) {
    case "SubscribeAsked":
      if (!admit(self, input.reign, input.from, now, out) || !ElectionState.isMaster(self.election)) {
        return refuse(self, input.ask, out)
      }
      return reply(out, input.ask, Replica.snapshot(self.replica))
    case "SnapshotReceived":
      if (!admit(self, input.reign, input.from, now, out)) return
      Replica.receiveSnapshot(self.replica, input, now, out)
      return endLeases(self, input.entries)
    case "DeltaReceived":
      if (!admit(self, input.delta.reign, input.from, now, out)) return
      Replica.receiveDelta(self.replica, input.from, input.delta, now, out)
      return endLeases(self, input.delta.entries)
    case "FollowEnded":
      return Replica.followEnded(self.replica, input.target, now)
  }
}

/** Nodes to try in one look-up. */
const maxTargets = 3

const toRun = ({ bootId, id }: Run): Run => ({ id, bootId })

/** Master and replicas read their own table; everybody else has a replica to ask. */
const where = (self: ClusterState, version: string, asker: Run, now: number): Where => {
  const counts = (run: Run) => Topology.isActive(self.topology, run)
  const keepers = Topology.keepers(self.topology)
  if (self.role === "worker") {
    const replicas = Rendezvous.order(self.self.id, keepers, maxTargets)
    return replicas.length === 0 ? { _tag: "Granted" } : {
      _tag: "AskReplica",
      to: replicas.map(toRun),
      live: Registrations.acknowledged(self.registrations)
    }
  }
  const nodes = RoutingTable.nodes(self.replica.table, version, counts)
  if (nodes.length > 0) return { _tag: "Known", nodes }
  const homes = Rendezvous.order(version, keepers, maxTargets)
  // when those before this node fail, it is the home itself
  const others = homes.slice(0, homes.findIndex((home) => home.id === self.self.id) >>> 0)
  return others.length === 0 ? lease(self, version, asker, now) : { _tag: "AskHome", to: others.map(toRun) }
}

const lease = (self: ClusterState, version: string, asker: Run, now: number): Where => {
  const counts = (run: Run) => Topology.isActive(self.topology, run)
  const nodes = RoutingTable.nodes(self.replica.table, version, counts)
  return nodes.length > 0 ? { _tag: "Known", nodes } : Leases.acquire(self.leases, version, asker, now, counts)
}

const applyLookup = (
  self: ClusterState,
  input: Of<"Locate" | "Query" | "LeaseAsked" | "LeaseRenewed" | "LeaseEnded">,
  out: Array<Output>
): void => {
  const { now, version } = input
  switch (input._tag) {
    case "Locate":
      return reply(out, input.ask, { _tag: "Located", where: where(self, version, self.self, now) })
    case "Query": {
      remind(self, input, out)
      // asked as a keeper by somebody whose view differs: the lease is the best answer, never another detour
      const found = self.role === "worker"
        ? lease(self, version, input.from, now)
        : where(self, version, input.from, now)
      return reply(out, input.ask, { _tag: "Located", where: found })
    }
    case "LeaseAsked":
      return reply(out, input.ask, { _tag: "Located", where: lease(self, version, input.from, now) })
    case "LeaseRenewed":
      return reply(out, input.ask, {
        _tag: "Renewed",
        held: Leases.renew(self.leases, version, input.from, now)
      })
    case "LeaseEnded":
      return Leases.end(self.leases, version, input.from)
  }
}

/** Asks a node to register again when this table knows nothing of what it told the master. */
const remind = (self: ClusterState, { from, live, now }: Of<"Query">, out: Array<Output>): void => {
  const { reign } = self.election
  if (self.role === "worker" || reign === undefined || !(live > 0)) return
  if (RoutingTable.liveOf(self.replica.table, from) > 0) return
  if (now - (self.reminded.get(from.id) ?? Number.NEGATIVE_INFINITY) < remindInterval) return
  if (self.reminded.size >= maxReminded) self.reminded.clear()
  self.reminded.set(from.id, now)
  out.push({ _tag: "SendReregister", to: from, reign })
}

const remindInterval = 5000
const maxReminded = 4096

// ---- consequences

const jitter = (self: ClusterState, within: number): number => Math.floor(ElectionState.draw(self.election) * within)

const settleRole = (self: ClusterState, now: number, out: Array<Output>): void => {
  const { election, topology } = self
  const { reign } = election
  const role = ElectionState.isMaster(election)
    ? "master"
    : reign === undefined
    ? "worker"
    : RoleOf.roleOf(topology.assignment, self.self.id)
  if (role !== self.role) {
    out.push({
      _tag: "Log",
      message: "changed its role",
      fields: { role, former: self.role, epoch: reign?.epoch ?? 0, active: topology.active.length }
    })
    self.role = role
    self.changed = true
  }
  // whoever is to succeed follows the table like a replica, whatever its rank
  const follows = role === "worker" && Succession.isFollowing(self.succession)
  Replica.assume(self.replica, follows ? "replica" : role, reign, now, out)
  if (reign !== undefined && !Reign.equals(reign, self.registeredUnder)) {
    const handed = reign.kind === "granted" && reign.predecessor !== undefined &&
      reign.predecessor.epoch === self.registeredUnder?.epoch &&
      reign.predecessor.bootId === self.registeredUnder.bootId
    self.registeredUnder = reign
    self.changed = true
    // a master by grant has everything that was acknowledged
    if (handed) return Registrations.redirect(self.registrations, now)
    const delay = role === "master" ? 0 : jitter(self, Registrations.renewWithin)
    Registrations.renew(self.registrations, now + delay)
  }
}

const settleRegistrations = (self: ClusterState, now: number, out: Array<Output>): void => {
  const { election, registrations } = self
  const { reign } = election
  const { master } = self.topology.assignment
  if (reign === undefined || master === undefined || !Succession.isOpen(self.succession)) return
  const to = { id: master.id, bootId: master.bootId }
  for (;;) {
    const entries = Registrations.take(registrations, to, now)
    if (entries.length === 0) return
    if (self.role !== "master") return void out.push({ _tag: "SendRegister", to, reign, entries })
    Replica.accept(self.replica, entries, now)
    endLeases(self, entries)
    Registrations.answered(registrations, to, registrations.live, now)
  }
}

// ---- reading

export const view = (self: ClusterState): ClusterView => ({
  self: self.self.id,
  bootId: self.self.bootId,
  role: self.role,
  reign: self.election.reign,
  replicas: self.topology.assignment.replicas.map((node) => node.id),
  members: Topology.memberViews(self.topology)
})

/** How many entries count in this node's table. */
export const routes = (self: ClusterState): number =>
  self.role === "worker"
    ? self.registrations.live
    : RoutingTable.count(self.replica.table, (run) => Topology.isActive(self.topology, run))

/** What this node knows of where everything is warm (a worker: only its own). */
export const routesOf = (
  self: ClusterState
): Array<{ readonly version: string; readonly nodes: ReadonlyArray<Run> }> => {
  const counts = (run: Run) => Topology.isActive(self.topology, run)
  const versions = self.role === "worker"
    ? [...self.registrations.own.values()].filter((entry) => entry.live).map((entry) => entry.version)
    : [...self.replica.table.versions.keys()]
  return versions.sort().flatMap((version) => {
    const nodes = self.role === "worker" ? [self.self] : RoutingTable.nodes(self.replica.table, version, counts)
    return nodes.length === 0 ? [] : [{ version, nodes }]
  })
}
