/** The members as the control plane needs them: ranked, with their metadata read, and with the roles that follow.
 *
 * PURE. Boundary: which member is alive is gossip's word; which reign is obeyed is `Election`'s. A member without
 * readable metadata (a node of membership alone) takes no part: it has no role and no vote. */
import type { Member, MemberId } from "../swim/Member.ts"
import type { MemberView } from "./ClusterView.ts"
import * as NodeMeta from "./NodeMeta.ts"
import * as Reign from "./Reign.ts"
import * as Role from "./Role.ts"
import type { Run } from "./RoutingTable.ts"

export interface Node extends Role.Ranked {
  readonly member: Member
  readonly meta: NodeMeta.NodeMeta | undefined
}

export interface Topology {
  readonly nodes: Map<MemberId, Node>
  /** Alive and suspect nodes that take part, in rank order. */
  active: ReadonlyArray<Node>
  /** Those of them that may succeed and watch: all but a master that its witnesses lost. */
  trusted: ReadonlyArray<Node>
  size: Role.Size
  assignment: Role.Assignment<Node>
  /** grows whenever ranks or members changed */
  revision: number
  stale: boolean
  reign: Reign.Reign | undefined
  /** until when the predecessor of a witnessed reign is passed over */
  shunUntil: number
}

/** A master that its witnesses lost is no replica for as long as gossip may need to see that it is dead. */
const shunFor = 30_000

export const make = (): Topology => ({
  nodes: new Map(),
  active: [],
  trusted: [],
  size: Role.initialSize,
  assignment: { master: undefined, replicas: [], workers: [] },
  revision: 0,
  stale: true,
  reign: undefined,
  shunUntil: Number.NEGATIVE_INFINITY
})

const isUp = (node: Node): boolean => node.member.status === "alive" || node.member.status === "suspect"

const toNode = (member: Member, known: Node | undefined): Node => {
  const sameRun = known !== undefined && known.bootId === member.bootId
  const meta = sameRun && known.member.meta === member.meta ? known.meta : NodeMeta.decode(member.meta)
  return {
    id: member.id,
    bootId: member.bootId,
    startedAt: member.startedAt,
    eligible: meta !== undefined && meta.eligible && new TextEncoder().encode(member.id).length <= Reign.maxIdBytes,
    member,
    meta
  }
}

/** Takes one member's news; the caller recomputes afterwards with `refresh`. */
export const update = (self: Topology, member: Member): void => {
  self.nodes.set(member.id, toNode(member, self.nodes.get(member.id)))
  self.stale = true
}

/** Takes a whole snapshot: who is not in it is forgotten. */
export const replace = (self: Topology, members: ReadonlyArray<Member>): void => {
  const known = new Map(self.nodes)
  self.nodes.clear()
  self.stale = true
  for (const member of members) self.nodes.set(member.id, toNode(member, known.get(member.id)))
}

/** Recomputes ranks and roles if members, reign or time ask for it; true when the roles changed. */
export const refresh = (self: Topology, reign: Reign.Reign | undefined, now: number): boolean => {
  if (!self.stale && self.reign === reign && now < nextChange(self, Number.NEGATIVE_INFINITY)) return false
  if (self.reign !== reign) {
    const replaced = reign?.kind === "witnessed" && reign.predecessor !== undefined &&
      reign.predecessor.bootId !== reign.bootId
    self.shunUntil = replaced ? now + shunFor : now
  }
  self.stale = false
  self.reign = reign
  self.revision++
  const active: Array<Node> = []
  for (const node of self.nodes.values()) if (isUp(node) && node.meta !== undefined) active.push(node)
  self.active = active.sort(Role.compareRank)
  self.size = Role.resize(self.size, active.length, now)
  const before = self.assignment
  const k = Math.min(self.size.k, Math.max(0, active.length - 1))
  const shunned = now < self.shunUntil ? reign?.predecessor?.bootId : undefined
  if (shunned === undefined) self.shunUntil = Number.NEGATIVE_INFINITY
  self.trusted = shunned === undefined ? self.active : self.active.filter((node) => node.bootId !== shunned)
  self.assignment = Role.assign(self.trusted, reign, k)
  return before.master?.id !== self.assignment.master?.id ||
    before.master?.bootId !== self.assignment.master?.bootId ||
    before.replicas.length !== self.assignment.replicas.length ||
    before.replicas.some((node, i) => {
      const after = self.assignment.replicas[i]
      return after?.id !== node.id || after.bootId !== node.bootId
    })
}

/** When time alone changes the roles, after `now`. */
export const nextChange = (self: Topology, now: number): number => {
  const shrinkAt = self.size.smallerSince === undefined
    ? Number.POSITIVE_INFINITY
    : self.size.smallerSince + Role.shrinkAfter
  const shunUntil = self.shunUntil > now ? self.shunUntil : Number.POSITIVE_INFINITY
  return Math.min(shrinkAt, shunUntil)
}

/** The node when this very run of it is alive or suspect. */
export const activeRun = (self: Topology, run: Run): Node | undefined => {
  const node = self.nodes.get(run.id)
  return node !== undefined && node.bootId === run.bootId && isUp(node) ? node : undefined
}

export const isActive = (self: Topology, run: Run): boolean => activeRun(self, run) !== undefined

/** Alive without doubt: not even suspect. */
export const isAlive = (self: Topology, run: Run): boolean => activeRun(self, run)?.member.status === "alive"

/** This very run is held for dead; it has not said itself that it leaves. */
export const isSaidDead = (self: Topology, run: Run): boolean => {
  const node = self.nodes.get(run.id)
  return node?.bootId === run.bootId && node.member.status === "dead"
}

/** Master and replicas: those who hold the whole table. */
export const keepers = (self: Topology): ReadonlyArray<Node> =>
  self.assignment.master === undefined
    ? self.assignment.replicas
    : [self.assignment.master, ...self.assignment.replicas]

export const memberViews = (self: Topology): Array<MemberView> =>
  Array.from(self.nodes.values(), (node): MemberView => ({
    id: node.id,
    bootId: node.bootId,
    startedAt: node.startedAt,
    status: node.member.status,
    role: isUp(node) && node.meta !== undefined ? Role.roleOf(self.assignment, node.id) : undefined,
    incarnation: node.member.incarnation,
    address: node.member.address,
    meta: node.meta
  })).sort((a, b) => a.id < b.id ? -1 : 1)
