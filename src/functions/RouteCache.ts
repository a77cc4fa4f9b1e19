/** Which nodes have a function version warm, as this gateway last heard: a bounded LRU. PURE.
 *
 * Boundary: remembers answers and chooses among them. Whether a node can be used now (alive in the view, not skipped)
 * and how busy it is comes in with each question; asking the control plane is the gateway's business.
 * An entry is only a hint: a node that turns out not to be warm is taken out, and a hint older than `freshMs` is used
 * once more while a new one is fetched, so that the warm set is followed as it grows.
 * Invariants: M5 (at most `capacity` versions, `maxNodes` nodes each). */
import type * as Link from "./Link.ts"

export const maxNodes = 64

interface Route {
  readonly nodes: Array<Link.Warm>
  /** When it was learned, in the time of `now`. */
  at: number
  /** Rotates the choice. */
  turn: number
}

export interface RouteCache {
  readonly capacity: number
  readonly freshMs: number
  readonly routes: Map<string, Route>
}

export const make = (options: { readonly capacity: number; readonly freshMs: number }): RouteCache => ({
  capacity: options.capacity,
  freshMs: options.freshMs,
  routes: new Map()
})

export const size = (self: RouteCache): number => self.routes.size

/** Replaces what is known of a version; no nodes: forgets it. */
export const set = (self: RouteCache, version: string, nodes: ReadonlyArray<Link.Warm>, now: number): void => {
  self.routes.delete(version)
  if (nodes.length === 0) return
  if (self.routes.size >= self.capacity) {
    const oldest = self.routes.keys().next()
    if (oldest.done !== true) self.routes.delete(oldest.value)
  }
  self.routes.set(version, { nodes: nodes.slice(0, maxNodes), at: now, turn: 0 })
}

/** The node is not warm after all. */
export const forget = (self: RouteCache, version: string, id: string): void => {
  const route = self.routes.get(version)
  if (route === undefined) return
  const at = route.nodes.findIndex((node) => node.id === id)
  if (at !== -1) route.nodes.splice(at, 1)
  if (route.nodes.length === 0) self.routes.delete(version)
}

/** True when the version is known but should be asked for anew; says so once per `freshMs`. */
export const isStale = (self: RouteCache, version: string, now: number): boolean => {
  const route = self.routes.get(version)
  if (route === undefined || now - route.at < self.freshMs) return false
  route.at = now
  return true
}

/** A node's calls in flight from here, or -1 when it cannot be used now. */
export type Load = (node: Link.Warm) => number

/** A node to send a call to: of the next two usable ones the one with less in flight. `tried` are left out. */
export const pick = (
  self: RouteCache,
  version: string,
  choice: { readonly load: Load; readonly tried: ReadonlyArray<string> }
): Link.Warm | undefined => {
  const route = self.routes.get(version)
  if (route === undefined) return undefined
  self.routes.delete(version)
  self.routes.set(version, route)
  const { nodes } = route
  let found: Link.Warm | undefined
  let foundLoad = 0
  let usable = 0
  for (let step = 0; step < nodes.length && usable < 2; step++) {
    const node = nodes[(route.turn + step) % nodes.length]
    if (node === undefined || choice.tried.includes(node.id)) continue
    const load = choice.load(node)
    if (load < 0) continue
    usable++
    if (found === undefined || load < foundLoad) {
      found = node
      foundLoad = load
    }
  }
  route.turn = (route.turn + 1) % nodes.length
  return found
}
