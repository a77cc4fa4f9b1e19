/** What a node sees of its cluster at one moment: the members with their roles, the reign it obeys, its own role.
 *
 * PURE. Boundary: plain structured-clonable data, so that it can be posted to the gateway's thread as it is. */
import type { Address, BootId, Incarnation, MemberId, Status } from "../swim/Member.ts"
import type { NodeMeta } from "./NodeMeta.ts"
import type { Reign } from "./Reign.ts"

export type Role = "master" | "replica" | "worker"

export interface MemberView {
  readonly id: MemberId
  readonly bootId: BootId
  readonly startedAt: number
  readonly status: Status
  /** undefined for who is gone, and for a member of the membership alone */
  readonly role: Role | undefined
  readonly incarnation: Incarnation
  readonly address: Address
  /** undefined when the member's metadata is not ours */
  readonly meta: NodeMeta | undefined
}

export interface ClusterView {
  readonly self: MemberId
  readonly bootId: BootId
  readonly role: Role
  /** The reign this node obeys; undefined while it knows none. */
  readonly reign: Reign | undefined
  /** The replicas in rank order, without the master. */
  readonly replicas: ReadonlyArray<MemberId>
  /** Every member gossip knows, dead and left ones too, by id. */
  readonly members: ReadonlyArray<MemberView>
}

/** The member's entry when it is the same run and alive or suspect. */
export const activeMember = (self: ClusterView, id: MemberId): MemberView | undefined => {
  const member = self.members.find((m) => m.id === id)
  return member !== undefined && (member.status === "alive" || member.status === "suspect") ? member : undefined
}

/** The master as a member of this view, if it is alive or suspect here. */
export const master = (self: ClusterView): MemberView | undefined => {
  if (self.reign === undefined) return undefined
  const member = activeMember(self, self.reign.id)
  return member !== undefined && member.bootId === self.reign.bootId ? member : undefined
}
