/** What one node of a cluster is told at its start. PURE.
 *
 * Boundary: values only. The command line reads flags and variables into it; programs that embed a node write it. */
import type * as Redacted from "effect/Redacted"
import type { Address } from "../swim/Member.ts"

export interface NodeConfig {
  /** Unique in the cluster. */
  readonly name: string
  /** Gossip, UDP and TCP; port 0 takes a free one. */
  readonly bind: Address
  /** Gossip address told to others; default: the bound one. */
  readonly advertise?: Address | undefined
  /** Members to join, `host:port`; tried for ever. */
  readonly join: ReadonlyArray<string>
  /** Function calls and administration. */
  readonly http: Address
  /** Control connections between nodes. */
  readonly rpc: Address
  /** Forwarded calls between nodes. */
  readonly data: Address
  /** The folder of this node; one process at a time. */
  readonly dataDir: string
  readonly profile: "lan" | "wan" | "local"
  /** Told to other members. */
  readonly tags: Readonly<Record<string, string>>
  /** Release of the platform, told to other members. */
  readonly release: string
  /** Name of the cluster; nodes with another label are refused. */
  readonly label: string
  /** Keys of the cluster, beside those in the folder; the first seals packets when the folder has none. Without any, all
   * addresses must be loopback. */
  readonly keys?: ReadonlyArray<Redacted.Redacted<Uint8Array>> | undefined
  /** Keeps the members there, as JSON, always current. */
  readonly membersFile?: string | undefined
  /** May become master; default true. */
  readonly eligible?: boolean | undefined
  /** Function workers kept warm; default 2. */
  readonly spares?: number | undefined
  /** How long a leaving node serves on after it said goodbye, so that whoever balances load over it has time to notice,
   * milliseconds; default 1000. */
  readonly lingerMs?: number | undefined
}

/** Where a node listens, with the ports it got. */
export interface Addresses {
  readonly gossip: Address
  readonly http: Address
  readonly rpc: Address
  readonly data: Address
}
