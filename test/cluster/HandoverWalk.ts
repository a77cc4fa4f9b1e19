/** Walks every state of a handover's model: breadth first, so that the way to a violation is a shortest one. From every
 * state it also follows the run without further faults to its end. */
import * as Model from "./HandoverModel.ts"

export interface Walked {
  readonly states: number
  readonly steps: number
  readonly violation: { readonly what: string; readonly way: ReadonlyArray<string> } | undefined
}

const patience = 150

export const walk = (budget: Model.Budget, using: Model.Rules = Model.rules, most = 1_000_000): Walked => {
  const parents = new Map<string, readonly [string, string]>()
  const seen = new Set<string>()
  /** from here on a run without faults is known to end well */
  const good = new Set<string>()
  let steps = 0
  const wayTo = (key: string, ...end: ReadonlyArray<string>): ReadonlyArray<string> => {
    const way: Array<string> = []
    let at = parents.get(key)
    while (at !== undefined) {
      way.unshift(at[1])
      at = parents.get(at[0])
    }
    return [...way, ...end]
  }
  const ends = (from: Model.State): string | undefined => {
    const keys: Array<string> = []
    const way: Array<string> = []
    for (let state = from; keys.length < patience;) {
      const key = Model.key(state)
      const action = good.has(key) ? undefined : Model.fair(state, using)
      if (action === undefined) {
        const wrong = good.has(key) ? undefined : Model.unfinished(state, using)
        if (wrong !== undefined) return `${wrong}, after ${way.join(", ")}`
        for (const passed of keys) good.add(passed)
        good.add(key)
        return undefined
      }
      keys.push(key)
      way.push(action.name)
      state = action.run()
    }
    return `no end, after ${way.slice(-10).join(", ")}`
  }
  let frontier = [Model.initial()]
  for (const state of frontier) seen.add(Model.key(state))
  while (frontier.length > 0 && seen.size < most) {
    const next: Array<Model.State> = []
    for (const state of frontier) {
      const key = Model.key(state)
      const what = Model.violation(state, using) ?? ends(state)
      if (what !== undefined) return { states: seen.size, steps, violation: { what, way: wayTo(key) } }
      for (const action of Model.actions(state, budget, using)) {
        steps++
        const after = action.run()
        const reached = Model.key(after)
        if (seen.has(reached)) continue
        seen.add(reached)
        parents.set(reached, [key, action.name])
        next.push(after)
      }
    }
    frontier = next
  }
  return { states: seen.size, steps, violation: undefined }
}
