/** What each action of a plan does to the members and the network.
 *
 * PURE. Boundary: one action at its time; order and time are `Simulation`'s. Actions that no longer apply (a crash of
 * a member that is down) do nothing, so that shrinking may leave any out. */
import * as Pipes from "./Pipes.ts"
import type * as Plan from "./Plan.ts"
import type * as SimNode from "./SimNode.ts"
import type { Simulation } from "./Simulation.ts"

const each = (sim: Simulation, nodes: ReadonlyArray<number>, use: (node: SimNode.SimNode) => void): void => {
  for (const index of nodes) {
    const node = sim.nodes[index]
    if (node !== undefined) use(node)
  }
}

const addresses = (sim: Simulation, seeds: ReadonlyArray<number>) =>
  seeds.flatMap((seed) => sim.nodes[seed]?.address ?? [])

const start = (sim: Simulation, node: SimNode.SimNode, seeds: ReadonlyArray<number>): void => {
  if (node.up) return
  sim.boot(node)
  sim.resume(node)
  if (seeds.length > 0) sim.command(node, { _tag: "Join", seeds: addresses(sim, seeds) })
}

const crash = (sim: Simulation, node: SimNode.SimNode): void => {
  if (!node.up) return
  Pipes.abort(sim, node)
  node.up = false
  node.busy = false
  node.queue = []
  node.queueHead = 0
  sim.recount()
}

const heal = (sim: Simulation): void => {
  sim.cuts.clear()
  for (const node of sim.nodes) {
    node.group = 0
    node.isolated = false
    node.egress = 0
    node.ingress = 0
  }
}

const meta = (bytes: number, at: number): Uint8Array => {
  const value = new Uint8Array(bytes)
  new DataView(value.buffer).setUint32(0, at)
  return value
}

/** Lets an action happen. */
export const apply = (sim: Simulation, action: Plan.Action): void => {
  switch (action._tag) {
    case "Start":
    case "Restart":
      return each(sim, action.nodes, (node) => start(sim, node, action.seeds))
    case "Crash":
      return each(sim, action.nodes, (node) => crash(sim, node))
    case "Leave":
      return each(sim, action.nodes, (node) => sim.command(node, { _tag: "Leave" }))
    case "Rejoin":
      return each(sim, action.nodes, (node) => {
        node.left = false
        sim.recount()
        sim.command(node, { _tag: "Join", seeds: addresses(sim, action.seeds) })
      })
    case "Pause":
      return each(sim, action.nodes, (node) => {
        node.paused = true
      })
    case "Resume":
      return each(sim, action.nodes, (node) => {
        if (node.paused) sim.resume(node)
      })
    case "Slow":
      return each(sim, action.nodes, (node) => {
        node.perPacket = action.perPacket
      })
    case "Partition": {
      for (const [group, nodes] of action.groups.entries()) {
        each(sim, nodes, (node) => {
          node.group = group + 1
        })
      }
      return
    }
    case "Cut": {
      for (const from of action.from) for (const to of action.to) sim.cuts.add(from * 65_536 + to)
      return
    }
    case "Isolate":
      return each(sim, action.nodes, (node) => {
        node.isolated = true
      })
    case "Heal":
      return heal(sim)
    default:
      return change(sim, action)
  }
}

/** Actions that change a number, or say something. */
const change = (
  sim: Simulation,
  action: Extract<
    Plan.Action,
    { readonly _tag: "Lossy" | "Loss" | "Broadcast" | "SetMeta" | "Jump" | "Skew" | "Drift" }
  >
): void => {
  switch (action._tag) {
    case "Lossy":
      return each(sim, action.nodes, (node) => {
        node.egress = action.egress
        node.ingress = action.ingress
      })
    case "Loss": {
      sim.network.loss = action.loss
      return
    }
    case "Broadcast":
      return each(sim, [action.node], (node) => {
        for (let i = 0; i < action.count; i++) {
          const payload = new Uint8Array(action.bytes)
          sim.command(node, { _tag: "Broadcast", kind: "sim", key: "", payload })
        }
      })
    case "SetMeta":
      return each(sim, [action.node], (node) => {
        node.meta = meta(Math.max(4, action.bytes), sim.now)
        sim.command(node, { _tag: "SetMeta", meta: node.meta })
      })
    case "Jump":
      return each(sim, action.nodes, (node) => sim.retime(node, { by: action.by }))
    case "Skew":
      return each(sim, action.nodes, (node) => {
        node.skew = action.by
      })
    case "Drift":
      return each(sim, action.nodes, (node) => sim.retime(node, { rate: action.rate }))
  }
}
