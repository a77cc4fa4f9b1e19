/** What a node knows of its reign, its master and its own claim: the state that `Election` and `Claim` work on.
 *
 * PURE. Boundary: fields, their beginning, and what can be read from them; nothing here changes a reign. */
import type { MemberId } from "../swim/Member.ts"
import type { Support } from "./ClusterMessage.ts"
import * as Reign from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"
import * as Topology from "./Topology.ts"

export const beatInterval = 100
/** One rank's head start before the next may claim. */
export const rankDelay = 50
/** A node that woke later than this knows nothing about the time in between. */
export const lateness = 200
export const supportTimeout = 300
export const retryDelay = 150
/** Witnesses keep their ways to each other open: idle connections are closed after 60 s. */
export const greetInterval = 30_000
export const contestInterval = 1000
/** How long a reign of a member never seen is given the benefit of the doubt. */
export const unknownGrace = 2000
export const meetingGrace = 1000
/** Who is said to be dead has this long to deny it, before a node that did not watch it itself believes it. */
export const denialGrace = 1000
/** A node that has joined waits this long for the reign to arrive before it looks for the first claim. */
export const settleAfterContact = 200
const joinTimeout = 3000
const joinJitter = 1000

/** Silence after which a master counts as lost, by the number of active members. */
export const lostAfter = (witnesses: number): number => beatInterval * (witnesses < 10 ? 8 : witnesses < 32 ? 5 : 3)

export interface Watch {
  readonly target: Run
  lastBeat: number
  heard: boolean
  refused: boolean
  lost: boolean
}

export type Basis = "vacant" | "departed" | "witnessed" | "meeting" | "renewal"

export interface Claim {
  readonly reign: Reign.Reign
  readonly basis: Basis
  readonly asked: Set<MemberId>
  readonly answers: Map<MemberId, Support>
  phase: "persisting" | "asking"
  deadline: number
}

export interface ElectionState {
  readonly self: Run
  /** The reign obeyed: what is known in R2. */
  reign: Reign.Reign | undefined
  reignSince: number
  /** the holder was seen alive since: its death is news, not an old view */
  holderSeen: boolean
  /** since when gossip holds it for dead; `-Infinity` when this node itself lost it before */
  goneAt: number | undefined
  /** The highest epoch heard, claimed or found. */
  floor: number
  /** A higher reign that is not obeyed, because the master is still heard. */
  pending: Reign.Reign | undefined
  pendingSince: number
  contestAt: number
  witnesses: ReadonlyArray<MemberId>
  /** the witnesses by this node's own view, as of a revision of it */
  computed: { readonly revision: number; readonly ids: ReadonlyArray<MemberId> }
  /** the master itself named its witnesses */
  announced: boolean
  watch: Watch | undefined
  readonly verdicts: Set<MemberId>
  supported: { readonly epoch: number; readonly run: Run } | undefined
  claim: Claim | undefined
  claimAt: number | undefined
  basis: Basis | undefined
  /** a master whose state was built anew reigns by a new epoch, so that everybody registers and subscribes again */
  renewing: boolean
  /** a grant of this master is out: it claims nothing until the target is known to have it, to refuse it or to be gone */
  granted: boolean
  /** this node is about to leave: it becomes master no more */
  retiring: boolean
  notBefore: number
  contacted: boolean
  settleUntil: number
  nextBeat: number
  greetAt: number
  expected: number
  random: number
}

export const make = (options: {
  readonly self: Run
  readonly now: number
  readonly seed: number
  /** started with `--join`: no claim before the first contact or 3 s */
  readonly joining: boolean
  readonly floor: number
  readonly reign: Reign.Reign | undefined
  /** the state of this same run is built anew */
  readonly rebuilt?: boolean | undefined
  /** the node is about to leave */
  readonly retiring?: boolean | undefined
}): ElectionState => {
  const self: ElectionState = {
    self: options.self,
    reign: options.reign,
    reignSince: Number.NEGATIVE_INFINITY,
    holderSeen: false,
    goneAt: undefined,
    floor: Math.max(options.floor, options.reign?.epoch ?? 0),
    pending: undefined,
    pendingSince: 0,
    contestAt: 0,
    witnesses: [],
    computed: { revision: -1, ids: [] },
    announced: false,
    watch: undefined,
    verdicts: new Set(),
    supported: undefined,
    claim: undefined,
    claimAt: undefined,
    basis: undefined,
    renewing: options.rebuilt === true && Reign.isHeldBy(options.reign, options.self),
    granted: false,
    retiring: options.retiring === true,
    notBefore: options.now,
    contacted: !options.joining,
    settleUntil: options.now,
    nextBeat: options.now,
    greetAt: options.now,
    expected: Number.POSITIVE_INFINITY,
    random: options.seed >>> 0
  }
  if (options.joining) self.notBefore = options.now + joinTimeout + Math.floor(draw(self) * joinJitter)
  return self
}

/** The next number in [0, 1) of the state's own generator. */
export const draw = (self: { random: number }): number => {
  self.random = (self.random + 0x6d2b79f5) >>> 0
  let t = Math.imul(self.random ^ (self.random >>> 15), 1 | self.random)
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

/** The same run of the same member. */
export const sameRun = (a: Run, b: Run): boolean => a.id === b.id && a.bootId === b.bootId

export const isMaster = (self: ElectionState): boolean => Reign.isHeldBy(self.reign, self.self)

/** Whether this node has fresh evidence that the holder of its reign lives. */
export const hearsMaster = (self: ElectionState, topology: Topology.Topology, now: number): boolean => {
  if (self.reign === undefined) return false
  if (isMaster(self)) return true
  const { watch } = self
  if (watch === undefined || !sameRun(watch.target, self.reign)) {
    return Topology.isAlive(topology, self.reign) || mayDeny(self, topology, now)
  }
  if (isLost(watch, topology, now)) return false
  return watch.heard || Topology.isAlive(topology, self.reign)
}

export const isLost = (watch: Watch, topology: Topology.Topology, now: number): boolean =>
  watch.lost || watch.refused || now - watch.lastBeat > lostAfter(topology.active.length)

/** A node that was cut off brings its own view with it, in which the master is dead, and the master denies it at once. */
const mayDeny = (self: ElectionState, topology: Topology.Topology, now: number): boolean =>
  self.reign !== undefined && self.goneAt !== undefined && now - self.goneAt < denialGrace &&
  Topology.isSaidDead(topology, self.reign)

/** From when on this node may succeed a master that it did not lose itself: whoever ranks before it claims first. */
export const mournedAt = (self: ElectionState): number =>
  self.goneAt === undefined ? Number.NEGATIVE_INFINITY : self.goneAt + denialGrace + 2 * retryDelay

/** A beat is better evidence of life than anybody's word of death, but not than the master's own word that it leaves. */
export const isHeardInPerson = (self: ElectionState, topology: Topology.Topology, now: number): boolean => {
  const { reign, watch } = self
  return reign !== undefined && watch !== undefined && sameRun(watch.target, reign) && watch.heard &&
    !isLost(watch, topology, now) && Topology.isSaidDead(topology, reign)
}

/** Since when there is no master, as far as this node knows: the last beat for a witness, `now` for who hears of it.
 * Undefined while there is one, and before the first. */
export const masterlessSince = (
  self: ElectionState,
  topology: Topology.Topology,
  now: number
): number | undefined => {
  const { reign, watch } = self
  if (reign === undefined || isMaster(self)) return undefined
  if (watch?.lost === true && sameRun(watch.target, reign)) return watch.lastBeat
  return Topology.isActive(topology, reign) ? undefined : now
}

/** The other active nodes. */
export const others = (self: ElectionState, topology: Topology.Topology): Array<Run> =>
  topology.active.filter((node) => !sameRun(node, self.self)).map(({ bootId, id }) => ({ id, bootId }))
