/** The protocol's settings, their presets, the rules between them, and what follows from the cluster's size.
 *
 * PURE. Boundary: plain numbers in milliseconds and bytes; `membership` turns `Duration` settings into these.
 * All of them are cluster-wide except where a comment says "per node". */
import * as Result from "effect/Result"

export interface Params {
  /** One probe per member and interval. Unit ms. */
  readonly probeInterval: number
  /** How long a direct ping may take before relays are asked. Unit ms, below `probeInterval`. */
  readonly probeTimeout: number
  /** Relays per failed direct ping. */
  readonly relays: number
  /** Relays while the node's own probe loss is above 10 %. */
  readonly relaysUnderLoss: number
  /** Pace of the dissemination tick. Unit ms. */
  readonly gossipInterval: number
  /** Members told per tick. */
  readonly gossipFanout: number
  /** Fresh news is forwarded after this many ms; 0 switches eager forwarding off. */
  readonly eagerDelay: number
  /** At most so many eager packets per gossip interval. Per node. */
  readonly eagerBudget: number
  /** Suspicion minimum = alpha * max(1, log10 n) * probeInterval. At least 2. */
  readonly suspicionAlpha: number
  /** Suspicion maximum = beta * minimum. */
  readonly suspicionBeta: number
  /** Each update is sent at most retransmit * ceil(log10(n + 1)) times by one member. */
  readonly retransmit: number
  /** Pace of the periodic table exchange. Unit ms; scaled above 32 members. */
  readonly pushPullInterval: number
  /** How long the dead and the left are remembered. Unit ms. */
  readonly tombstoneRetention: number
  /** How long the dead are tried again. Unit ms. */
  readonly rejoinFor: number
  /** At most so many tombstones are kept, the oldest go first. */
  readonly maxTombstones: number
  /** At most so many members are known, living and not. */
  readonly maxMembers: number
  /** No datagram is larger (M6). Unit bytes. */
  readonly datagramBudget: number
  /** Lifeguard: scale interval and timeout by the local health score. */
  readonly awareness: boolean
  /** The highest local health score. */
  readonly awarenessMax: number
  /** Relays say when the target does not answer them. */
  readonly nacks: boolean
  /** Ask others before a suspicion becomes a death. */
  readonly askFirst: boolean
  /** Whoever passes on a superseded accusation is told what supersedes it. */
  readonly corrections: boolean
  /** On a first suspicion some members probe the suspect next. */
  readonly confirmProbes: boolean
  /** Suspicion timers wait until received packets are processed. */
  readonly drainThenJudge: boolean
  /** Ping over a stream beside the relays. */
  readonly streamPing: boolean
  /** A wake-up later than this shifts all pending deadlines. Unit ms. */
  readonly lateness: number
  /** Leaving waits for so many acknowledgements ... */
  readonly leaveAcks: number
  /** ... or this long. Unit ms. */
  readonly leaveTimeout: number
  /** After a join, and when a ping's digest differs, tables are compared; at most once in this time, so that no rumour
   * dies. 0 = only periodically. Unit ms. */
  readonly settleInterval: number
  /** A table exchange that takes longer is given up. Unit ms. */
  readonly streamTimeout: number
  /** Table exchanges open at once, in each direction. */
  readonly maxStreams: number
  /** User broadcasts queued, and those kept for members that missed them, each up to so many bytes. */
  readonly broadcastBytes: number
  /** How long a broadcast is passed on and kept. Unit ms. */
  readonly broadcastAge: number
  /** Share of a packet kept for user broadcasts while there are some, 0 to 1. */
  readonly broadcastShare: number
}

export const lan: Params = {
  probeInterval: 1000,
  probeTimeout: 500,
  relays: 3,
  relaysUnderLoss: 6,
  gossipInterval: 200,
  gossipFanout: 3,
  eagerDelay: 2,
  eagerBudget: 30,
  suspicionAlpha: 4,
  suspicionBeta: 6,
  retransmit: 4,
  pushPullInterval: 30_000,
  tombstoneRetention: 24 * 3_600_000,
  rejoinFor: 3_600_000,
  maxTombstones: 4096,
  maxMembers: 65_536,
  datagramBudget: 1400,
  awareness: true,
  awarenessMax: 8,
  nacks: true,
  askFirst: true,
  corrections: true,
  confirmProbes: true,
  drainThenJudge: true,
  streamPing: true,
  lateness: 100,
  leaveAcks: 3,
  leaveTimeout: 2000,
  settleInterval: 1500,
  streamTimeout: 10_000,
  maxStreams: 64,
  broadcastBytes: 4 * 1024 * 1024,
  broadcastAge: 60_000,
  broadcastShare: 0.25
}

export const wan: Params = {
  ...lan,
  probeInterval: 5000,
  probeTimeout: 3000,
  gossipInterval: 500,
  gossipFanout: 4,
  suspicionAlpha: 6,
  pushPullInterval: 60_000,
  leaveTimeout: 5000,
  streamTimeout: 30_000
}

export const local: Params = {
  ...lan,
  probeTimeout: 200,
  relays: 1,
  gossipInterval: 100,
  suspicionAlpha: 3,
  retransmit: 2,
  pushPullInterval: 15_000
}

/** What is wrong with a combination of settings, by field. */
export interface Invalid {
  readonly field: keyof Params
  readonly rule: string
}

const rules: ReadonlyArray<readonly [keyof Params, string, (p: Params) => boolean]> = [
  ["probeInterval", "at least 10 ms", (p) => p.probeInterval >= 10],
  ["probeTimeout", "above 0 and below probeInterval", (p) => p.probeTimeout > 0 && p.probeTimeout < p.probeInterval],
  ["relays", "0 to 32", (p) => p.relays >= 0 && p.relays <= 32],
  ["relaysUnderLoss", "at least relays, at most 32", (p) => p.relaysUnderLoss >= p.relays && p.relaysUnderLoss <= 32],
  ["gossipInterval", "at least 1 ms", (p) => p.gossipInterval >= 1],
  ["gossipFanout", "1 to 32", (p) => p.gossipFanout >= 1 && p.gossipFanout <= 32],
  ["eagerDelay", "0 (off) to gossipInterval", (p) => p.eagerDelay >= 0 && p.eagerDelay <= p.gossipInterval],
  ["eagerBudget", "at least gossipFanout", (p) => p.eagerBudget >= p.gossipFanout],
  ["suspicionAlpha", "at least 2", (p) => p.suspicionAlpha >= 2],
  ["suspicionBeta", "at least 1", (p) => p.suspicionBeta >= 1],
  ["retransmit", "1 to 64", (p) => p.retransmit >= 1 && p.retransmit <= 64],
  ["pushPullInterval", "at least probeInterval", (p) => p.pushPullInterval >= p.probeInterval],
  ["tombstoneRetention", "at least two pushPullInterval", (p) => p.tombstoneRetention >= 2 * p.pushPullInterval],
  ["rejoinFor", "at most tombstoneRetention", (p) => p.rejoinFor >= 0 && p.rejoinFor <= p.tombstoneRetention],
  ["maxTombstones", "at least 16", (p) => p.maxTombstones >= 16],
  ["maxMembers", "16 to 1,000,000", (p) => p.maxMembers >= 16 && p.maxMembers <= 1_000_000],
  // A full Alive (512 B of metadata, names of 128 B) must fit beside a ping.
  ["datagramBudget", "1200 to 65507 bytes", (p) => p.datagramBudget >= 1200 && p.datagramBudget <= 65_507],
  ["awarenessMax", "0 to 64", (p) => p.awarenessMax >= 0 && p.awarenessMax <= 64],
  ["lateness", "above 0", (p) => p.lateness > 0],
  ["leaveAcks", "at least 1", (p) => p.leaveAcks >= 1],
  ["leaveTimeout", "above 0", (p) => p.leaveTimeout > 0],
  ["streamTimeout", "at least probeTimeout", (p) => p.streamTimeout >= p.probeTimeout],
  [
    "settleInterval",
    "0 (off) to pushPullInterval",
    (p) => p.settleInterval >= 0 && p.settleInterval <= p.pushPullInterval
  ],
  ["maxStreams", "at least 2", (p) => p.maxStreams >= 2],
  ["broadcastBytes", "at least datagramBudget", (p) => p.broadcastBytes >= p.datagramBudget],
  ["broadcastAge", "at least gossipInterval", (p) => p.broadcastAge >= p.gossipInterval],
  ["broadcastShare", "0 to 0.9", (p) => p.broadcastShare >= 0 && p.broadcastShare <= 0.9]
]

/** Refuses impossible combinations with the field's name. */
export const validate = (params: Params): Result.Result<Params, Invalid> => {
  for (const key of Object.keys(params) as Array<keyof Params>) {
    const value = params[key]
    if (typeof value === "number" && !Number.isFinite(value)) {
      return Result.fail({ field: key, rule: "a finite number" })
    }
  }
  for (const [field, rule, holds] of rules) if (!holds(params)) return Result.fail({ field, rule })
  return Result.succeed(params)
}

/** How often one member sends one update; `n` counts the living. Below ten members as often as from ten on: with four
 * sends one rumour in seven would miss somebody. */
export const transmitLimit = (params: Params, n: number): number =>
  params.retransmit * Math.max(2, Math.ceil(Math.log10(n + 1)))

export const suspicionMin = (params: Params, n: number): number =>
  params.suspicionAlpha * Math.max(1, Math.log10(Math.max(1, n))) * params.probeInterval

/** Independent confirmations that shorten a suspicion; none where the cluster is too small to give them. */
export const confirmations = (params: Params, n: number): number => {
  const k = Math.max(1, Math.floor(params.suspicionAlpha) - 2)
  return Math.max(0, Math.min(k, n - 2))
}

export const pushPullEvery = (params: Params, n: number): number =>
  n <= 32 ? params.pushPullInterval : params.pushPullInterval * (Math.ceil(Math.log2(n) - 5) + 1)
