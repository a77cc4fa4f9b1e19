/** The doors of a node's control plane, where a simulation looks and where a mutant breaks a rule: what is asked of its
 * actor, what the catalog asks of its manager, what it writes to its disk, what it hears from gossip.
 *
 * Boundary: a door changes nothing without a mutant; what is seen is judged by the `Watcher`. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import { ClusterActor, itemKey } from "../../../src/cluster/ClusterActor.ts"
import type { ClusterManager } from "../../../src/cluster/ClusterManager.ts"
import type * as ClusterMessage from "../../../src/cluster/ClusterMessage.ts"
import type * as ClusterState from "../../../src/cluster/ClusterState.ts"
import * as Reign from "../../../src/cluster/Reign.ts"
import * as ReignStore from "../../../src/cluster/ReignStore.ts"
import type { Run } from "../../../src/cluster/RoutingTable.ts"
import type * as Store from "../../../src/cluster/Store.ts"
import type { Change } from "../../../src/membership/Changes.ts"
import * as Membership from "../../../src/membership/Membership.ts"
import type * as SimDisk from "../../../src/testing/SimDisk.ts"
import type { Process } from "./ControlCluster.ts"

/** The rule that a mutant breaks. */
export type Mutant =
  /** control messages of lower reigns are applied */
  | "no-fence"
  /** whichever reign is heard last is obeyed */
  | "no-order"
  /** every claim is supported, and obeyed as if a majority of witnesses supported it */
  | "no-evidence"
  /** nothing of a reign survives a restart */
  | "no-floor"
  /** entries of the dead count */
  | "no-filter"
  /** what the catalog writes is acknowledged before it is synced */
  | "no-fsync"
  /** a closed master goes on writing */
  | "no-seal"
  /** a member's age is what its own clock says */
  | "no-age"

export interface Watcher {
  readonly born: (process: Process, state: ClusterState.ClusterState) => void
  readonly died: (process: Process) => void
  /** the machine of this name has an empty disk from now on */
  readonly replaced: (id: string) => void
  /** the first contact was made */
  readonly ready: (process: Process) => void
  readonly ended: (process: Process, cause: string) => void
  readonly complained: (process: Process, line: string) => void
  /** a control message under this reign was applied; `known` was obeyed when it came */
  readonly applied: (process: Process, what: string, reign: Reign.Reign, known: Reign.Reign | undefined) => void
  /** a write may begin */
  readonly begun: (process: Process, reign: Reign.Reign) => void
  readonly supported: (process: Process, claim: Reign.Reign) => void
  /** a look-up was answered from this node's table */
  readonly found: (process: Process, version: string, nodes: ReadonlyArray<Run>) => void
  /** the reign is on the disk */
  readonly saved: (process: Process, saved: ReignStore.Saved) => void
}

interface Base {
  readonly process: Process
  readonly mutant: Mutant | undefined
  readonly watcher: Watcher
}

export interface Doors extends Base {
  readonly actor: ClusterActor["Service"]
  readonly state: ClusterState.ClusterState
}

type Answer = ClusterMessage.Answer
type Actor = ClusterActor["Service"]
type Question = Parameters<Actor["ask"]>[0]
type Posted = Parameters<Actor["post"]>[0]

const asWitnessed = (reign: Reign.Reign, process: Process): Reign.Reign =>
  reign.kind === "plain" && !Reign.isHeldBy(reign, process) ? { ...reign, kind: "witnessed" } : reign

/** The actor as the rest of the node has it. */
export const actor = (doors: Doors): Actor => {
  const { actor, mutant, process, state } = doors
  const post = (input: Posted): Effect.Effect<void> => {
    if (input._tag !== "ReignHeard" || process.paused) return actor.post(input)
    if (mutant === "no-evidence") return actor.post({ ...input, reign: asWitnessed(input.reign, process) })
    if (mutant !== "no-order") return actor.post(input)
    return Effect.andThen(
      actor.read(({ election }) => {
        if (Reign.isLower(input.reign, election.reign)) election.reign = undefined
      }).pipe(Effect.ignore),
      actor.post(input)
    )
  }
  const ask = (question: Question) =>
    Effect.suspend(() => {
      const known = state.election.reign
      const asked = mutant === "no-fence" && known !== undefined &&
          (question._tag === "RegisterReceived" || question._tag === "SubscribeAsked")
        ? { ...question, reign: known }
        : question
      return Effect.map(actor.ask(asked), (answer) => heard(doors, question, answer, known))
    })
  return ClusterActor.of({ ...actor, post, ask })
}

const heard = (doors: Doors, question: Question, answer: Answer, known: Reign.Reign | undefined): Answer => {
  const { mutant, process, state, watcher } = doors
  if (!process.alive) return answer
  switch (question._tag) {
    case "RegisterReceived":
    case "SubscribeAsked": {
      const { reign } = question
      const done = answer._tag === "Registered" || answer._tag === "Subscribed"
      if (done && reign !== undefined) watcher.applied(process, question._tag, reign, known)
      return answer
    }
    case "WriteAsked": {
      if (answer._tag === "Writable") watcher.begun(process, answer.reign)
      const closed = mutant === "no-seal" && answer._tag === "NotMaster" && Reign.isHeldBy(known, process)
      if (!closed || known === undefined) return answer
      watcher.begun(process, known)
      return { _tag: "Writable", reign: known }
    }
    case "SupportAsked": {
      if (answer._tag !== "Supported") return answer
      const given: Answer = mutant === "no-evidence" ? { ...answer, support: "supported" } : answer
      if (given.support === "supported") watcher.supported(process, question.claim)
      return given
    }
    case "Locate":
    case "Query":
    case "LeaseAsked": {
      if (answer._tag !== "Located") return answer
      const entries = mutant === "no-filter" ? state.replica.table.versions.get(question.version) ?? [] : []
      const nodes = entries.map(({ bootId, node }) => ({ id: node, bootId }))
      const where = nodes.length > 0 ? { _tag: "Known", nodes } as const : answer.where
      if (where._tag === "Known") watcher.found(process, question.version, where.nodes)
      return { _tag: "Located", where }
    }
    default:
      return answer
  }
}

/** The manager as the catalog has it. */
export const manager = (
  given: ClusterManager["Service"],
  { mutant, process, state, watcher }: Doors
): ClusterManager["Service"] => ({
  ...given,
  admit: (reign) =>
    Effect.suspend(() => {
      const known = state.election.reign
      const passed = Effect.sync(() => {
        if (process.alive) watcher.applied(process, "catalog", reign, known)
      })
      const admitted = Effect.andThen(given.admit(reign), passed)
      return mutant === "no-fence" ? Effect.catchTag(admitted, "LowerReign", () => passed) : admitted
    }),
  isOpen: mutant === "no-seal" ? Effect.succeed(true) : given.isOpen,
  observeEpoch: mutant === "no-floor" ? () => Effect.void : given.observeEpoch
})

/** How the disk of a node is broken. */
export const diskOf = (mutant: Mutant | undefined): Partial<SimDisk.Conditions> =>
  mutant === "no-fsync" ? { lies: (path) => path !== ReignStore.path } : {}

/** The disk as a process has it. */
export const storeOf = (store: Store.Store["Service"], { mutant, process, watcher }: Base): Store.Store["Service"] => ({
  ...store,
  read: (path) => mutant === "no-floor" && path === ReignStore.path ? store.read("cluster/nothing") : store.read(path),
  replace: (path, bytes) =>
    path !== ReignStore.path ?
      store.replace(path, bytes) :
      Effect.tap(store.replace(path, bytes), () =>
        Effect.sync(() => {
          const saved = ReignStore.fromBytes(bytes)
          if (saved !== undefined && process.alive) watcher.saved(process, saved)
        }))
})

/** What gossip tells a node. */
export const membership = <E, R>(
  layer: Layer.Layer<Membership.Membership, E, R>,
  { mutant, process }: Base
): Layer.Layer<Membership.Membership, E, R> => {
  if (mutant !== "no-evidence" && mutant !== "no-age") return layer
  const rewrite = (change: Change): Change =>
    change._tag === "ItemChanged" && change.key === itemKey
      ? { ...change, value: witnessed(change.value, process) }
      : change
  return Layer.effect(
    Membership.Membership,
    Effect.map(Membership.Membership, (given) =>
      mutant === "no-age"
        ? { ...given, self: Effect.map(given.self, (self) => ({ ...self, startedAt: ageOf(process) })) }
        : { ...given, changes: Stream.map(given.changes, rewrite) })
  ).pipe(Layer.provide(layer))
}

const witnessed = (bytes: Uint8Array, process: Process): Uint8Array => {
  const reign = Reign.fromBytes(bytes)
  return reign === undefined ? bytes : Reign.toBytes(asWitnessed(reign, process))
}

const ageOf = ({ bornAt, skew }: Process): number => Math.floor(1_700_000_000_000 + bornAt * skew.rate + skew.offset)
