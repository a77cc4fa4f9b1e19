/** What `shoal dev` shows: the events of a cluster as lines, and the whole of it as a table. PURE.
 *
 * Boundary: compares two looks at the cluster; when to look and where to print is up to `Dev`. */
import * as Report from "./Report.ts"
import * as Table from "./Table.ts"

/** One look at the cluster, through one node. */
export interface Snapshot {
  readonly members: ReadonlyArray<Report.Member>
  readonly status: Report.Status
  readonly functions: ReadonlyArray<Report.Function>
}

/** A process of this cluster. `http` is empty until it is ready. */
export interface Process {
  readonly name: string
  readonly pid: number
  readonly http: string
  readonly running: boolean
}

export type Event =
  | {
    readonly event: "started"
    readonly name: string
    readonly pid: number
    readonly http: string
    readonly gossip: string
  }
  | { readonly event: "deployed"; readonly name: string; readonly version: string; readonly bytes: number }
  | {
    readonly event: "ready"
    readonly nodes: number
    readonly millis: number
    readonly dataDir: string
    readonly urls: ReadonlyArray<string>
  }
  | { readonly event: "member"; readonly id: string; readonly status: string; readonly role: string }
  | { readonly event: "reign"; readonly epoch: number; readonly master: string | null }
  | {
    readonly event: "function"
    readonly name: string
    readonly version: string
    readonly nodes: ReadonlyArray<string>
  }
  | { readonly event: "removed"; readonly name: string }
  | {
    readonly event: "ended"
    readonly name: string
    readonly pid: number
    readonly how: string
    readonly expected: boolean
    readonly lines: ReadonlyArray<string>
  }
  | { readonly event: "leaving"; readonly nodes: number }
  | { readonly event: "left"; readonly killed: ReadonlyArray<string> }

/** What is new since the last look; everything, when there was none. */
export const changes = (before: Snapshot | undefined, now: Snapshot): ReadonlyArray<Event> => [
  ...reignChange(before, now),
  ...memberChanges(before, now),
  ...functionChanges(before, now)
]

const reignChange = (before: Snapshot | undefined, now: Snapshot): ReadonlyArray<Event> => {
  const reign = now.status.reign
  if (reign === undefined || reign === null) return []
  const old = before?.status.reign
  if (old?.epoch === reign.epoch && old.master === reign.master) return []
  return [{ event: "reign", epoch: reign.epoch, master: reign.master }]
}

const memberChanges = (before: Snapshot | undefined, now: Snapshot): ReadonlyArray<Event> => {
  const old = new Map(before?.members.map((member) => [member.id, member]))
  return now.members.flatMap((member): ReadonlyArray<Event> => {
    const was = old.get(member.id)
    const same = was !== undefined && was.status === member.status && was.role === member.role &&
      was.startedAt === member.startedAt
    return same ? [] : [{ event: "member", id: member.id, status: member.status, role: member.role ?? "-" }]
  })
}

const functionChanges = (before: Snapshot | undefined, now: Snapshot): ReadonlyArray<Event> => {
  const old = new Map(before?.functions.map((fn) => [fn.name, fn]))
  const current = new Set(now.functions.map((fn) => fn.name))
  const changed = now.functions.flatMap((fn): ReadonlyArray<Event> => {
    const was = old.get(fn.name)
    const nodes = fn.warm.toSorted()
    const same = was !== undefined && was.version === fn.version && was.warm.toSorted().join() === nodes.join()
    return same ? [] : [{ event: "function", name: fn.name, version: Report.shortVersion(fn.version ?? "-"), nodes }]
  })
  const removed = [...old.keys()].filter((name) => !current.has(name))
  return [...changed, ...removed.map((name): Event => ({ event: "removed", name }))]
}

/** An event as a line of text; some have more than one. */
export const describe = (event: Event): string => {
  switch (event.event) {
    case "started":
      return `node      ${event.name} runs as process ${event.pid}, http://${event.http}`
    case "deployed":
      return `deployed  ${event.name} (${event.version}, ${event.bytes} bytes)`
    case "ready":
      return [
        `ready     ${event.nodes} ${event.nodes === 1 ? "node" : "nodes"} in ${
          (event.millis / 1000).toFixed(1)
        } s, data in ${event.dataDir}`,
        ...event.urls.map((url) => `          curl ${url}`)
      ].join("\n")
    case "member":
      return `member    ${Table.clean(event.id)} is ${event.status}${
        Report.isGone(event.status) ? "" : `, ${event.role}`
      }`
    case "reign":
      return `reign     ${event.master ?? "nobody"} is master, epoch ${event.epoch}`
    case "function":
      return `function  ${event.name} (${event.version}) is warm ${
        event.nodes.length === 0 ? "nowhere" : `on ${event.nodes.join(", ")}`
      }`
    case "removed":
      return `function  ${event.name} is removed`
    case "ended":
      return [
        `node      ${event.name}, process ${event.pid}, ${event.how}`,
        ...(event.expected ? [] : event.lines.map((line) => `          ${event.name} | ${Table.clean(line)}`))
      ].join("\n")
    case "leaving":
      return `leaving   ${event.nodes} ${event.nodes === 1 ? "node" : "nodes"}`
    case "left":
      return event.killed.length === 0
        ? "left      every process has ended"
        : `left      every process has ended; killed, for they took too long: ${event.killed.join(", ")}`
  }
}

/** The table of a terminal: members with their processes, and the reign above them. */
export const frame = (
  snapshot: Snapshot | undefined,
  processes: ReadonlyArray<Process>,
  style: Table.Style & { readonly height: number }
): string => {
  if (snapshot === undefined) return "no node answers"
  const reign = snapshot.status.reign
  const title = reign?.master === undefined || reign.master === null
    ? "no reign is known"
    : `reign ${reign.epoch}: ${reign.master} is master`
  const members = new Map(snapshot.members.map((member) => [member.id, member]))
  const known = new Set(processes.map(({ name }) => name))
  const others = snapshot.members.filter((member) => !known.has(member.id))
  const rows = [
    ...processes.map((node) => row(node.name, members.get(node.name), node, snapshot.functions)),
    ...others.map((member) => row(member.id, member, undefined, snapshot.functions))
  ]
  const table = Table.render(["NODE", "ROLE", "STATUS", "STARTED", "HTTP", "PID", "WARM"], rows, style).split("\n")
  const lines = [Table.paint(title, "bold", style), ...table]
  if (lines.length <= style.height) return lines.join("\n")
  return [...lines.slice(0, style.height - 1), `and ${lines.length - style.height + 1} more`].join("\n")
}

const row = (
  name: string,
  member: Report.Member | undefined,
  node: Process | undefined,
  functions: ReadonlyArray<Report.Function>
): ReadonlyArray<Table.Cell> => {
  const status = member?.status ?? "unknown"
  return [
    name,
    Report.roleCell({ role: member?.role, status }),
    { text: status, color: Report.statusColor(status) },
    member === undefined ? "-" : Report.time(member.startedAt).slice(11),
    node?.http ?? "-",
    node === undefined ? "-" : node.running ? String(node.pid) : { text: "ended", color: "dim" },
    functions.filter((fn) => fn.warm.includes(name)).map((fn) => fn.name).sort().join(" ")
  ]
}
