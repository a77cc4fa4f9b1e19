/** One run as data: members, network, what happens when, and how long. Readable and writable as JSON.
 *
 * PURE. Boundary: says what shall happen; `Simulation` lets it happen, `Scenarios` writes plans, a user may too.
 * Times are in milliseconds of virtual time after the start, members are numbers from 0. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Params from "../../swim/Params.ts"
import * as Latency from "./Latency.ts"

const Nodes = Schema.Array(Schema.Int)

/** What may happen to datagrams (and, as delay, to streams) anywhere. */
export const Network = Schema.Struct({
  latency: Latency.Latency,
  /** Share of datagrams lost, 0 to 1; a lost segment of a stream is sent again 200 ms later, then 400 ... */
  loss: Schema.Finite,
  /** Share of datagrams that arrive twice. */
  duplicate: Schema.Finite,
  /** Share of datagrams that are held back ... */
  reorder: Schema.Finite,
  /** ... for up to so many ms. */
  reorderBy: Schema.Finite,
  /** A datagram under way for longer is dropped; 0 = never. Unit ms. */
  ttl: Schema.Finite,
  /** What one member can send; the rest waits in its queue. Unit bytes per second, 0 = unlimited. */
  bandwidth: Schema.Finite,
  /** A datagram with headers above this is dropped; 0 = never. Unit bytes. */
  mtu: Schema.Int,
  /** Datagrams that wait at a member that is stopped or busy; more are dropped. */
  buffer: Schema.Int
})
export type Network = typeof Network.Type

/** A local network where nothing goes wrong. */
export const calm: Network = {
  latency: Latency.lan,
  loss: 0,
  duplicate: 0,
  reorder: 0,
  reorderBy: 10,
  ttl: 0,
  bandwidth: 0,
  mtu: 0,
  buffer: 4096
}

const at = { at: Schema.Finite }

export const Action = Schema.Union([
  /** Begin for the first time and join through `seeds`. */
  Schema.TaggedStruct("Start", { ...at, nodes: Nodes, seeds: Nodes }),
  /** End at once; nobody is told. */
  Schema.TaggedStruct("Crash", { ...at, nodes: Nodes }),
  /** A new run under the old name and address. */
  Schema.TaggedStruct("Restart", { ...at, nodes: Nodes, seeds: Nodes }),
  Schema.TaggedStruct("Leave", { ...at, nodes: Nodes }),
  /** Join again after a leave. */
  Schema.TaggedStruct("Rejoin", { ...at, nodes: Nodes, seeds: Nodes }),
  /** The process stands still: nothing is received, no timer runs. */
  Schema.TaggedStruct("Pause", { ...at, nodes: Nodes }),
  Schema.TaggedStruct("Resume", { ...at, nodes: Nodes }),
  /** Each datagram takes so many ms to process; 0 = none. */
  Schema.TaggedStruct("Slow", { ...at, nodes: Nodes, perPacket: Schema.Finite }),
  /** Members of different groups do not reach each other; the unnamed form one more group. */
  Schema.TaggedStruct("Partition", { ...at, groups: Schema.Array(Nodes) }),
  /** What these send does not reach those. */
  Schema.TaggedStruct("Cut", { ...at, from: Nodes, to: Nodes }),
  /** These reach nobody and nobody reaches them. */
  Schema.TaggedStruct("Isolate", { ...at, nodes: Nodes }),
  /** All members reach each other again. */
  Schema.TaggedStruct("Heal", { ...at }),
  /** Shares of what these members send and receive that is lost besides. */
  Schema.TaggedStruct("Lossy", { ...at, nodes: Nodes, egress: Schema.Finite, ingress: Schema.Finite }),
  /** Share of all datagrams lost from now on. */
  Schema.TaggedStruct("Loss", { ...at, loss: Schema.Finite }),
  Schema.TaggedStruct("Broadcast", { ...at, node: Schema.Int, bytes: Schema.Int, count: Schema.Int }),
  Schema.TaggedStruct("SetMeta", { ...at, node: Schema.Int, bytes: Schema.Int }),
  /** The monotonic clock leaps ahead (a suspended machine), or the wall clock by which a later start is dated is wrong. */
  Schema.TaggedStruct("Jump", { ...at, nodes: Nodes, by: Schema.Finite }),
  Schema.TaggedStruct("Skew", { ...at, nodes: Nodes, by: Schema.Finite }),
  /** The clock runs at this rate, 1 = right. */
  Schema.TaggedStruct("Drift", { ...at, nodes: Nodes, rate: Schema.Finite })
])
export type Action = typeof Action.Type

export const Profile = Schema.Literals(["lan", "wan", "local"])
export type Profile = typeof Profile.Type

/** Which extensions are on: all of ours, Lifeguard as memberlist has it, or SWIM with suspicion. */
export const Settings = Schema.Literals(["shoal", "lifeguard", "swim"])
export type Settings = typeof Settings.Type

export const Plan = Schema.Struct({
  /** The scenario it was made from, or a name of the user's. */
  name: Schema.String,
  seed: Schema.Int,
  /** Members that exist at the start: all see all. */
  nodes: Schema.Int,
  profile: Profile,
  settings: Settings,
  /** Settings of the protocol that differ from the profile's, by field. */
  params: Schema.Record(Schema.String, Schema.Union([Schema.Finite, Schema.Boolean])),
  network: Network,
  actions: Schema.Array(Action),
  /** Unit ms. */
  duration: Schema.Finite,
  /** The run may end as soon as everybody knows of everything that happened. */
  untilKnown: Schema.Boolean,
  /** After `duration` faults are over and all views have to become equal (M4). */
  converges: Schema.Boolean,
  /** Their deaths count neither as false nor as right. */
  anomalous: Nodes
})
export type Plan = typeof Plan.Type

/** The plain protocols, by what they switch off. */
const off: Record<Settings, Partial<Params.Params>> = {
  shoal: {},
  lifeguard: {
    eagerDelay: 0,
    askFirst: false,
    corrections: false,
    confirmProbes: false,
    drainThenJudge: false,
    settleInterval: 0,
    relaysUnderLoss: 3,
    // Nothing is made up for after a late wake-up.
    lateness: 1e12
  },
  swim: {
    eagerDelay: 0,
    askFirst: false,
    corrections: false,
    confirmProbes: false,
    drainThenJudge: false,
    settleInterval: 0,
    relaysUnderLoss: 3,
    lateness: 1e12,
    awareness: false,
    nacks: false,
    suspicionBeta: 1
  }
}

const profiles: Record<Profile, Params.Params> = { lan: Params.lan, wan: Params.wan, local: Params.local }

/** The protocol's settings of a plan, or which of them is wrong. */
export const params = (self: Plan): Result.Result<Params.Params, string> => {
  const base = { ...profiles[self.profile], ...off[self.settings] }
  if (base.relaysUnderLoss < base.relays) return Result.fail("relaysUnderLoss: at least relays")
  for (const [field, value] of Object.entries(self.params)) {
    const known = Object.entries(base).find(([name]) => name === field)
    if (known === undefined) return Result.fail(`params.${field}: no such setting`)
    if (typeof known[1] !== typeof value) return Result.fail(`params.${field}: must be a ${typeof known[1]}`)
  }
  const merged: Params.Params = { ...base, ...self.params }
  const valid = Params.validate(merged)
  return Result.isFailure(valid)
    ? Result.fail(`params.${valid.failure.field}: ${valid.failure.rule}`)
    : Result.succeed(merged)
}

/** All members a plan names, whether they exist at the start or later. */
export const size = (self: Plan): number => {
  let most = self.nodes
  for (const action of self.actions) if (action._tag === "Start") most = Math.max(most, 1 + Math.max(...action.nodes))
  return most
}

const isShare = (value: number): boolean => value >= 0 && value <= 1

const named = (action: Action): ReadonlyArray<number> => {
  switch (action._tag) {
    case "Partition":
      return action.groups.flat()
    case "Cut":
      return [...action.from, ...action.to]
    case "Broadcast":
    case "SetMeta":
      return [action.node]
    case "Heal":
    case "Loss":
      return []
    case "Start":
    case "Restart":
    case "Rejoin":
      return [...action.nodes, ...action.seeds]
    default:
      return action.nodes
  }
}

/** What makes a plan impossible, naming the place. */
export const problem = (self: Plan): string | undefined => {
  if (!(self.nodes >= 0)) return "nodes: at least 0"
  if (!(self.duration > 0)) return "duration: above 0"
  const bad = Latency.problem(self.network.latency)
  if (bad !== undefined) return `network.latency: ${bad}`
  for (const share of ["loss", "duplicate", "reorder"] as const) {
    if (!isShare(self.network[share])) return `network.${share}: 0 to 1`
  }
  for (const field of ["reorderBy", "ttl", "bandwidth", "mtu"] as const) {
    if (!(self.network[field] >= 0)) return `network.${field}: at least 0`
  }
  if (!(self.network.buffer >= 1)) return "network.buffer: at least 1"
  const most = size(self)
  for (const [index, action] of self.actions.entries()) {
    if (!(action.at >= 0)) return `actions.${index}.at: at least 0`
    const stranger = named(action).find((node) => !(node >= 0 && node < most))
    if (stranger !== undefined) return `actions.${index}: there is no member ${stranger}`
    if (action._tag === "Loss" && !isShare(action.loss)) return `actions.${index}.loss: 0 to 1`
    if (action._tag === "Lossy" && !(isShare(action.egress) && isShare(action.ingress))) {
      return `actions.${index}: egress and ingress are 0 to 1`
    }
  }
  const settings = params(self)
  return Result.isFailure(settings) ? settings.failure : undefined
}
