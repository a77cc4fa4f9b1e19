/** What the administration of a node answers, and how people read it. PURE.
 *
 * Boundary: the shapes of `members` and `status` are stable, `--json` hands them on untouched. Readers here take what they
 * know and ignore the rest, so that a newer node can be read by an older command line. */
import * as DateTime from "effect/DateTime"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as Table from "./Table.ts"

export const Member = Schema.Struct({
  id: Schema.String,
  address: Schema.String,
  status: Schema.String,
  role: Schema.NullOr(Schema.String).pipe(Schema.optional),
  incarnation: Schema.Finite,
  /** Milliseconds since 1970, or the same as ISO 8601. */
  startedAt: Schema.Union([Schema.Finite, Schema.String]),
  release: Schema.NullOr(Schema.String).pipe(Schema.optional),
  metadata: Schema.optional(Schema.Unknown)
})
export type Member = typeof Member.Type
export const Members = Schema.Array(Member)

export const Status = Schema.Struct({
  self: Schema.String,
  reign: Schema.NullOr(Schema.Struct({ epoch: Schema.Finite, master: Schema.NullOr(Schema.String) })).pipe(
    Schema.optional
  ),
  role: Schema.NullOr(Schema.String),
  replicas: Schema.Array(Schema.String),
  members: Schema.Struct({ alive: Schema.Finite, suspect: Schema.Finite, dead: Schema.Finite, left: Schema.Finite }),
  functions: Schema.Finite,
  routes: Schema.Finite,
  rollout: Schema.optional(Schema.Unknown)
})
export type Status = typeof Status.Type

export const Function = Schema.Struct({
  name: Schema.String,
  version: Schema.NullOr(Schema.String),
  /** The nodes that have a warm instance. */
  warm: Schema.Array(Schema.String)
})
export type Function = typeof Function.Type
export const Functions = Schema.Array(Function)

export const members = (list: ReadonlyArray<Member>, style: Table.Style): string =>
  list.length === 0 ? "no members" : Table.render(
    ["MEMBER", "ROLE", "STATUS", "ADDRESS", "STARTED", "RELEASE"],
    byId(list).map((member) => [
      member.id,
      roleCell(member),
      { text: member.status, color: statusColor(member.status) },
      member.address,
      time(member.startedAt),
      member.release ?? "-"
    ]),
    style
  )

export const status = (value: Status, style: Table.Style): string => {
  const reign = value.reign?.master === undefined || value.reign.master === null
    ? "no reign is known"
    : `${value.reign.master} is master, epoch ${value.reign.epoch}`
  const { alive, dead, left, suspect } = value.members
  const others = [[suspect, "suspect"], [dead, "failed"], [left, "left"]] as const
  const counts = [`${alive} alive`, ...others.filter(([count]) => count > 0).map(([count, name]) => `${count} ${name}`)]
  const lines: ReadonlyArray<readonly [string, string]> = [
    ["node", `${value.self} (${value.role ?? "no role"})`],
    ["reign", reign],
    ["replicas", value.replicas.length === 0 ? "none" : value.replicas.join(", ")],
    ["members", counts.join(", ")],
    ["functions", `${value.functions}, warm in ${value.routes} ${value.routes === 1 ? "place" : "places"}`]
  ]
  return lines.map(([name, text]) => `${Table.paint(name.padEnd(10), "dim", style)}${Table.clean(text)}`).join("\n")
}

export const functions = (list: ReadonlyArray<Function>, style: Table.Style): string =>
  list.length === 0 ? "no functions; deploy one with `shoal deploy FILE`" : Table.render(
    ["FUNCTION", "VERSION", "WARM ON"],
    [...list].sort((a, b) => a.name < b.name ? -1 : 1).map((fn) => [
      fn.name,
      shortVersion(fn.version ?? "-"),
      fn.warm.length === 0 ? { text: "nowhere yet", color: "dim" } : fn.warm.toSorted().join(", ")
    ]),
    style
  )

export const shortVersion = (version: string): string => version.slice(0, 12)

/** `2026-01-31 12:00:00Z`: seconds are enough to tell who is older among people. */
export const time = (value: number | string): string =>
  Option.match(DateTime.make(value), {
    onNone: () => "-",
    onSome: (at) => `${DateTime.formatIso(at).slice(0, 19).replace("T", " ")}Z`
  })

export const isGone = (status: string): boolean => status !== "alive" && status !== "suspect"

/** The role of one that is there. */
export const roleCell = ({ role, status }: Pick<Member, "role" | "status">): Table.Cell => {
  return isGone(status) || role === undefined || role === null ? "-" : { text: role, color: roleColor(role) }
}

const roleColor = (role: string | undefined): Table.Color | undefined =>
  role === "master" ? "cyan" : role === "replica" ? "bold" : undefined

export const statusColor = (name: string): Table.Color => {
  switch (name) {
    case "alive":
      return "green"
    case "suspect":
      return "yellow"
    case "left":
      return "dim"
    default:
      return "red"
  }
}

/** Plain order of names, but with n10 behind n9. */
const byId = (list: ReadonlyArray<Member>): ReadonlyArray<Member> =>
  [...list].sort((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }))
