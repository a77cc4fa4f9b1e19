/** Random faults for looking for defects: any fault may come at any time, all of them end before the run does.
 *
 * PURE. Boundary: writes actions; members 0 to 2 are everybody's seeds and always come back. */
import * as Prng from "../../swim/Prng.ts"
import type * as Latency from "./Latency.ts"
import * as Plan from "./Plan.ts"

const second = 1000
/** Faults begin within this time. */
const within = 90 * second

const between = (random: Prng.Prng, low: number, high: number): number => low + (high - low) * Prng.float(random)
const whole = (random: Prng.Prng, low: number, high: number): number => Math.floor(between(random, low, high + 1))
const maybe = (random: Prng.Prng, chance: number, value: number): number => Prng.float(random) < chance ? value : 0

const some = (random: Prng.Prng, nodes: number, most: number): Array<number> => {
  const chosen = new Set<number>()
  for (let i = whole(random, 1, most); i > 0; i--) chosen.add(Prng.below(random, nodes))
  return [...chosen].toSorted((a, b) => a - b)
}

const latency = (random: Prng.Prng): Latency.Latency =>
  Prng.float(random) < 0.5
    ? { _tag: "Exponential", least: 0.2, mean: between(random, 0.1, 20) }
    : { _tag: "Lognormal", median: between(random, 0.2, 60), sigma: between(random, 0.1, 1) }

const network = (random: Prng.Prng): Plan.Network => ({
  ...Plan.calm,
  latency: latency(random),
  loss: maybe(random, 0.6, between(random, 0, 0.25)),
  duplicate: maybe(random, 0.5, between(random, 0, 0.2)),
  reorder: maybe(random, 0.5, between(random, 0, 0.3)),
  reorderBy: between(random, 1, 300),
  ttl: maybe(random, 0.2, 2000),
  bandwidth: maybe(random, 0.2, between(random, 100_000, 1_000_000)),
  mtu: maybe(random, 0.3, 1500)
})

type Kind = (random: Prng.Prng, nodes: number, begin: number, end: number) => ReadonlyArray<Plan.Action>

const seeds = (nodes: number): Array<number> => [0, 1, 2].filter((seed) => seed < nodes)

const kinds: ReadonlyArray<Kind> = [
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, nodes)
    return [
      { _tag: "Crash", at: begin, nodes: chosen },
      { _tag: "Restart", at: end, nodes: chosen, seeds: seeds(nodes) }
    ]
  },
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, 3)
    return [{ _tag: "Pause", at: begin, nodes: chosen }, { _tag: "Resume", at: end, nodes: chosen }]
  },
  (random, nodes, begin, end) => [
    { _tag: "Partition", at: begin, groups: [some(random, nodes, nodes), some(random, nodes, 2)] },
    { _tag: "Heal", at: end }
  ],
  (random, nodes, begin, end) => [
    { _tag: "Cut", at: begin, from: some(random, nodes, 3), to: some(random, nodes, nodes) },
    { _tag: "Heal", at: end }
  ],
  (random, nodes, begin, end) => [
    { _tag: "Isolate", at: begin, nodes: some(random, nodes, 2) },
    { _tag: "Heal", at: end }
  ],
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, 3)
    const lossy = { _tag: "Lossy", nodes: chosen } as const
    return [
      { ...lossy, at: begin, egress: between(random, 0, 1), ingress: between(random, 0, 1) },
      { ...lossy, at: end, egress: 0, ingress: 0 }
    ]
  },
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, 2)
    return [
      { _tag: "Leave", at: begin, nodes: chosen },
      { _tag: "Rejoin", at: Math.max(end, begin + 6 * second), nodes: chosen, seeds: seeds(nodes) }
    ]
  },
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, 2)
    return [
      { _tag: "Slow", at: begin, nodes: chosen, perPacket: between(random, 0.1, 20) },
      { _tag: "Slow", at: end, nodes: chosen, perPacket: 0 }
    ]
  },
  (random, nodes, begin) => [
    { _tag: "Jump", at: begin, nodes: some(random, nodes, 2), by: between(random, 100, 60_000) },
    { _tag: "Skew", at: begin, nodes: some(random, nodes, 2), by: between(random, -7_200_000, 7_200_000) }
  ],
  (random, nodes, begin, end) => {
    const chosen = some(random, nodes, 2)
    return [
      { _tag: "Drift", at: begin, nodes: chosen, rate: between(random, 0.7, 1.4) },
      { _tag: "Drift", at: end, nodes: chosen, rate: 1 }
    ]
  },
  (random, nodes, begin) => [
    {
      _tag: "Broadcast",
      at: begin,
      node: Prng.below(random, nodes),
      bytes: whole(random, 1, 900),
      count: whole(random, 1, 300)
    }
  ],
  (random, nodes, begin) => [
    { _tag: "SetMeta", at: begin, node: Prng.below(random, nodes), bytes: whole(random, 4, 512) }
  ]
]

/** Network, faults and what undoes them. */
export const body = (
  random: Prng.Prng,
  nodes: number,
  count?: number
): Pick<Plan.Plan, "network" | "actions" | "duration" | "converges"> => {
  const faults = count ?? whole(random, 2, 12)
  const actions: Array<Plan.Action> = []
  for (let i = 0; i < faults; i++) {
    const begin = Math.floor(between(random, second, within))
    const end = begin + Math.floor(Math.exp(between(random, Math.log(50), Math.log(60 * second))))
    actions.push(...kinds[Prng.below(random, kinds.length)]?.(random, nodes, begin, end) ?? [])
  }
  const last = Math.max(within, ...actions.map(({ at }) => at)) + second
  actions.push(...calm(nodes, last))
  return { network: network(random), actions, duration: last, converges: true }
}

/** Whatever is still wrong is put right, and everybody runs. */
const calm = (nodes: number, at: number): ReadonlyArray<Plan.Action> => {
  const all = Array.from({ length: nodes }, (_, node) => node)
  return [
    { _tag: "Heal", at },
    { _tag: "Loss", at, loss: 0.01 },
    { _tag: "Resume", at, nodes: all },
    { _tag: "Slow", at, nodes: all, perPacket: 0 },
    { _tag: "Drift", at, nodes: all, rate: 1 },
    { _tag: "Restart", at, nodes: all, seeds: seeds(nodes) }
  ]
}
