/** One node of `ControlSim`: its state machine, its disk, and what the oracle for gossip has told it. */
import type * as ClusterMessage from "../../src/cluster/ClusterMessage.ts"
import type * as ClusterState from "../../src/cluster/ClusterState.ts"
import type * as Reign from "../../src/cluster/Reign.ts"
import * as RoutingTable from "../../src/cluster/RoutingTable.ts"
import type { Run } from "../../src/cluster/RoutingTable.ts"
import type * as Member from "../../src/swim/Member.ts"

type Input = ClusterMessage.Input

export interface Disk {
  floor: number
  reign: Reign.Reign | undefined
}

export interface SimNode {
  readonly id: Member.MemberId
  readonly bootId: number
  readonly startedAt: number
  readonly disk: Disk
  readonly meta: Uint8Array
  state: ClusterState.ClusterState
  up: boolean
  paused: boolean
  left: boolean
  held: Array<() => void>
  item: Reign.Reign | undefined
  incarnation: number
  readonly seen: Map<
    string,
    { status: Member.Status; unreachableSince: number | undefined; bootId: number; deadAfter: number }
  >
  watch: Run | undefined
  follow: Run | undefined
  asks: Map<number, (answer: ClusterMessage.Answer) => void>
  timerToken: number
  /** the highest reign under which a control message was applied */
  applied: Reign.Reign | undefined
  known: Reign.Reign | undefined
}

export interface SimOptions {
  readonly seed: number
  readonly latency?: readonly [number, number]
  /** share of messages that arrive 200 ms late, as a retransmission does */
  readonly loss?: number
  /** breaks a rule: may change the input or the state before a step; undefined drops the input */
  readonly mutate?: (input: Input, node: SimNode) => Input | undefined
  /** breaks a rule: a restart finds nothing on disk */
  readonly forgetful?: boolean
}

/** What changes when a control message is applied. */
export const fingerprint = (node: SimNode): string => {
  const { replica } = node.state
  const { hash, size } = RoutingTable.digest(replica.table)
  return `${size}:${hash}:${replica.applied ?? "-"}`
}

/** The reign a control message carries. */
export const controlReign = (input: Input): Reign.Reign | undefined => {
  switch (input._tag) {
    case "SnapshotReceived":
    case "RegisterReceived":
      return input.reign
    case "DeltaReceived":
      return input.delta.reign
    default:
      return undefined
  }
}
