/** The scenarios that come with the simulator: each writes a plan from a seed and a few numbers.
 *
 * PURE. Boundary: only plans; a plan written by hand or by another program is as good. */
import * as Prng from "../../swim/Prng.ts"
import * as Chaos from "./Chaos.ts"
import * as Latency from "./Latency.ts"
import * as Plan from "./Plan.ts"

export interface Request {
  readonly seed: number
  readonly nodes?: number | undefined
  readonly profile?: Plan.Profile | undefined
  readonly settings?: Plan.Settings | undefined
  readonly params?: Plan.Plan["params"] | undefined
  readonly network?: Partial<Plan.Network> | undefined
  /** Unit ms; what it means depends on the scenario. */
  readonly duration?: number | undefined
  /** How many members or messages; what it means depends on the scenario. */
  readonly count?: number | undefined
}

export interface Scenario {
  readonly name: string
  readonly summary: string
  readonly nodes: number
  /** What `count` and `duration` mean, where they mean something. */
  readonly count?: string | undefined
  readonly duration?: string | undefined
  readonly plan: (request: Request) => Plan.Plan
}

/** A request with everything filled in. */
interface Filled extends Request {
  readonly nodes: number
  readonly random: Prng.Prng
}

type Body = Partial<Omit<Plan.Plan, "name" | "seed">>

const define = (
  scenario: Omit<Scenario, "plan">,
  body: (request: Filled) => Body
): Scenario => ({
  ...scenario,
  plan: (request) => {
    const nodes = Math.max(2, Math.floor(request.nodes ?? scenario.nodes))
    const profile = request.profile ?? "lan"
    const made = body({ ...request, profile, nodes, random: Prng.make(request.seed ^ 0x2545f491) })
    const latency = profile === "wan" ? Latency.wan : Latency.lan
    return {
      name: scenario.name,
      seed: request.seed,
      nodes,
      profile,
      settings: request.settings ?? "shoal",
      actions: [],
      duration: 600_000,
      untilKnown: false,
      converges: false,
      anomalous: [],
      ...made,
      network: { ...Plan.calm, latency, ...made.network, ...request.network },
      params: { ...made.params, ...request.params }
    }
  }
})

const second = 1000
const minute = 60 * second

export const range = (from: number, to: number): Array<number> => Array.from({ length: to - from }, (_, i) => from + i)

/** A time in the second after the first. */
const soon = ({ random }: Filled): number => second + Math.floor(Prng.float(random) * second)

const pick = ({ nodes, random }: Filled): number => Prng.below(random, nodes)

export const sample = (random: Prng.Prng, count: number, below: number): Array<number> => {
  const all = range(0, below)
  for (let i = 0; i < Math.min(count, below); i++) {
    const other = i + Prng.below(random, below - i)
    const value = all[i] ?? 0
    all[i] = all[other] ?? 0
    all[other] = value
  }
  return all.slice(0, count).toSorted((a, b) => a - b)
}

const crash = define(
  { name: "crash", summary: "One member ends without a word", nodes: 10 },
  (r) => ({ untilKnown: true, actions: [{ _tag: "Crash", at: soon(r), nodes: [pick(r)] }] })
)

const crashes = define(
  {
    name: "crashes",
    summary: "Several members end at once",
    nodes: 10,
    count: "members that end, default half of them"
  },
  (r) => ({
    untilKnown: true,
    actions: [{ _tag: "Crash", at: soon(r), nodes: sample(r.random, r.count ?? Math.floor(r.nodes / 2), r.nodes) }]
  })
)

const join = define(
  { name: "join", summary: "One member joins through one that runs", nodes: 10 },
  (r) => ({ untilKnown: true, actions: [{ _tag: "Start", at: soon(r), nodes: [r.nodes], seeds: [pick(r)] }] })
)

const update = define(
  { name: "update", summary: "One member changes its metadata: news known at one member", nodes: 10 },
  (r) => ({ untilKnown: true, actions: [{ _tag: "SetMeta", at: soon(r), node: pick(r), bytes: 16 }] })
)

const leave = define(
  { name: "leave", summary: "One member says goodbye", nodes: 10 },
  (r) => ({ untilKnown: true, actions: [{ _tag: "Leave", at: soon(r), nodes: [pick(r)] }] })
)

const flood = define(
  { name: "flood", summary: "All join through one seed within a second", nodes: 100 },
  (r) => ({
    nodes: 1,
    duration: second,
    converges: true,
    actions: range(1, r.nodes).map((node) => ({
      _tag: "Start",
      at: Math.floor(second * node / r.nodes),
      nodes: [node],
      seeds: [0]
    }))
  })
)

const rollingRestart = define(
  { name: "rolling-restart", summary: "One after the other ends and begins again a second later", nodes: 10 },
  (r) => {
    const pause = r.duration ?? 5 * second
    return {
      duration: second + r.nodes * pause,
      converges: true,
      actions: range(0, r.nodes).flatMap((node): Array<Plan.Action> => {
        const at = second + node * pause
        const seeds = [(node + 1) % r.nodes, (node + 2) % r.nodes]
        return [
          { _tag: node % 2 === 0 ? "Leave" : "Crash", at, nodes: [node] },
          { _tag: "Crash", at: at + 500, nodes: [node] },
          { _tag: "Restart", at: at + second, nodes: [node], seeds }
        ]
      })
    }
  }
)

const massRestart = define(
  { name: "mass-restart", summary: "All end at once and begin again within two seconds", nodes: 100 },
  (r) => ({
    duration: second,
    converges: true,
    actions: [
      { _tag: "Crash", at: second, nodes: range(0, r.nodes) },
      ...range(0, r.nodes).map((node): Plan.Action => ({
        _tag: "Restart",
        at: 2 * second + Prng.below(r.random, 2000),
        nodes: [node],
        seeds: [0, 1, 2].filter((seed) => seed < r.nodes)
      }))
    ]
  })
)

/** Both halves hold each other dead, then they reach each other again. */
const partition = define(
  {
    name: "partition",
    summary: "Two halves do not reach each other, then they do",
    nodes: 10,
    duration: "of the split"
  },
  (r) => {
    const end = second + (r.duration ?? 5 * minute)
    return {
      duration: end,
      converges: true,
      actions: [
        { _tag: "Partition", at: second, groups: [sample(r.random, Math.floor(r.nodes / 2), r.nodes)] },
        { _tag: "Heal", at: end }
      ]
    }
  }
)

const oneWay = define(
  {
    name: "one-way",
    summary: "What one member sends reaches only half of the others",
    nodes: 10,
    duration: "of the cut"
  },
  (r) => {
    const from = pick(r)
    const to = sample(r.random, Math.floor(r.nodes / 2), r.nodes).filter((node) => node !== from)
    const end = second + (r.duration ?? minute)
    const actions: Array<Plan.Action> = [{ _tag: "Cut", at: second, from: [from], to }, { _tag: "Heal", at: end }]
    return { duration: end, converges: true, anomalous: [from], actions }
  }
)

const isolate = define(
  { name: "isolate", summary: "One member reaches nobody, then it does", nodes: 10, duration: "of the isolation" },
  (r) => {
    const nodes = [pick(r)]
    const end = second + (r.duration ?? minute)
    return {
      duration: end,
      converges: true,
      anomalous: nodes,
      actions: [{ _tag: "Isolate", at: second, nodes }, { _tag: "Heal", at: end }]
    }
  }
)

const steady = define(
  { name: "steady", summary: "Nothing happens but loss (default 20 %)", nodes: 10, duration: "default 2 minutes" },
  (r) => ({ duration: r.duration ?? 2 * minute, network: { ...Plan.calm, loss: 0.2 } })
)

const blockedCounts = [1, 4, 8, 12, 16, 20, 24, 28, 32]
const blockedFor = [128, 512, 2048, 8192, 16_384, 32_768]
const blockedEvery = [1, 4, 16, 64, 256, 1024, 4096, 16_384]
export const sweepSize = blockedCounts.length * blockedFor.length * blockedEvery.length

/** Some members stand still for D ms, then run for I ms, again and again. The seed chooses C, D and I in turn. */
const slow = define(
  {
    name: "slow",
    summary: `Lifeguard's sweep of slow members: ${sweepSize} seeds are one sweep (alpha 5, beta 6)`,
    nodes: 128,
    count: "slow members, default by the seed"
  },
  (r) => {
    const turn = (r.seed - 1) % sweepSize
    const most = r.count ?? blockedCounts[turn % blockedCounts.length] ?? 1
    const rest = Math.floor(turn / blockedCounts.length)
    const blocked = blockedFor[rest % blockedFor.length] ?? 128
    const free = blockedEvery[Math.floor(rest / blockedFor.length)] ?? 1
    const nodes = sample(r.random, Math.min(most, r.nodes - 1), r.nodes)
    const actions: Array<Plan.Action> = [{ _tag: "Slow", at: 0, nodes: range(0, r.nodes), perPacket: 0.3 }]
    const begin = 15 * second
    const end = begin + (r.duration ?? 2 * minute)
    for (let at = begin; at < end; at += blocked + free) {
      actions.push({ _tag: "Pause", at, nodes }, { _tag: "Resume", at: at + blocked, nodes })
    }
    const last = actions.at(-1)?.at ?? end
    return { duration: Math.max(end, last + second), actions, anomalous: nodes, params: { suspicionAlpha: 5 } }
  }
)

const flipFlop = define(
  {
    name: "flip-flop",
    summary: "Some members receive nothing for 20 s, then everything for 20 s, again and again",
    nodes: 100,
    count: "such members, default one in a hundred",
    duration: "default 5 minutes"
  },
  (r) => {
    const nodes = sample(r.random, r.count ?? Math.max(1, Math.floor(r.nodes / 100)), r.nodes)
    const end = second + (r.duration ?? 5 * minute)
    const actions: Array<Plan.Action> = []
    for (let at = second; at < end; at += 40 * second) {
      actions.push({ _tag: "Lossy", at, nodes, egress: 0, ingress: 1 })
      actions.push({ _tag: "Lossy", at: Math.min(end, at + 20 * second), nodes, egress: 0, ingress: 0 })
    }
    return { duration: end, converges: true, anomalous: nodes, actions }
  }
)

const asymmetric = define(
  {
    name: "asymmetric",
    summary: "Some members lose 80 % of what they send",
    nodes: 100,
    count: "such members, default one in a hundred",
    duration: "default 5 minutes"
  },
  (r) => {
    const nodes = sample(r.random, r.count ?? Math.max(1, Math.floor(r.nodes / 100)), r.nodes)
    const end = second + (r.duration ?? 5 * minute)
    const actions: Array<Plan.Action> = [
      { _tag: "Lossy", at: second, nodes, egress: 0.8, ingress: 0 },
      { _tag: "Lossy", at: end, nodes, egress: 0, ingress: 0 }
    ]
    return { duration: end, converges: true, anomalous: nodes, actions }
  }
)

const storm = define(
  {
    name: "storm",
    summary: "One member sends a burst of broadcasts at once",
    nodes: 10,
    count: "broadcasts, default 3000"
  },
  (r) => ({
    untilKnown: true,
    converges: true,
    duration: 5 * minute,
    actions: [{ _tag: "Broadcast", at: second, node: pick(r), bytes: 64, count: r.count ?? 3000 }]
  })
)

const broadcasts = define(
  {
    name: "broadcasts",
    summary: "Broadcasts from random members, one a second",
    nodes: 6,
    count: "broadcasts, default 20"
  },
  (r) => ({
    untilKnown: true,
    actions: range(0, r.count ?? 20).map((i) => ({
      _tag: "Broadcast",
      at: second * (1 + i),
      node: pick(r),
      bytes: 64,
      count: 1
    }))
  })
)

const clocks = define(
  { name: "clocks", summary: "Clocks that run wrong, leap, or date a restart wrong", nodes: 10 },
  (r) => {
    const [fast = 0, slow = 1, leaping = fast, wrong = slow] = sample(r.random, 4, r.nodes)
    return {
      duration: 2 * minute,
      converges: true,
      anomalous: [leaping],
      actions: [
        { _tag: "Drift", at: second, nodes: [fast], rate: 1.2 },
        { _tag: "Drift", at: second, nodes: [slow], rate: 0.8 },
        { _tag: "Jump", at: 20 * second, nodes: [leaping], by: 30 * second },
        { _tag: "Skew", at: 30 * second, nodes: [wrong], by: -3600 * second },
        { _tag: "Crash", at: 31 * second, nodes: [wrong] },
        { _tag: "Restart", at: 33 * second, nodes: [wrong], seeds: [fast, slow] },
        { _tag: "Drift", at: 2 * minute, nodes: [fast, slow], rate: 1 }
      ]
    }
  }
)

const chaos = define(
  {
    name: "chaos",
    summary: "A random network and random faults, then everything heals",
    nodes: 8,
    count: "faults, default 2 to 12"
  },
  (r) => Chaos.body(r.random, r.nodes, r.count)
)

export const all: ReadonlyArray<Scenario> = [
  crash,
  crashes,
  join,
  update,
  leave,
  flood,
  rollingRestart,
  massRestart,
  partition,
  oneWay,
  isolate,
  steady,
  slow,
  flipFlop,
  asymmetric,
  storm,
  broadcasts,
  clocks,
  chaos
]

export const find = (name: string): Scenario | undefined => all.find((scenario) => scenario.name === name)
