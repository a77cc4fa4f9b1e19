/** A scenario of your own in the simulator: names, metadata, protocol settings, network and faults as data.
 *
 * Seven members of a shop in two racks. One rack loses its uplink for a minute while a register restarts; afterwards all
 * must see each other again. Everything happens in virtual time: half an hour of three runs takes a moment.
 *
 * Run: node examples/04-own-scenario.ts
 *
 * Expected output (the same at every run):
 *   run 1: no violation; a split while the racks were apart; equal again within 30 s: yes
 *   run 2: no violation; a split while the racks were apart; equal again within 30 s: yes
 *   run 3: no violation; a split while the racks were apart; equal again within 30 s: yes
 *   shop: 3 runs, 7 members at the start, lan, shoal, loss 5 %, seeds from 1
 */
import * as Plan from "../src/testing/simulator/Plan.ts"
import * as Report from "../src/testing/simulator/Report.ts"
import * as Series from "../src/testing/simulator/Series.ts"
import * as Trial from "../src/testing/simulator/Trial.ts"

const minute = 60_000
const members = ["till-1", "till-2", "till-3", "stock", "office", "kitchen", "door"]
const upperRack = [0, 1, 2]

/** What `shoal simulate --plan FILE` reads is the same thing as JSON. */
const plan = (seed: number): Plan.Plan => ({
  name: "shop",
  seed,
  nodes: members.length,
  profile: "lan",
  settings: "shoal",
  params: { pushPullInterval: 10_000 },
  network: { ...Plan.calm, latency: { _tag: "Lognormal", median: 1, sigma: 0.5 }, loss: 0.05, mtu: 1500 },
  actions: [
    { _tag: "Partition", at: minute, groups: [upperRack] },
    { _tag: "Crash", at: 1.5 * minute, nodes: [1] },
    { _tag: "Restart", at: 1.6 * minute, nodes: [1], seeds: [0, 3] },
    { _tag: "Heal", at: 2 * minute },
    { _tag: "SetMeta", at: 5 * minute, node: 3, bytes: 32 }
  ],
  duration: 10 * minute,
  untilKnown: false,
  converges: true,
  anomalous: []
})

const problem = Plan.problem(plan(1))
if (problem !== undefined) throw new Error(problem)

const series = Series.make(plan(1))
for (const seed of [1, 2, 3]) {
  const outcome = Trial.run({
    plan: plan(seed),
    bytes: true,
    identity: (index) => ({
      id: members[index] ?? `member-${index}`,
      address: { host: `192.168.${upperRack.includes(index) ? 1 : 2}.${index + 1}`, port: 7946 },
      meta: new TextEncoder().encode(`rack=${upperRack.includes(index) ? "upper" : "lower"}`)
    })
  })
  Series.add(series, outcome)
  const [violation] = outcome.violations
  // How many different views there were, every few hundred milliseconds of virtual time.
  const during = outcome.points.filter(({ at }) => at > minute && at < 2 * minute)
  const after = outcome.points.filter(({ at }) => at > 2 * minute + 30_000 && at < 4 * minute)
  console.log([
    `run ${seed}: ${violation === undefined ? "no violation" : violation.what}`,
    during.some(({ views }) => views > 1) ? "a split while the racks were apart" : "no split",
    `equal again within 30 s: ${after.every(({ views }) => views === 1) ? "yes" : "no"}`
  ].join("; "))
}
console.log(Report.title(series))
