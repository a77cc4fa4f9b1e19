/** Makes a failing plan small: fewer actions, fewer members, a shorter run, a simpler network, and still failing.
 *
 * PURE. Boundary: tries plans in a fixed order with a budget of runs; whether one fails is asked of the caller. */
import * as Plan from "./Plan.ts"

export interface Shrunk {
  readonly plan: Plan.Plan
  readonly tries: number
}

const keep = (nodes: ReadonlyArray<number>, below: number): Array<number> => nodes.filter((node) => node < below)

/** The action among the members below a number; undefined when nothing is left of it. */
const among = (action: Plan.Action, below: number): Plan.Action | undefined => {
  switch (action._tag) {
    case "Heal":
    case "Loss":
      return action
    case "Broadcast":
    case "SetMeta":
      return action.node < below ? action : undefined
    case "Partition":
      return { ...action, groups: action.groups.map((group) => keep(group, below)) }
    case "Cut":
      return { ...action, from: keep(action.from, below), to: keep(action.to, below) }
    case "Start":
    case "Restart":
    case "Rejoin": {
      const nodes = keep(action.nodes, below)
      return nodes.length === 0 ? undefined : { ...action, nodes, seeds: keep(action.seeds, below) }
    }
    default: {
      const nodes = keep(action.nodes, below)
      return nodes.length === 0 ? undefined : { ...action, nodes }
    }
  }
}

const withMembers = (plan: Plan.Plan, most: number): Plan.Plan => ({
  ...plan,
  nodes: Math.min(plan.nodes, most),
  anomalous: keep(plan.anomalous, most),
  actions: plan.actions.flatMap((action) => among(action, most) ?? [])
})

/** Plans one step smaller, the largest steps first. */
const smaller = function*(plan: Plan.Plan): Generator<Plan.Plan> {
  const { actions, network } = plan
  for (let size = actions.length; size >= 1; size = Math.floor(size / 2)) {
    for (let from = 0; from < actions.length; from += size) {
      yield { ...plan, actions: actions.filter((_, i) => i < from || i >= from + size) }
    }
  }
  const members = Plan.size(plan)
  for (const most of [2, Math.floor(members / 2), Math.floor(members * 0.75), members - 1]) {
    if (most >= 2 && most < members) yield withMembers(plan, most)
  }
  const last = Math.max(0, ...actions.map(({ at }) => at)) + 1000
  for (const duration of [last, plan.duration / 2, plan.duration * 0.8]) {
    if (Math.ceil(duration) < plan.duration) yield { ...plan, duration: Math.ceil(duration) }
  }
  for (const field of ["loss", "duplicate", "reorder", "ttl", "bandwidth", "mtu"] as const) {
    if (network[field] !== 0) yield { ...plan, network: { ...network, [field]: 0 } }
  }
  for (const [index, action] of actions.entries()) {
    if ("nodes" in action && action.nodes.length > 1) {
      for (const node of action.nodes) {
        const nodes = action.nodes.filter((other) => other !== node)
        yield { ...plan, actions: actions.map((other, i) => i === index ? { ...action, nodes } : other) }
      }
    }
  }
}

/** Takes every step that still fails, until none does or the budget is spent. */
export const shrink = (
  plan: Plan.Plan,
  options: { readonly fails: (plan: Plan.Plan) => boolean; readonly budget?: number | undefined }
): Shrunk => {
  const budget = options.budget ?? 300
  let best = plan
  let tries = 0
  for (let again = true; again && tries < budget;) {
    again = false
    for (const candidate of smaller(best)) {
      if (tries >= budget) break
      if (Plan.problem(candidate) !== undefined) continue
      tries++
      if (!options.fails(candidate)) continue
      best = candidate
      again = true
      break
    }
  }
  return { plan: best, tries }
}
