/** The parts of a node, beside the routing table, whose state moves to the next master (the catalog).
 *
 * Job: a part says when its last write has finished, with a mark of what it has then, and gets what another node has. A
 * new master that took over by itself hears the mark of everybody who obeys it.
 * Boundary: when to do either is `Handover`'s; a part refuses to begin writes by asking `ClusterManager.writable`. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Reign } from "./Reign.ts"
import type { Run } from "./RoutingTable.ts"

export interface Part {
  readonly name: string
  /** The mark of what it has now: equal marks, equal state. */
  readonly mark: Effect.Effect<string>
  /** A member obeys the reign of this node from now on and has this mark; undefined when it was not reached. */
  readonly heard: (from: Run, reign: Reign, mark: string | undefined) => Effect.Effect<void>
  /** Completes when no write is in flight any more, with the mark of the state. Called after the node was closed. */
  readonly close: Effect.Effect<string>
  /** Gets everything that `from` has; with a mark, from a closed master: nothing is to be missing afterwards. */
  readonly load: (options: {
    readonly from: Run
    readonly mark: string | undefined
  }) => Effect.Effect<void, { readonly message: string }>
}

type Parts = ReadonlyMap<string, Part>

export const marks = (parts: Parts): Effect.Effect<Readonly<Record<string, string>>> =>
  Effect.map(
    Effect.forEach(parts.values(), ({ mark, name }) => Effect.map(mark, (text) => [name, text] as const)),
    Object.fromEntries
  )

/** Tells every part what a member has. */
export const heard = (
  parts: Parts,
  from: Run,
  reign: Reign,
  all: Readonly<Record<string, string>> | undefined
): Effect.Effect<void> =>
  Effect.forEach(
    parts.values(),
    ({ heard, name }) => heard(from, reign, all !== undefined && Object.hasOwn(all, name) ? all[name] : undefined),
    { discard: true }
  )

export const close = (parts: Parts): Effect.Effect<Readonly<Record<string, string>>> =>
  Effect.map(
    Effect.forEach(parts.values(), ({ close, name }) => Effect.map(close, (mark) => [name, mark] as const), {
      concurrency: "unbounded"
    }),
    Object.fromEntries
  )

/** Why a part could not be loaded; undefined when all were. */
export const load = (
  parts: Parts,
  options: { readonly from: Run; readonly sealed: boolean; readonly marks: Readonly<Record<string, string>> }
): Effect.Effect<string | undefined> => {
  const { from, marks, sealed } = options
  const unknown = Object.keys(marks).find((name) => !parts.has(name))
  if (unknown !== undefined) return Effect.succeed(`it has no ${unknown.slice(0, 50)}`)
  return Effect.forEach(
    parts.values(),
    ({ load, name }) => load({ from, mark: sealed && Object.hasOwn(marks, name) ? marks[name] : undefined }),
    { concurrency: "unbounded", discard: true }
  ).pipe(
    Effect.as(undefined),
    Effect.catchCause((cause) => Effect.succeed(Cause.pretty(cause).split("\n", 1)[0]?.slice(0, 200) ?? "it failed"))
  )
}
